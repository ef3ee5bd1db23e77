"""The weights of a block: P and V, their eight blocks and θ_eff, written once over (p, q)."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax._draws import normal

if TYPE_CHECKING:  # Flax is imported where its module is asked for
    from flax import nnx

Weights = TypeVar("Weights")


class Effective(NamedTuple):
    """θ_eff: the two blocks of θ that training moves (Proposition 3.1).

    Attributes:
        P12: turns w̃ into the direction whose product with a token is the TD error.
        V21: V̄21, the last q rows of V21: turns a token into the update's direction.

    Several heads have a leading axis in both; so have P and V, and their `Blocks`.
    """

    P12: Float[Array, "*heads p q+1"]
    V21: Float[Array, "*heads q p"]


class Matrices(NamedTuple):
    """θ: all of a block's weights.

    Attributes:
        P: the D×D matrix that stands for QᵀK, one for each head.
        V: the D×D value matrix, one for each head.
    """

    P: Float[Array, "*heads D D"]
    V: Float[Array, "*heads D D"]


def sum_over_heads(function: Callable[[Weights], Array], weights: Weights) -> Array:
    """The sum of `function(head)` over the heads; `function(weights)` where there is one.

    Args:
        function: linear algebra on the matrices of one head.
        weights: a pytree of matrices, each with a leading axis if there are several heads.
    """
    if jax.tree.leaves(weights)[0].ndim == 2:
        return function(weights)
    return jax.vmap(function)(weights).sum(axis=0)


def identity_blocks(
    coefficients: Sequence[Sequence[float | Float[Array, ""]]],
    heights: Sequence[int],
    widths: Sequence[int],
    dtype: DTypeLike,
) -> Float[Array, "rows columns"]:
    """A matrix of blocks that are multiples of the identity, as eqs. (5) and (14) print them.

    Args:
        coefficients: a multiple for each block, in rows of blocks.
        heights: heights of the rows of blocks.
        widths: widths of the columns of blocks.
        dtype: floating-point type.
    """
    rows = [list(row) for row in coefficients]
    return _identity_blocks(rows, tuple(heights), tuple(widths), jnp.dtype(dtype))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _identity_blocks(coefficients, heights, widths, dtype):
    """One program; as many as operations, where each ran by itself, took a second."""
    return jnp.block(
        [
            [jnp.where(jnp.eye(h, w, dtype=bool), c, 0).astype(dtype) for w, c in pairs]
            for h, pairs in (
                (h, zip(widths, row, strict=True))
                for h, row in zip(heights, coefficients, strict=True)
            )
        ]
    )


class Blocks(NamedTuple):
    """P and V cut at row and column p; `V21_bar` and `V22_bar` are V̄21 and V̄22.

    Attributes:
        P11, P12, P21, P22: the blocks of P.
        V11, V12, V21, V22: the blocks of V. The bars leave out the first row,
            which would write into the prompt's 1.
    """

    P11: Float[Array, "*heads p p"]
    P12: Float[Array, "*heads p q+1"]
    P21: Float[Array, "*heads q+1 p"]
    P22: Float[Array, "*heads q+1 q+1"]
    V11: Float[Array, "*heads p p"]
    V12: Float[Array, "*heads p q+1"]
    V21: Float[Array, "*heads q+1 p"]
    V22: Float[Array, "*heads q+1 q+1"]

    @property
    def V21_bar(self) -> Float[Array, "*heads q p"]:
        return self.V21[..., 1:, :]

    @property
    def V22_bar(self) -> Float[Array, "*heads q q+1"]:
        return self.V22[..., 1:, :]

    @property
    def effective(self) -> Effective:
        return Effective(self.P12, self.V21_bar)


def split(P: Float[Array, "*heads D D"], V: Float[Array, "*heads D D"], p: int) -> Blocks:
    """Cut P and V into the paper's eight blocks.

    Args:
        P: the D×D matrix that stands for QᵀK, one for each head.
        V: the D×D value matrix, one for each head.
        p: height of a token; the cut.

    Raises:
        ValueError: if P and V are not square of one size, or p does not leave
            at least two rows below the cut.
    """
    D = P.shape[-1]
    if P.shape[-2:] != (D, D) or V.shape != P.shape:
        raise ValueError(f"P and V must be square of one size, got {P.shape} and {V.shape}")
    if not 1 <= p <= D - 2:
        raise ValueError(f"p must lie in [1, {D - 2}] for D = {D}, got {p}")
    above, below = slice(None, p), slice(p, None)
    return Blocks(
        *(
            matrix[..., rows, columns]
            for matrix in (P, V)
            for rows in (above, below)
            for columns in (above, below)
        )
    )


def embed(
    effective: Effective,
    free: tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]] | None = None,
) -> Matrices:
    """Full P and V with the given θ_eff, and P22 = V̄22 = 0.

    Args:
        effective: the blocks P12 and V̄21.
        free: matrices that supply the entries which Theorems 3.1 and 3.3 leave
            free (P11, P21, V11, V12 and the first rows of V21 and V22); zeros
            if not given.

    Raises:
        ValueError: if a matrix of `free` is not D×D for each head.
    """
    P12, V21 = map(jnp.asarray, effective)  # NumPy's, too, in the precision that is set
    *heads, p, width = P12.shape
    D = p + width
    shape = (*heads, D, D)
    P, V = (jnp.zeros(shape, P12.dtype),) * 2 if free is None else map(jnp.asarray, free)
    if P.shape != shape or V.shape != shape:
        each = f" for each of {heads[0]} heads" if heads else ""
        raise ValueError(f"free must hold two {D}×{D} matrices{each}, got {P.shape} and {V.shape}")
    return _embed(Effective(P12, V21), Matrices(P, V))


@jax.jit
def _embed(effective: Effective, free: Matrices) -> Matrices:
    P12, V21 = effective
    p = P12.shape[-2]
    return Matrices(
        P=free.P.at[..., :p, p:].set(P12).at[..., p:, p:].set(0),
        V=free.V.at[..., p + 1 :, :p].set(V21).at[..., p + 1 :, p:].set(0),
    )


def xavier_normal(
    key: Key[Array, ""], shape: tuple[int, ...], gain: float | Float[Array, ""], dtype: DTypeLike
) -> Float[Array, "*heads rows columns"]:
    """Entries N(0, gain² · 2/(rows + columns)): the paper's start for both blocks."""
    return gain * (2 / sum(shape[-2:])) ** 0.5 * normal(key, shape, dtype)


def draw_effective(
    keys: tuple[Key[Array, ""], Key[Array, ""]],
    p: int,
    q: int,
    gain: float | Float[Array, ""] = 0.1,
    dtype: DTypeLike = jnp.float32,
    heads: int = 1,
) -> Effective:
    """θ_eff before training from two keys, of P12 and of V̄21; the rest as `initial_effective`."""
    leading = () if heads == 1 else (heads,)
    return Effective(
        P12=xavier_normal(keys[0], (*leading, p, q + 1), gain, dtype),
        V21=xavier_normal(keys[1], (*leading, q, p), gain, dtype),
    )


def first_keys(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """The first two keys of `flax.nnx.Rngs(key)`, without Flax."""
    return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)


def initial_effective(
    rngs: "nnx.Rngs",
    p: int,
    q: int,
    gain: float | Float[Array, ""] = 0.1,
    dtype: DTypeLike = jnp.float32,
    heads: int = 1,
) -> Effective:
    """θ_eff before training (paper §4): both blocks Xavier-normal.

    Args:
        rngs: streams of randomness; `rngs.params()` is used twice.
        p: height of a token.
        q: number of parameters that the rule updates.
        gain: Xavier gain.
        dtype: floating-point type of the blocks.
        heads: number of heads; each is drawn as one head would be.
    """
    return draw_effective((rngs.params(), rngs.params()), p, q, gain, dtype, heads)
