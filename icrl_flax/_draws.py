"""Random tables that compile quickly."""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key


def uniform(
    key: Key[Array, ""],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    minval: float = 0.0,
    maxval: float = 1.0,
) -> Float[Array, "*shape"]:
    """The numbers of `jax.random.uniform`, drawn as one row and folded afterwards.

    They are the same ones, since each depends on its place in the row alone; but XLA's
    compiler for CPUs takes four times as long over a draw with several axes.

    Args:
        key: randomness.
        shape: of the table.
        dtype: floating-point type of the entries.
        minval: the least that an entry can be.
        maxval: what every entry is below.
    """
    return jax.random.uniform(key, (math.prod(shape),), dtype, minval, maxval).reshape(shape)


def normal(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike
) -> Float[Array, "*shape"]:
    """The numbers of `jax.random.normal`, drawn likewise."""
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def flat_dirichlet(uniforms: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    """Dirichlet(1, …, 1) along the last axis, from uniforms on [0, 1).

    Normalised exponentials have the law of `jax.random.dirichlet` with unit
    concentration, whose gamma sampler takes seconds to compile.
    """
    exponentials = -jnp.log1p(-uniforms)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def draw_index(uniform: Float[Array, ""], probabilities: Float[Array, " k"]) -> Int[Array, ""]:
    """Inverse-transform sampling that can never return an index of probability 0.

    Args:
        uniform: a number in [0, 1).
        probabilities: non-negative weights; scaling does not matter.
    """
    # Rounding may let a cumulative sum creep up across a zero entry, or end a
    # little below 1: mask the zeros and scale by the largest sum instead.
    cumulative = jnp.where(probabilities > 0, jnp.cumsum(probabilities), 0)
    return jax.lax.argmax(uniform * cumulative.max() < cumulative, 0, jnp.int32)
