"""The prompt and the parameters' block structure, written once over (p, q).

SARSA and actor-critic share one shape. With p the height of a token x_i and q
the number of parameters that the rule updates, D = p + q + 1 and

    H = [ x_0 … x_{n−1}  0 ]      w̃ = [1 ; u]
        [  0  …    0     w̃ ]

(eqs. 4 and 13). P and V split conformally into p and q+1 rows and columns.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


def augment(u: Float[Array, " q"]) -> Float[Array, " q+1"]:
    """w̃ = [1 ; u]."""
    return jnp.concatenate([jnp.ones(1, u.dtype), u])


def build_prompt(tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, "D n+1"]:
    """H of eq. (4) or (13): n context columns, then one parameter column.

    Args:
        tokens: one row per transition, x_iᵀ.
        u: the parameters before the update.
    """
    n, p = tokens.shape
    q = u.shape[0]
    context = jnp.concatenate([tokens.T, jnp.zeros((q + 1, n), tokens.dtype)])
    column = jnp.concatenate([jnp.zeros(p, u.dtype), augment(u)])
    return jnp.concatenate([context, column[:, None]], axis=1)


def readout(H: Float[Array, "D columns"], q: int) -> Float[Array, " q"]:
    """The block's answer: the last q entries of the last column."""
    return H[-q:, -1]


class Effective(NamedTuple):
    """θ_eff: the two blocks of θ that training moves (Proposition 3.1).

    Attributes:
        P12: turns w̃ into the direction whose product with a token is the TD error.
        V21: V̄21, the last q rows of V21: turns a token into the update's direction.
    """

    P12: Float[Array, "p q+1"]
    V21: Float[Array, "q p"]


class Blocks(NamedTuple):
    """P and V cut at row and column p; `V21_bar` and `V22_bar` are V̄21 and V̄22."""

    P11: Float[Array, "p p"]
    P12: Float[Array, "p q+1"]
    P21: Float[Array, "q+1 p"]
    P22: Float[Array, "q+1 q+1"]
    V11: Float[Array, "p p"]
    V12: Float[Array, "p q+1"]
    V21: Float[Array, "q+1 p"]
    V22: Float[Array, "q+1 q+1"]

    @property
    def V21_bar(self) -> Float[Array, "q p"]:
        return self.V21[1:]

    @property
    def V22_bar(self) -> Float[Array, "q q+1"]:
        return self.V22[1:]

    @property
    def effective(self) -> Effective:
        return Effective(self.P12, self.V21_bar)


def split(P: Float[Array, "D D"], V: Float[Array, "D D"], p: int) -> Blocks:
    """Cut P and V into the paper's eight blocks.

    Args:
        P: the D×D matrix that stands for QᵀK.
        V: the D×D value matrix.
        p: height of a token; the cut.

    Raises:
        ValueError: if P and V are not square of one size, or p does not leave
            at least two rows below the cut.
    """
    D = P.shape[0]
    if P.shape != (D, D) or V.shape != (D, D):
        raise ValueError(f"P and V must be square of one size, got {P.shape} and {V.shape}")
    if not 1 <= p <= D - 2:
        raise ValueError(f"p must lie in [1, {D - 2}] for D = {D}, got {p}")
    return Blocks(
        P[:p, :p], P[:p, p:], P[p:, :p], P[p:, p:], V[:p, :p], V[:p, p:], V[p:, :p], V[p:, p:]
    )


def embed(
    effective: Effective,
    free: tuple[Float[Array, "D D"], Float[Array, "D D"]] | None = None,
) -> tuple[Float[Array, "D D"], Float[Array, "D D"]]:
    """Full P and V with the given θ_eff, and P22 = V̄22 = 0.

    Args:
        effective: the blocks P12 and V̄21.
        free: matrices that supply the entries which Theorems 3.1 and 3.3 leave
            free (P11, P21, V11, V12 and the first rows of V21 and V22); zeros
            if not given.

    Raises:
        ValueError: if a matrix of `free` is not D×D.
    """
    P12, V21 = effective
    p, width = P12.shape
    D = p + width
    P, V = (jnp.zeros((D, D), P12.dtype),) * 2 if free is None else free
    if P.shape != (D, D) or V.shape != (D, D):
        raise ValueError(f"free must hold two {D}×{D} matrices, got {P.shape} and {V.shape}")
    P = P.at[:p, p:].set(P12).at[p:, p:].set(0)
    V = V.at[p + 1 :, :p].set(V21).at[p + 1 :, p:].set(0)
    return P, V
