"""A block, however it holds its weights: it answers a prompt, and has matrices P and V."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.attention.decomposition import bilinear_term
from icrl_flax.attention.prompt import build_prompt
from icrl_flax.attention.softmax import softmax_attention, softmax_term
from icrl_flax.attention.weights import Effective, Matrices, embed


class Block(abc.ABC):
    """One transformer block TF_θ.

    θ is whatever training changes. A block with another θ is `with_theta`'s; its
    structure says the rest, so that θ alone goes through an optimiser.
    """

    theta: Any
    """What training changes: a pytree of arrays."""

    @abc.abstractmethod
    def with_theta(self, theta: Any) -> "Block":
        """The same block with other weights."""

    @abc.abstractmethod
    def update(self, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, " q"]:
        """TF_θ: the parameters that the block reads out of the prompt for (tokens, u)."""

    @property
    @abc.abstractmethod
    def matrices(self) -> Matrices:
        """The D×D matrices P and V."""

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes of P and V before those of one layer: (L,) for L untied layers."""
        return ()

    def values(
        self, tokens: Float[Array, "n p"], queries: Float[Array, "k d"]
    ) -> Float[Array, " k"]:
        """wᵀφ of each query φ, for the parameters w that the block makes of 0.

        For rules whose parameters are the weights of the features, q = d.
        """
        return queries @ self.update(tokens, jnp.zeros(queries.shape[1], queries.dtype))


class EffectiveBlock(Block, eqx.Module):
    """Linear attention, held as θ_eff: all that moves in training (Proposition 3.1).

    Args:
        theta: P12 and V̄21; everything else is 0.
    """

    theta: Effective

    def with_theta(self, theta: Effective) -> "EffectiveBlock":
        return EffectiveBlock(theta)

    def update(self, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, " q"]:
        return u + bilinear_term(self.theta, tokens, u)

    @property
    def matrices(self) -> Matrices:
        return embed(self.theta)


class SoftmaxBlock(Block, eqx.Module):
    """Softmax attention of the same size, for comparison; one head.

    Args:
        theta: P12 and V̄21, or all of P and V.
        inverse_temperature: factor τ > 0 on the logits.
    """

    theta: Effective | Matrices
    inverse_temperature: float | Float[Array, ""] = 1.0

    def with_theta(self, theta: Effective | Matrices) -> "SoftmaxBlock":
        return SoftmaxBlock(theta, self.inverse_temperature)

    def update(self, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, " q"]:
        if isinstance(self.theta, Effective):
            return u + softmax_term(self.theta, tokens, u, self.inverse_temperature)
        H = build_prompt(tokens, u)
        return softmax_attention(*self.theta, H, self.inverse_temperature)[-u.shape[0] :]

    @property
    def matrices(self) -> Matrices:
        return self.theta if isinstance(self.theta, Matrices) else embed(self.theta)
