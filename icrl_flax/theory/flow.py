"""Gradient flow on the population loss (eq. 7), by an adaptive solver."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.blocked import Blocked
from icrl_flax.theory.manifold import norm
from icrl_flax.theory.population import Population

EXPLICIT = diffrax.Tsit5()


@runtime_checkable
class Loss(Protocol):
    """Whatever knows L and ∇L at θ̄(c) + Δ: `Population` or `Moments`."""

    def loss(self, c: Any, delta: Effective) -> Float[Array, ""]:
        """L(θ̄(c) + Δ)."""
        ...

    def gradient(self, c: Any, delta: Effective) -> Effective:
        """∇L at θ̄(c) + Δ."""
        ...


class Flow(NamedTuple):
    """A solution of Δ' = −∇L(θ̄(c) + Δ) at given times.

    Attributes:
        times: t, in units of 1/(loss per squared parameter).
        delta: Δ(t), with the time as leading axis.
        loss: L(t).
        steps: steps that the solver took, rejected ones included.
    """

    times: Float[Array, "*runs T"]
    delta: Effective
    loss: Float[Array, "*runs T"]
    steps: Int[Array, "*runs"]


def _fast(loss: Loss) -> Loss:
    """The same loss, in the form that is the faster one along a flow."""
    return Blocked.of(loss) if isinstance(loss, Population) else loss


def gradient_flow(
    loss: Loss,
    c: float | Float[Array, "*runs"],
    delta: Effective,
    times: Float[Array, " T"],
    rtol: float = 1e-8,
    atol: float = 1e-12,
    max_steps: int = 1_000_000,
    solver: diffrax.AbstractSolver = EXPLICIT,
) -> Flow:
    """Solve the gradient flow from θ̄(c) + Δ(0), in the coordinates Δ.

    With c near the scale that the flow reaches, Δ tends to 0 and keeps its relative
    accuracy, so losses far below the square of the machine's precision mean something.
    The error of a step is kept below atol · s + rtol · |Δ|, where s is the largest entry of
    Δ(0), or 1 if Δ(0) = 0.

    Args:
        loss: L and ∇L.
        c: scale of the point that Δ counts from, not 0; with a leading axis for a batch.
        delta: Δ(0), with the same leading axis.
        times: increasing, from the time 0 at which the flow starts.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step, relative to the largest entry of Δ(0).
        max_steps: bound on the number of steps.
        solver: Tsitouras' 5(4) pair, which is explicit, unless another is given. Where the
            flow is stiff (it slows down, and its largest curvature does not) an implicit
            one, `diffrax.Kvaerno5()`, takes steps as long as the accuracy allows.

    Raises:
        ValueError: if JAX's x64 mode is off or a tolerance is not positive.
        RuntimeError: if a flow does not reach the last time, for instance in max_steps.
    """
    _checks.x64("gradient_flow")
    _checks.positive("rtol", rtol)
    _checks.positive("atol", atol)
    _checks.positive_integer("max_steps", max_steps)
    _checks.non_zero_entries("c", c)
    times, c = jnp.asarray(times), jnp.asarray(c)
    # One program each for one flow and for a batch of them.
    run = _solve if c.ndim == 0 else _solve_batch
    # The tolerances as arrays: one program for all of them.
    accuracy = jnp.asarray(rtol), jnp.asarray(atol)
    flow, arrived = run(_fast(loss), c, delta, times, *accuracy, max_steps, solver)
    _check(arrived, times[-1], max_steps, rtol, atol)
    return flow


def slopes(loss: Loss, c: Float[Array, " runs"], flow: Flow) -> Float[Array, "runs T"]:
    """‖∇L‖ at every saved point of every flow; d log L/dt is −‖∇L‖²/L.

    Args:
        loss: L and ∇L.
        c: the scales from which the flows count Δ.
        flow: a batch.
    """
    return _slopes(_fast(loss), c, flow)


@eqx.filter_jit
def _slopes(loss, c, flow):
    def one(run):
        c, path = run
        return jax.lax.map(lambda delta: norm(loss.gradient(c, delta)), path)

    return jax.lax.map(one, (c, flow.delta))


def first_below(
    times: Float[np.ndarray, " T"], curve: Float[np.ndarray, " T"], level: float
) -> float:
    """The time at which a falling curve crosses a level first, log-linear between saved times.

    Args:
        times: increasing.
        curve: positive numbers.
        level: between the first and the least of them.

    Raises:
        ValueError: if the curve starts below the level or never reaches it.
    """
    times, curve = np.asarray(times), np.asarray(curve)
    after = int(np.argmax(curve < level))
    if after == 0:
        raise ValueError(f"level must be crossed by the curve, got {level!r}")
    above, below = np.log(curve[after - 1 : after + 1] / level)
    share = above / (above - below)
    return float(times[after - 1] + share * (times[after] - times[after - 1]))


def _check(arrived: Bool[Array, "*runs"], time: Any, max_steps: int, rtol: Any, atol: Any) -> None:
    if not arrived.all():
        raise RuntimeError(
            f"the flow did not reach time {float(time)} within max_steps = {max_steps}, "
            f"at rtol = {rtol} and atol = {atol}"
        )


def _from(loss, c, delta, times, rtol, atol, max_steps, solver=EXPLICIT, until=None):
    """The flow from θ̄(c) + Δ(0), and Δ at the times, or where L < until."""
    largest = jnp.max(jnp.stack([jnp.abs(leaf).max() for leaf in delta]))
    largest = jnp.where(largest > 0, largest, 1)  # from θ̄(c) itself nothing moves

    def whole(y):
        return jax.tree.map(lambda leaf: leaf * largest, y)

    def unit(delta):
        """Δ in units of its first size: then tolerances mean the same however small it is."""
        return jax.tree.map(lambda leaf: leaf / largest, delta)

    event = None
    if until is not None:
        event = diffrax.Event(lambda t, y, *args, **kwargs: loss.loss(c, whole(y)) < until)
    solution = _descend(
        lambda y: unit(loss.gradient(c, whole(y))),
        unit(delta),
        times,
        rtol,
        atol,
        max_steps,
        event,
        solver,
    )
    return solution, whole(solution.ys)


def _one(loss, c, delta, times, *settings) -> tuple[Flow, Bool[Array, ""]]:
    solution, path = _from(loss, c, delta, times, *settings)
    losses = jax.lax.map(lambda point: loss.loss(c, point), path)
    arrived = diffrax.is_okay(solution.result)
    return Flow(times, path, losses, solution.stats["num_steps"]), arrived


_solve = eqx.filter_jit(_one)


@eqx.filter_jit
def _solve_batch(loss, c, delta, times, *settings) -> tuple[Flow, Bool[Array, " runs"]]:
    return jax.vmap(lambda c, delta: _one(loss, c, delta, times, *settings))(c, delta)


class Settled(NamedTuple):
    """Where flows came to rest, and when.

    Attributes:
        delta: Δ at the end of each flow.
        loss: L there.
        time: t there; the longest time allowed if L did not fall far enough.
        steps: steps that the solver took, rejected ones included.
    """

    delta: Effective
    loss: Float[Array, " runs"]
    time: Float[Array, " runs"]
    steps: Int[Array, " runs"]


def settle(
    loss: Loss,
    c: Float[Array, " runs"],
    delta: Effective,
    until: float,
    longest: float,
    rtol: float = 1e-8,
    atol: float = 1e-12,
    together: int = 16,
    max_steps: int = 1_000_000,
) -> Settled:
    """Follow each flow from θ̄(c) + Δ(0) until L < until, or up to a longest time.

    The same solver as `gradient_flow`, for a batch.

    Args:
        loss: L and ∇L.
        c: scales of the points that Δ counts from, one per run, not 0.
        delta: Δ(0), with the same leading axis.
        until: loss at which a flow may stop.
        longest: time at which it has to.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step, relative to the largest entry of Δ(0).
        together: runs that are solved at once; a slow one keeps no others waiting.
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if JAX's x64 mode is off or a number that has to be positive is not.
        RuntimeError: if max_steps do not suffice.
    """
    _checks.x64("settle")
    for name, value in (("until", until), ("longest", longest), ("rtol", rtol), ("atol", atol)):
        _checks.positive(name, value)
    for name, value in (("together", together), ("max_steps", max_steps)):
        _checks.positive_integer(name, value)
    _checks.non_zero_entries("c", c)
    settled, arrived = _settle(
        *(_fast(loss), jnp.asarray(c), delta, until, longest, rtol, atol),
        *(int(together), int(max_steps)),
    )
    _check(arrived, longest, max_steps, rtol, atol)
    return settled


@eqx.filter_jit
def _settle(
    loss, c, delta, until, longest, rtol, atol, together, max_steps
) -> tuple[Settled, Bool[Array, " runs"]]:
    def one(run):
        c, delta = run
        last = jnp.asarray(longest)[None]
        solution, path = _from(loss, c, delta, last, rtol, atol, max_steps, until=until)
        time, end = jax.tree.map(lambda leaf: leaf[-1], (solution.ts, path))
        settled = Settled(end, loss.loss(c, end), time, solution.stats["num_steps"])
        return settled, diffrax.is_okay(solution.result)

    return jax.lax.map(one, (c, delta), batch_size=together)


def descend(
    gradient: Callable[[Any], Any],
    start: Any,
    times: Float[Array, " T"],
    rtol: float = 1e-8,
    atol: float = 1e-12,
    max_steps: int = 1_000_000,
    solver: diffrax.AbstractSolver = EXPLICIT,
) -> Any:
    """Solve θ' = −gradient(θ) for a batch of starts, whatever pytree θ is.

    The same solver as `gradient_flow`, in θ itself: step by step error below
    atol + rtol · |θ|.

    Args:
        gradient: θ ↦ ∇L(θ) for one θ; a method of an Equinox module is compiled once.
        start: θ(0), every leaf with the batch as leading axis.
        times: increasing, from the time 0 at which the flow starts.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        max_steps: bound on the number of steps.
        solver: as in `gradient_flow`.

    Returns:
        θ at each time: leaves with axes (batch, time, …).

    Raises:
        ValueError: if JAX's x64 mode is off or a tolerance is not positive.
        RuntimeError: if a flow does not reach the last time, for instance in max_steps.
    """
    _checks.x64("descend")
    _checks.positive("rtol", rtol)
    _checks.positive("atol", atol)
    _checks.positive_integer("max_steps", max_steps)
    times = jnp.asarray(times)
    path, arrived = _descend_batch(gradient, start, times, rtol, atol, max_steps, solver)
    _check(arrived, times[-1], max_steps, rtol, atol)
    return path


@eqx.filter_jit
def _descend_batch(
    gradient, start, times, rtol, atol, max_steps, solver
) -> tuple[Any, Bool[Array, " runs"]]:
    def one(start):
        solution = _descend(gradient, start, times, rtol, atol, max_steps, solver=solver)
        return solution.ys, diffrax.is_okay(solution.result)

    return jax.vmap(one)(start)


def _descend(
    gradient, start, times, rtol, atol, max_steps, event=None, solver=EXPLICIT
) -> diffrax.Solution:
    """The one call of a solver."""
    saveat = diffrax.SaveAt(ts=times) if event is None else diffrax.SaveAt(t1=True)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: jax.tree.map(jnp.negative, gradient(y))),
        solver,
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=saveat,
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
        throw=False,
        event=event,
    )
