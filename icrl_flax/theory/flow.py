"""Gradient flow on the population loss (eq. 7), by an adaptive solver."""

from typing import Any, NamedTuple, Protocol

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from icrl_flax import _checks
from icrl_flax.prompt import Effective


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


def gradient_flow(
    loss: Loss,
    c: float | Float[Array, "*runs"],
    delta: Effective,
    times: Float[Array, " T"],
    rtol: float = 1e-8,
    atol: float = 1e-12,
    max_steps: int = 1_000_000,
) -> Flow:
    """Solve the gradient flow from θ̄(c) + Δ(0), in the coordinates Δ.

    With c near the scale that the flow reaches, Δ tends to 0 and keeps its relative
    accuracy, so losses far below the square of the machine's precision mean something.
    Solver: Tsitouras' 5(4) pair, step by step error below atol · s + rtol · |Δ|, where s
    is the largest entry of Δ(0).

    Args:
        loss: L and ∇L.
        c: scale of the point that Δ counts from, not 0; with a leading axis for a batch.
        delta: Δ(0), with the same leading axis.
        times: increasing, from the time 0 at which the flow starts.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step, relative to the largest entry of Δ(0).
        max_steps: bound on the number of steps.

    Raises:
        ValueError: if JAX's x64 mode is off or a tolerance is not positive.
        RuntimeError: if max_steps do not reach the last time.
    """
    _checks.x64("gradient_flow")
    _checks.positive("rtol", rtol)
    _checks.positive("atol", atol)
    _checks.positive_integer("max_steps", max_steps)
    _checks.non_zero_entries("c", c)
    times, c = jnp.asarray(times), jnp.asarray(c)
    # One program each for one flow and for a batch of them.
    run = _solve if c.ndim == 0 else _solve_batch
    return run(loss, c, delta, times, rtol, atol, max_steps)


def _one(loss, c, delta, times, rtol, atol, max_steps) -> Flow:
    largest = jnp.max(jnp.stack([jnp.abs(leaf).max() for leaf in delta]))
    # Δ in units of its first size: then the tolerances mean the same however small it is.
    unit = jax.tree.map(lambda leaf: leaf / largest, delta)

    def velocity(t, y, args):
        slope = loss.gradient(c, jax.tree.map(lambda leaf: leaf * largest, y))
        return jax.tree.map(lambda leaf: -leaf / largest, slope)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=unit,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
    )
    path = jax.tree.map(lambda leaf: leaf * largest, solution.ys)
    losses = jax.lax.map(lambda point: loss.loss(c, point), path)
    return Flow(times, path, losses, solution.stats["num_steps"])


_solve = eqx.filter_jit(_one)


@eqx.filter_jit
def _solve_batch(loss, c, delta, times, rtol, atol, max_steps) -> Flow:
    return jax.vmap(lambda c, delta: _one(loss, c, delta, times, rtol, atol, max_steps))(c, delta)
