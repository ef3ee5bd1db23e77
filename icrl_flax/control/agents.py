"""Agents: whatever turns a window into new parameters."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.block import Block
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule


class BlockAgent(eqx.Module):
    """A block as an agent: its answers to prompts that its rule writes.

    Args:
        rule: says how a window becomes tokens.
        block: gives the answers, in the type of the parameters that it is given.
        layers: how many copies of the block are stacked. A block with zeros in
            its free entries hands the context columns on unchanged, so L layers
            are L answers in turn to one window. (Tokens are not rewritten: an
            actor's score stays that of the policy that acted.)

    Raises:
        ValueError: if the block does not have the rule's size, or layers < 1.
    """

    rule: Rule
    block: Block
    layers: int = eqx.field(static=True, default=1)

    @classmethod
    def single(cls, rule: Rule, block: Block) -> "BlockAgent":
        """The agent of a block of any precision, in float32, also where there is no other."""
        theta = jax.tree.map(lambda x: jax.device_put(np.asarray(x, np.float32)), block.theta)
        return cls(rule, block.with_theta(theta))

    def __check_init__(self) -> None:
        if not isinstance(self.block, Block):
            raise ValueError(f"block must answer with parameters, got {type(self.block).__name__}")
        shapes = eqx.filter_eval_shape(lambda block: tuple(block.matrices), self.block)
        for name, matrix in zip("PV", shapes, strict=True):
            _checks.shape(name, matrix, (*self.block.leading, *self.rule.weights_shape))
        for leaf in jax.tree.leaves(self.block.theta):
            _checks.finite("block", leaf)
        _checks.positive_integer("layers", self.layers)

    def __call__(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        theta = jax.tree.map(lambda leaf: leaf.astype(u.dtype), self.block.theta)
        block = self.block.with_theta(theta)
        tokens = self.rule.tokens(features, u, window)
        for _ in range(self.layers):
            u = block.update(tokens, u)
        return u
