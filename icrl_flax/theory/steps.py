"""Optimisers with steps of finite length, and how they change the flow's invariant."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from icrl_flax.attention.weights import Effective


def imbalance(slope: Effective) -> Float[Array, ""]:
    """‖∇_P L‖² − ‖∇_V L‖²: η² times it is a gradient step's change of the invariant."""
    return jnp.vdot(slope.P12, slope.P12) - jnp.vdot(slope.V21, slope.V21)


def take_steps(
    optimizer: optax.GradientTransformation,
    slope: Callable[[Effective, Int[Array, ""]], Effective],
    theta: Effective,
    steps: int | Int[Array, ""],
) -> tuple[Effective, Float[Array, " runs"]]:
    """θ after some steps of an optimiser, for each of a batch of starts.

    Within a jitted function the number of steps and the optimiser's numbers may be traced, so
    that one program serves all rates.

    Args:
        optimizer: any of Optax's.
        slope: (θ, number of the step) ↦ gradient, for one θ.
        theta: starts, one per run on the leading axis.
        steps: how many.

    Returns:
        θ, and the sum of `imbalance` over the updates: for plain gradient steps that is by how
        much the invariant has changed.
    """

    def one(theta: Effective) -> tuple[Effective, Float[Array, ""]]:
        def step(number: Any, carry: Any) -> Any:
            theta, state, total = carry
            change, state = optimizer.update(slope(theta, number), state, theta)
            total += imbalance(cast(Effective, change))  # as θ is
            return optax.apply_updates(theta, change), state, total

        first = (theta, optimizer.init(theta), jnp.zeros(()))
        theta, _, total = jax.lax.fori_loop(0, steps, step, first)
        return theta, total

    return jax.vmap(one)(theta)
