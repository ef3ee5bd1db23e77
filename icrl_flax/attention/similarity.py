"""Two blocks compared by their answers: the measures of Wang et al. (arXiv:2405.13861).

Weights of several layers can differ much and do the same. So these measures look at the
values that two blocks give to the states of one MDP, after the same window.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision


class Similarity(NamedTuple):
    """A block beside another, on one window.

    For linear attention v(φ) = wᵀφ holds exactly, and the first two are one number.

    Attributes:
        implicit_weights: cosine between the weights that explain the block's values best,
            and those that explain the other's; see `implicit_weights`.
        sensitivity: cosine between the gradients of the two values with respect to the
            query, averaged over the states.
        value_difference: mean squared difference of the two values over the states.
    """

    implicit_weights: Float[Array, ""]
    sensitivity: Float[Array, ""]
    value_difference: Float[Array, ""]


@full_precision
def implicit_weights(
    phi: Float[Array, "S d"], shares: Float[Array, " S"], values: Float[Array, " S"]
) -> Float[Array, " d"]:
    """The w with the least Σ_s share_s (v(s) − wᵀφ(s))².

    Args:
        phi: features, with columns that are linearly independent where shares are positive.
        shares: weights of the states, such as `stationary_distribution`'s.
        values: v.
    """
    weighted = shares[:, None] * phi
    return jnp.linalg.solve(phi.T @ weighted, weighted.T @ values)


@full_precision
def similarity(
    block: Any,
    other: Any,
    tokens: Float[Array, "n p"],
    phi: Float[Array, "S d"],
    shares: Float[Array, " S"],
) -> Similarity:
    """Compare two blocks on one window.

    Args:
        block: anything with `values(tokens, queries)`, as `Block` and `QueryBlock` have.
        other: what it is held against; Wang et al. take TD(0) with a trained step size.
        tokens: the window, one row per transition.
        phi: the features of all states.
        shares: how much each state counts; they sum to 1.
    """

    def slopes(block: Any) -> Float[Array, "S d"]:
        return jax.vmap(jax.grad(lambda query: block.values(tokens, query[None])[0]))(phi)

    here, there = block.values(tokens, phi), other.values(tokens, phi)
    return Similarity(
        _cosine(*(implicit_weights(phi, shares, values) for values in (here, there))),
        shares @ jax.vmap(_cosine)(slopes(block), slopes(other)),
        shares @ (here - there) ** 2,
    )


def _cosine(a: Float[Array, " d"], b: Float[Array, " d"]) -> Float[Array, ""]:
    return a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
