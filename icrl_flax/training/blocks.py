"""The block that a configuration names: where it starts, and what it makes of given weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from icrl_flax.attention.block import Block, EffectiveBlock, SoftmaxBlock
from icrl_flax.attention.deep import StackedBlock
from icrl_flax.attention.query import QueryBlock
from icrl_flax.attention.weights import (
    Matrices,
    draw_effective,
    embed,
    first_keys,
    xavier_normal,
)
from icrl_flax.rules.base import Rule
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.walks import check_values


def block_of(theta: Any, rule: Rule, config: TrainingConfig) -> Block | QueryBlock:
    """Weights as a block: one layer or several, θ_eff alone or all of P and V.

    Args:
        theta: `Effective` or `Matrices`, as `config.parameters` says.
        rule: whose sizes the block has.
        config: attention, parameters, prompt and layers.

    Raises:
        ValueError: for softmax attention with a rule that needs several heads, or a prompt
            or an objective that the rule does not fit.
    """
    if config.attention == "softmax" and rule.heads > 1:
        raise ValueError(f"attention 'softmax' has one head, got {rule.name()} with {rule.heads}")
    if config.prompt == "query" or config.objective != "teacher":
        check_values(rule)
    deep = (config.layers, config.tied, config.attention, config.inverse_temperature)
    if config.prompt == "query":
        return QueryBlock(theta, rule.p - 1, *deep)
    if config.layers > 1 or not config.tied or config.attention in ("relu", "tanh"):
        return StackedBlock(theta, *deep)
    if config.attention == "softmax":
        return SoftmaxBlock(theta, config.inverse_temperature)
    if config.parameters == "effective":
        return EffectiveBlock(theta)
    from icrl_flax.attention.module import LinearAttentionBlock  # imports Flax

    P, V = theta
    return LinearAttentionBlock.from_matrices(P, V, rule.p)


def initial_block(key: Key[Array, ""], rule: Rule, config: TrainingConfig) -> Block | QueryBlock:
    """A block as training starts it: P12 and V̄21 Xavier-normal, zero elsewhere (§4).

    All forms start from the same numbers for the same key. Untied layers are drawn one by
    one; where the prompt holds a query, all of P and V are Xavier-normal.

    Args:
        key: randomness.
        rule: whose sizes the block has.
        config: attention, parameters, prompt, layers, gain and type.

    Raises:
        ValueError: as `block_of`.
    """
    dtype = jnp.dtype(config.dtype)

    def layer(key: Key[Array, ""]) -> Any:
        keys = first_keys(key)
        if config.prompt == "query":
            shape = (rule.p, rule.p)
            return Matrices(*(xavier_normal(each, shape, config.gain, dtype) for each in keys))
        theta = draw_effective(keys, rule.p, rule.q, config.gain, dtype, rule.heads)
        return theta if config.parameters == "effective" else embed(theta)

    theta = layer(key) if config.tied else jax.vmap(layer)(jax.random.split(key, config.layers))
    return block_of(theta, rule, config)
