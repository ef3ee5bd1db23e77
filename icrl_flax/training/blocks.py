"""The block that a configuration names: where it starts, and what it makes of given weights."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Key

from icrl_flax.attention.block import Block, EffectiveBlock, SoftmaxBlock
from icrl_flax.attention.linear import LinearAttentionBlock
from icrl_flax.attention.weights import embed, initial_effective
from icrl_flax.rules.base import Rule
from icrl_flax.training.config import TrainingConfig


def block_of(theta: Any, rule: Rule, config: TrainingConfig) -> Block:
    """Weights as a block: linear or softmax attention, θ_eff alone or all of P and V.

    Args:
        theta: `Effective` or `Matrices`, as `config.parameters` says.
        rule: whose sizes the block has.
        config: attention and parameters.

    Raises:
        ValueError: for softmax attention with a rule that needs several heads.
    """
    if config.attention == "softmax":
        if rule.heads > 1:
            raise ValueError(
                f"attention 'softmax' has one head, got {rule.name()} with {rule.heads}"
            )
        return SoftmaxBlock(theta, config.inverse_temperature)
    if config.parameters == "effective":
        return EffectiveBlock(theta)
    P, V = theta
    return LinearAttentionBlock.from_matrices(P, V, rule.p)


def initial_block(key: Key[Array, ""], rule: Rule, config: TrainingConfig) -> Block:
    """A block as training starts it: P12 and V̄21 Xavier-normal, zero elsewhere (§4).

    All forms start from the same numbers for the same key.

    Args:
        key: randomness.
        rule: whose sizes the block has.
        config: attention, parameters, gain and type.

    Raises:
        ValueError: as `block_of`.
    """
    dtype = jnp.dtype(config.dtype)
    theta = initial_effective(nnx.Rngs(key), rule.p, rule.q, config.gain, dtype, rule.heads)
    return block_of(theta if config.parameters == "effective" else embed(theta), rule, config)
