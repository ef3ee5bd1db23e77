"""Theorems 3.1 and 3.3: weights with which the block is the rule (eqs. 5, 9 and 14)."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.symmetry import rescale
from icrl_flax.attention.weights import Matrices, embed
from icrl_flax.rules.base import Rule


def construct(
    rule: Rule,
    c: float | Float[Array, ""] = 1.0,
    free: tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]] | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Matrices:
    """Full P and V with which one block performs `rule` exactly.

    Args:
        rule: the rule; its sizes give D.
        c: any number but 0; moves along the scale orbit.
        free: matrices that supply the entries which the theorem leaves free;
            zeros if not given.
        dtype: floating-point type of P and V.

    Raises:
        ValueError: if c is 0 or not finite, or a matrix of `free` is not D×D.
    """
    return embed(rescale(rule.optimum(dtype), c), free)
