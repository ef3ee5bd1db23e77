"""Symmetries: other weights with which a block does the same, eq. (9) and its like for heads."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective


def rescale(effective: Effective, c: float | Float[Array, ""]) -> Effective:
    """(c P12, c⁻¹ V̄21): the same function of the prompt; θ̄(c) of eq. (9) at the optimum.

    Raises:
        ValueError: if c is 0 or not finite.
    """
    _checks.non_zero("c", c)
    return Effective(c * effective.P12, effective.V21 / c)


def mix(effective: Effective, G: Float[Array, "heads heads"]) -> Effective:
    """Heads in new coordinates, the same function of the prompt: θ̄(c) for several heads.

    Head h gets Σ_k G_hk P12_k, and V̄21 the inverse transpose of G, so that the
    sum over heads of (V̄21 x)(xᵀ P12 w̃) stays as it was.

    Args:
        effective: blocks with a leading axis, the head.
        G: any invertible matrix.
    """
    return Effective(
        jnp.einsum("hk,kpq->hpq", G, effective.P12),
        jnp.einsum("kh,kqp->hqp", jnp.linalg.inv(G), effective.V21),
    )
