"""Agents: whatever turns a window into new parameters."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.decomposition import decompose
from icrl_flax.attention.weights import split
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule


class BlockAgent(eqx.Module):
    """A block as a learner: its answer to the prompt, by Lemma C.1.

    Args:
        rule: says how a window becomes tokens.
        P: the block's D×D matrix P.
        V: the block's D×D matrix V.
        layers: how many copies of the block are stacked. A block with zeros in
            its free entries hands the context columns on unchanged, so L layers
            are L answers in turn to one window. (Tokens are not rewritten: an
            actor's score stays that of the policy that acted.)

    Raises:
        ValueError: if P or V does not have the rule's size, or layers < 1.
    """

    rule: Rule
    P: Float[Array, "*heads D D"] = eqx.field(converter=jnp.asarray)
    V: Float[Array, "*heads D D"] = eqx.field(converter=jnp.asarray)
    layers: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        for name in ("P", "V"):
            _checks.shape(name, getattr(self, name), self.rule.weights_shape)
            _checks.finite(name, getattr(self, name))
        _checks.positive_integer("layers", self.layers)

    def __call__(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        blocks = split(self.P.astype(u.dtype), self.V.astype(u.dtype), self.rule.p)
        tokens = self.rule.tokens(features, u, window)
        for _ in range(self.layers):
            u = decompose(blocks, tokens, u).total
        return u
