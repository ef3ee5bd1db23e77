"""Lemma C.1: the block's output depends on four blocks of θ only."""

from typing import NamedTuple

from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.attention.prompt import augment
from icrl_flax.attention.weights import Blocks, Effective, sum_over_heads


@full_precision
def bilinear_term(
    effective: Effective, tokens: Float[Array, "n p"], u: Float[Array, " q"]
) -> Float[Array, " q"]:
    """V̄21 Σ̂ P12 w̃, without forming Σ̂ = (1/n) Σ x_i x_iᵀ.

    Read from the right: P12 w̃ is a direction, its product with each token a
    scalar (at the optimum, the TD error δ_i), and V̄21 turns the tokens' mean,
    weighted by those scalars, into a change of the parameters.

    Args:
        effective: the blocks P12 and V̄21; the terms of several heads add up.
        tokens: one row per transition, x_iᵀ.
        u: the parameters before the update.
    """

    def of_one_head(head: Effective) -> Float[Array, " q"]:
        scalars = tokens @ (head.P12 @ augment(u))
        mean = scalars @ tokens / tokens.shape[0]
        return head.V21 @ mean

    return sum_over_heads(of_one_head, effective)


class Decomposition(NamedTuple):
    """The three terms of Lemma C.1; their sum is the block's output.

    Attributes:
        parameters: u.
        bilinear: V̄21 Σ̂ P12 w̃, the only one that a rule needs.
        cubic: (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃).
    """

    parameters: Float[Array, " q"]
    bilinear: Float[Array, " q"]
    cubic: Float[Array, " q"]

    @property
    def total(self) -> Float[Array, " q"]:
        return self.parameters + self.bilinear + self.cubic


@full_precision
def decompose(blocks: Blocks, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Decomposition:
    """Lemma C.1: TF_θ(H) = u + V̄21 Σ̂ P12 w̃ + (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃).

    Args:
        blocks: P and V, split at p; the terms of several heads add up.
        tokens: one row per transition, x_iᵀ.
        u: the parameters before the update.
    """
    w = augment(u)
    # Sums, not matrix products: XLA's CPU compiler (jaxlib 0.10.2) returns garbage for a
    # vmapped product with a matrix that it knows to be constant zero, as these two often are.
    directions = (blocks.V22_bar * w).sum(axis=-1)
    squares = (blocks.P22 * w * w[:, None]).sum(axis=(-2, -1))
    return Decomposition(
        parameters=u,
        bilinear=bilinear_term(blocks.effective, tokens, u),
        cubic=(directions * squares[..., None]).reshape(-1, u.shape[0]).sum(axis=0)
        / tokens.shape[0],
    )
