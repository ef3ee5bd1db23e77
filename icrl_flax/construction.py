"""Theorems 3.1 and 3.3: weights with which the block is the rule (eqs. 5, 9 and 14)."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.algorithm import Algorithm
from icrl_flax.prompt import Effective, embed


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


def construct(
    algorithm: Algorithm,
    c: float | Float[Array, ""] = 1.0,
    free: tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]]:
    """Full P and V with which one block performs `algorithm` exactly.

    Args:
        algorithm: the rule; its sizes give D.
        c: any number but 0; moves along the scale orbit.
        free: matrices that supply the entries which the theorem leaves free;
            zeros if not given.
        dtype: floating-point type of P and V.

    Raises:
        ValueError: if c is 0 or not finite, or a matrix of `free` is not D×D.
    """
    return embed(rescale(algorithm.optimum(dtype), c), free)
