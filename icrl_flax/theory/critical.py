"""Where the PL inequality ends: its ratio, critical points, and the least ratio on spheres."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.flow import Loss
from icrl_flax.theory.manifold import inner, norm, project_normal


def pl_ratio(loss: Loss, c: float | Float[Array, ""], delta: Effective) -> Float[Array, ""]:
    """½‖∇L‖²/L at θ̄(c) + Δ: PL with the constant μ asks for at least μ."""
    slope = loss.gradient(c, delta)
    return inner(slope, slope) / 2 / loss.loss(c, delta)


def critical_points(loss: Loss, c: float, starts: Effective, rounds: int = 120) -> Effective:
    """Solve ∇L = 0 from many starts by the method of Levenberg and Marquardt.

    Where it has not converged the result is no critical point: look at ∇L there.

    Args:
        loss: L and ∇L.
        c: scale of the point that Δ counts from, not 0.
        starts: Δ, one per run on the leading axis; small blocks only, for the Hessian is dense.
        rounds: trial steps of each run.

    Returns:
        Δ at the end of each run.
    """
    _checks.non_zero("c", c)
    _checks.positive_integer("rounds", rounds)
    return _critical_points(loss, jnp.asarray(c), starts, int(rounds))


@eqx.filter_jit
def _critical_points(loss, c, starts, rounds):
    def one(start):
        first, unravel = ravel_pytree(start)

        def slope(v):
            return ravel_pytree(loss.gradient(c, unravel(v)))[0]

        hessian = jax.jacfwd(slope)

        def step(_, state):
            v, damping = state
            g, H = slope(v), hessian(v)
            trial = v - jnp.linalg.solve(H @ H + damping * jnp.eye(v.size), H @ g)
            better = (slope(trial) ** 2).sum() < (g**2).sum()
            return (
                jnp.where(better, trial, v),
                jnp.where(better, damping / 5, damping * 5),
            )

        return unravel(jax.lax.fori_loop(0, rounds, step, (first, 1e-4))[0])

    return jax.vmap(one)(starts)


def least_ratio(
    loss: Loss,
    optimum: Effective,
    c: float,
    directions: Effective,
    radii: Float[Array, " radii"],
    steps: int = 1500,
) -> Float[Array, "radii runs"]:
    """The least `pl_ratio` that a search finds on spheres ‖Δ‖ = radius in N_c.

    Adam on the direction, on the logarithm of the ratio. A search gives an upper bound of the
    least value.

    Args:
        loss: L and ∇L.
        optimum: (P⋆12, V̄⋆21).
        c: scale of the point θ̄(c), not 0.
        directions: where the search starts, one per run on the leading axis.
        radii: of the spheres.
        steps: of Adam.
    """
    _checks.non_zero("c", c)
    _checks.positive_integer("steps", steps)
    return _least_ratio(loss, optimum, jnp.asarray(c), directions, jnp.asarray(radii), int(steps))


@eqx.filter_jit
def _least_ratio(loss, optimum, c, directions, radii, steps):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def unit(direction):
        normal = project_normal(optimum, c, direction)
        size = norm(normal)
        return jax.tree.map(lambda leaf: leaf / size, normal)

    def one(direction, radius):
        def cost(direction):
            delta = jax.tree.map(lambda leaf: radius * leaf, unit(direction))
            return jnp.log(pl_ratio(loss, c, delta))

        def step(state, _):
            direction, memory = state
            value, slope = jax.value_and_grad(cost)(direction)
            update, memory = optimizer.update(slope, memory)
            return (optax.apply_updates(direction, update), memory), value

        first = unit(direction)
        _, values = jax.lax.scan(step, (first, optimizer.init(first)), length=steps)
        return jnp.exp(values.min())

    over_runs = jax.vmap(one, in_axes=(0, None))
    return jax.vmap(over_runs, in_axes=(None, 0))(directions, radii)
