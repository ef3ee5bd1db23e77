"""Eq. (1) in SymPy, to prove identities for all values at once. Needs the `book` extra."""

import sympy
from sympy import Matrix

__all__ = ["block_output", "embed", "symbols"]


def symbols(name: str, rows: int, columns: int = 1) -> Matrix:
    """A matrix of distinct symbols name_ij."""
    return Matrix(rows, columns, lambda i, j: sympy.Symbol(f"{name}_{i + 1}{j + 1}"))


def embed(P12: Matrix, V21: Matrix) -> tuple[Matrix, Matrix]:
    """P and V as in `icrl_flax.embed`, every free entry a symbol of its own.

    Args:
        P12: p × (q+1).
        V21: V̄21, q × p.
    """
    p, width = P12.shape
    P, V = symbols("P", p + width, p + width), symbols("V", p + width, p + width)
    P[:p, p:] = P12
    P[p:, p:] = sympy.zeros(width, width)
    V[p + 1 :, :p] = V21
    V[p + 1 :, p:] = sympy.zeros(width - 1, width)
    return P, V


def block_output(P: Matrix, V: Matrix, tokens: Matrix, u: Matrix) -> Matrix:
    """What the block reads out of the prompt for (tokens, u), by eq. (1).

    Args:
        P: D × D.
        V: D × D.
        tokens: n × p, one row per transition.
        u: q × 1, the parameters before the update.
    """
    n, p = tokens.shape
    q = u.rows
    H = sympy.zeros(p + q + 1, n + 1)
    H[:p, :n] = tokens.T
    H[p:, n] = Matrix([1, *u])
    # Only the last column of the output is read.
    last = H[:, n] + V * H * (H.T * (P * H[:, n])) / n
    return last[-q:, :]
