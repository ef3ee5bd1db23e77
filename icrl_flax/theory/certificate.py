"""Which blocks agree with the construction on a set of windows: ranks that leave no rounding.

At θ̄(c) + (U, W) the error on a window is, to first order, c⁻¹ A U w̃ + c W b with
A = V̄⋆21 Σ̂ and b = Σ̂ P⋆12 w̃. The (U, W) for which it vanishes on each of N windows are the
kernel of a matrix with q N rows, and if the windows hold rational numbers, so does the
matrix. Its rank modulo a prime, which no rounding touches, is at most its rank over ℚ. So
a kernel of dimension 1 modulo a prime is a proof that the kernel is the scale's line.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Int

from icrl_flax import _checks
from icrl_flax.rules.base import Rule

PRIME = 8_388_593  # the largest below 2²³: 128 products of two residues fit in a float64
_BLOCK = 128
_DENOMINATOR = 1000  # of features, rewards and parameters


def residue(value: Fraction | int | float, prime: int = PRIME) -> int:
    """A rational number modulo a prime.

    Args:
        value: the number; a float stands for the simplest fraction near it, 0.2 for 1/5.
        prime: must not divide the denominator.
    """
    exact = Fraction(value).limit_denominator(10**6)
    if exact.denominator % prime == 0:
        raise ValueError(f"value must have a denominator prime to {prime}, got {value!r}")
    return exact.numerator * pow(exact.denominator, -1, prime) % prime


def rank_modulo(matrix: Int[np.ndarray, "m k"], prime: int = PRIME) -> int:
    """The rank of an integer matrix modulo a prime: a lower bound of its rank over ℚ.

    Gaussian elimination by blocks of columns. In each block it finds rows that span its
    rows, among a few if they suffice, and eliminates the block from all others by one
    product of matrices.

    Args:
        matrix: of integers.
        prime: below 2²³, so that float64 holds every intermediate result exactly.

    Raises:
        ValueError: if prime is not an integer from 2 to 2²³.
    """
    _check_prime(prime)
    left = (np.asarray(matrix) % prime).astype(float)
    rank = 0
    while left.size:
        block, rest = left[:, :_BLOCK], left[:, _BLOCK:]
        rows, columns = _pivots(block[: 2 * _BLOCK], prime)
        if len(rows) < block.shape[1] and len(block) > 2 * _BLOCK:
            rows, columns = _pivots(block, prime)
        others = np.setdiff1d(np.arange(len(left)), rows)
        if len(rows) and len(others) and rest.size:
            inverse = _inverse(block[rows][:, columns], prime)
            factor = _product(block[others][:, columns], inverse, prime)
            left = _modulo(rest[others] - _product(factor, rest[rows], prime), prime)
        else:
            left = rest[others]
        rank += len(rows)
    return rank


def _check_prime(prime: int) -> None:
    _checks.positive_integer("prime", prime)
    if not 2 <= prime < 2**23:
        raise ValueError(f"prime must lie in [2, 2**23), got {prime}")


def _modulo(values: np.ndarray, prime: int) -> np.ndarray:
    """Integers in float64 modulo a prime: several times faster than %, and as exact."""
    remainder = values - np.floor(values * (1 / prime)) * prime
    # The quotient may be off by one, because 1/prime was rounded.
    remainder += prime * (remainder < 0)
    remainder -= prime * (remainder >= prime)
    return remainder


def _product(a: np.ndarray, b: np.ndarray, prime: int) -> np.ndarray:
    """a @ b modulo a prime, exactly: at most 128 products are added before a reduction."""
    total = np.zeros((a.shape[0], b.shape[1]))
    for first in range(0, a.shape[1], _BLOCK):
        part = slice(first, first + _BLOCK)
        total = _modulo(total + _modulo(a[:, part] @ b[part], prime), prime)
    return total


def _pivots(block: np.ndarray, prime: int) -> tuple[list[int], list[int]]:
    """Rows and columns of a submatrix that is invertible and has the rank of the whole."""
    work, rows, columns = block.copy(), [], []
    for column in range(work.shape[1]):
        nonzero = np.flatnonzero(work[:, column])
        if not nonzero.size:
            continue
        row = int(nonzero[0])
        scale = pow(int(work[row, column]), -1, prime)
        pivot = _modulo(work[row] * scale, prime)
        factor = work[:, column].copy()
        # A row that has been used is zero from here on, so it is not used again.
        work[nonzero] = _modulo(work[nonzero] - factor[nonzero, None] * pivot, prime)
        rows.append(row)
        columns.append(column)
    return rows, columns


def _inverse(matrix: np.ndarray, prime: int) -> np.ndarray:
    """By Gauss and Jordan; the matrix must be invertible."""
    return _reduced(matrix, prime)[1][:, len(matrix) :]


def _reduced(matrix: np.ndarray, prime: int) -> tuple[int, np.ndarray]:
    """The rank, and [matrix | I] with the matrix brought to reduced echelon form."""
    size, width = matrix.shape
    work, rank = np.hstack([matrix, np.eye(size)]), 0
    for column in range(width):
        nonzero = rank + np.flatnonzero(work[rank:, column])
        if not nonzero.size:
            continue
        work[[rank, nonzero[0]]] = work[[nonzero[0], rank]]
        work[rank] = _modulo(work[rank] * pow(int(work[rank, column]), -1, prime), prime)
        factor = work[:, column].copy()
        factor[rank] = 0
        work = _modulo(work - factor[:, None] * work[rank], prime)
        rank += 1
    return rank, work


def kernel_dimension(
    rule: Rule, tokens: Int[np.ndarray, "N n p"], u: Int[np.ndarray, "N q"], prime: int = PRIME
) -> int:
    """Dimension of {(U, W): A U w̃ + W b = 0 on each window}, modulo a prime.

    It is at least 1, since the scale's direction (P⋆12, −V̄⋆21) is always in it, and never
    below the dimension over ℚ. At every c ≠ 0 the dimension is the same.

    W meets each window through b alone, in each of its q rows in the same way. So the
    combinations of windows in which the b's cancel say what is asked of U, and no matrix
    has more than p(q+1) columns: 2701 in place of 5329 at d = 36.

    Args:
        rule: whose construction it is; its step sizes are taken as simple fractions.
        tokens: residues of the windows' entries, x_iᵀ in rows.
        u: residues of the parameters.
        prime: below 2²³.
    """
    _check_prime(prime)
    optimum = rule.optimum(np.dtype("float64"))
    exact = np.vectorize(lambda value: residue(float(value), prime), otypes=[float])
    P, V = (exact(np.asarray(block)) for block in optimum)
    x = np.asarray(tokens, float) % prime
    N, _, p = x.shape
    w = np.concatenate([np.ones((N, 1)), np.asarray(u, float) % prime], axis=1)
    A, b = [], []
    for window, each in zip(x, w, strict=True):  # n Σ̂ in place of Σ̂: the same kernel
        scores = _product(window, _product(P, each[:, None], prime), prime)
        b.append(_product(window.T, scores, prime)[:, 0])
        A.append(_product(_product(V, window.T, prime), window, prime))
    A, b = np.array(A), np.array(b)
    q = A.shape[1]
    rank, reduced = _reduced(b, prime)
    cancel = reduced[rank:, p:]  # combinations of windows whose b's add up to 0
    forms = _modulo(A[:, :, :, None] * w[:, None, None, :], prime).reshape(N, -1)
    asked = _product(cancel, forms, prime).reshape(-1, p * (q + 1))
    return p * (q + 1) - rank_modulo(asked.astype(np.int64), prime) + q * (p - rank)


def predicted_kernel_dimension(p: int, q: int, ranks: Sequence[int]) -> int:
    """The dimension that counting equations predicts: max(1, p(2q+1) − qN, p(q+1) + 1 − Σ r).

    No kernel is smaller. N windows make q N equations. Of those of a window with A of rank
    r, q − r hold W alone; together they leave at least one W, V̄⋆21. So U is asked no more
    than Σ r questions.

    Args:
        p: height of a token.
        q: number of parameters.
        ranks: r for each window: for SARSA the number of different pairs (s, a) that the
            window updates, or d if that is less.
    """
    equations = p * (2 * q + 1) - q * len(ranks)
    return max(1, equations, p * (q + 1) + 1 - int(np.sum(ranks)))


def rational_windows(
    rng: np.random.Generator,
    d: int,
    pairs: Int[np.ndarray, "N steps"],
    gamma: float = 0.5,
    prime: int = PRIME,
) -> tuple[Int[np.ndarray, "N n p"], Int[np.ndarray, "N d"]]:
    """SARSA's tokens and parameters for given paths, with rational entries, modulo a prime.

    Features, rewards and parameters are multiples of 1/1000 in (−1, 1), anew for each
    window. Rewards belong to the pair (s, a) that is left and the one that is reached.

    Args:
        rng: of the entries.
        d: number of features.
        pairs: number of the pair (s, a) at each of the n + 1 steps of each window.
        gamma: a simple fraction.
        prime: below 2²³.
    """
    _check_prime(prime)
    N = pairs.shape[0]
    count = int(pairs.max()) + 1
    unit = residue(Fraction(1, _DENOMINATOR), prime)

    def entries(*shape):
        return rng.integers(1 - _DENOMINATOR, _DENOMINATOR, shape) * unit % prime

    phi, reward, u = entries(N, count, d), entries(N, count, count), entries(N, d)
    each = np.arange(N)[:, None]
    now, then = pairs[:, :-1], pairs[:, 1:]
    following = phi[each, then] * residue(gamma, prime) % prime
    tokens = np.concatenate(
        [phi[each, now], following, reward[each, now, then][..., None]], axis=2
    )
    return tokens, u
