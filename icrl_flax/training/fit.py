"""The inner loop: one optimiser step for each example."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.training.losses import Examples, Walks, sample_loss

__all__ = ["Fit", "fit", "sample_loss"]


class Fit(NamedTuple):
    """What `fit` makes of a block.

    Attributes:
        block: after the last step.
        optimizer_state: Optax's, to go on from.
        losses: of each example, before its step.
    """

    block: Any
    optimizer_state: optax.OptState
    losses: Float[Array, " updates"]


@full_precision
def fit(
    block: Any,
    optimizer: optax.GradientTransformation,
    examples: Examples | Walks,
    optimizer_state: optax.OptState | None = None,
) -> Fit:
    """Lines 9 and 10 of Algorithm 1, over and over: predict, compare, take a step.

    Every block and every optimiser has its place here. Inside `jax.jit` a second call
    with the same shapes compiles nothing.

    Args:
        block: where to start; a `Block`, or a `QueryBlock` where the examples are walks.
        optimizer: any of Optax's.
        examples: the first axis is the update; a second one, if there is any,
            holds examples whose losses one update averages. Their `loss` is what is
            descended.
        optimizer_state: where the optimiser stands; at its start, if not given.
    """
    if optimizer_state is None:
        optimizer_state = optimizer.init(block.theta)

    def loss(theta, example: Examples | Walks):
        if example.is_batch:
            return jax.vmap(loss, in_axes=(None, 0))(theta, example).mean()
        return example.loss(block.with_theta(theta))

    def step(carry, example: Examples | Walks):
        theta, optimizer_state = carry
        value, gradient = jax.value_and_grad(loss)(theta, example)
        change, optimizer_state = optimizer.update(gradient, optimizer_state, theta)
        return (optax.apply_updates(theta, change), optimizer_state), value

    (theta, optimizer_state), losses = jax.lax.scan(step, (block.theta, optimizer_state), examples)
    return Fit(block.with_theta(theta), optimizer_state, losses)
