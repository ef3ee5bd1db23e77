"""The inner loop: one optimiser step for each example."""

from typing import Any, NamedTuple, TypeVar

import jax
import optax
from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.attention.block import Block
from icrl_flax.training.stream import Examples

AnyBlock = TypeVar("AnyBlock", bound=Block)


def sample_loss(predicted: Float[Array, " q"], target: Float[Array, " q"]) -> Float[Array, ""]:
    """½‖TF_θ(H) − teacher‖², whose mean over windows is L(θ), eq. (6)."""
    error = predicted - target
    return error @ error / 2


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
    block: Block,
    optimizer: optax.GradientTransformation,
    examples: Examples,
    optimizer_state: optax.OptState | None = None,
) -> Fit:
    """Lines 9 and 10 of Algorithm 1, over and over: predict, compare, take a step.

    Every block and every optimiser has its place here. Inside `jax.jit` a second call
    with the same shapes compiles nothing.

    Args:
        block: where to start.
        optimizer: any of Optax's.
        examples: the first axis is the update; a second one, if there is any,
            holds examples whose losses one update averages.
        optimizer_state: where the optimiser stands; at its start, if not given.
    """
    if optimizer_state is None:
        optimizer_state = optimizer.init(block.theta)

    def loss(theta, example: Examples):
        if example.u.ndim == 2:
            return jax.vmap(loss, in_axes=(None, 0))(theta, example).mean()
        predicted = block.with_theta(theta).update(example.tokens, example.u)
        return sample_loss(predicted, example.target)

    def step(carry, example: Examples):
        theta, optimizer_state = carry
        value, gradient = jax.value_and_grad(loss)(theta, example)
        change, optimizer_state = optimizer.update(gradient, optimizer_state, theta)
        return (optax.apply_updates(theta, change), optimizer_state), value

    (theta, optimizer_state), losses = jax.lax.scan(step, (block.theta, optimizer_state), examples)
    return Fit(block.with_theta(theta), optimizer_state, losses)
