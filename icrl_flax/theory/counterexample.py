"""Populations on which SARSA's loss has a minimum that is not the construction, exactly.

A ring is a deterministic MDP with one action: n + 1 states, visited in turn. The entries
of the features, the rewards and w are independent and symmetric, so every moment that the
loss needs is a rational number, and with it ∇L and the Hessian. Sylvester's law of inertia
then decides the signs of the Hessian's eigenvalues without rounding.
"""

from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.moments import Moments

_UNIFORM = Fraction(1, 3), Fraction(1, 5)  # E x² and E x⁴ for x uniform on (−1, 1)


class Ring(NamedTuple):
    """SARSA on rings of n + 1 states, in rational arithmetic.

    Arrays have the dtype object, with Fractions as entries.

    Attributes:
        d: number of features.
        n: transitions per window, one fewer than there are states; 1 means two states
            that alternate.
        alpha: step size α of the rule.
        gamma: discount γ.
        feature: E x² and E x⁴ of each entry of the features.
        reward: E r² and E r⁴ of each state's reward.
        variance: E w² of each entry of w.
    """

    d: int = 1
    n: int = 1
    alpha: Fraction = Fraction(1, 5)
    gamma: Fraction = Fraction(1, 2)
    feature: tuple[Fraction, Fraction] = _UNIFORM
    reward: tuple[Fraction, Fraction] = _UNIFORM
    variance: Fraction = Fraction(1, 3)

    @property
    def optimum(self) -> Effective:
        """(P⋆12, V̄⋆21) of SARSA, eq. (5)."""
        d = self.d
        P, V = self._zeros()
        P[2 * d, 0] = V[0, 0] + 1
        for k in range(d):
            P[k, 1 + k], P[d + k, 1 + k] = Fraction(-1), Fraction(1)
            V[k, k] = self.alpha
        return _pair(P, V)

    @property
    def zero(self) -> Effective:
        """The weights that leave w as it is."""
        return _pair(*self._zeros())

    def sigma_moments(self) -> Shaped[np.ndarray, "p p p p"]:
        """E[Σ̂_ij Σ̂_kl]."""
        _checks.positive_integer("d", self.d)
        _checks.positive_integer("n", self.n)
        return _sigma_moments(self.d, self.n, self.gamma, self.feature, self.reward)

    def reward_reader(self) -> Effective:
        """The critical point at which V̄21 reads the reward and P12 the first feature.

        V̄21 = e₁ e_rᵀ; P12 has α at (φ₁, constant) and, at (reward, w₁),
        α E[Σ̂_rr (Σ̂_φφ' − Σ̂_φφ)] / E[Σ̂_rr²].
        """
        d, S = self.d, self.sigma_moments()
        P, V = self._zeros()
        V[0, 2 * d] = Fraction(1)
        P[0, 0] = self.alpha
        r = 2 * d
        P[r, 1] = self.alpha * (S[r, r, 0, d] - S[r, r, 0, 0]) / S[r, r, r, r]
        return _pair(P, V)

    def loss(self, theta: Effective) -> Fraction:
        """L(θ), eq. (6)."""
        T, G = self._errors(theta)
        return (T * G).sum() / 2

    def gradient(self, theta: Effective) -> Effective:
        """∇L(θ)."""
        _, G = self._errors(theta)
        P, V = theta
        return _pair(np.tensordot(V, G, ((0, 1), (0, 1))), np.tensordot(G, P, ((2, 3), (0, 1))))

    def hessian(self, theta: Effective) -> Shaped[np.ndarray, "both both"]:
        """The Hessian of L at θ, for vec(U) before vec(W), both row by row."""
        (P, V), S, w = theta, self.sigma_moments(), self._squares()
        (q, p), width = V.shape, self.d + 1
        uu = np.tensordot(V.T @ V, S, ((0, 1), (0, 2)))  # [j, j']
        ww = np.tensordot((P * w) @ P.T, S, ((0, 1), (1, 3)))  # [i, i']
        uw = np.tensordot(np.tensordot(V, S, (1, 0)), P * w, (3, 0))  # [k, j, i', a]
        uw = uw.transpose(1, 3, 0, 2) + self._errors(theta)[1].transpose(2, 3, 0, 1)
        uw = uw.reshape(p * width, q * p)
        uu = np.multiply.outer(uu, np.diag(w)).transpose(0, 2, 1, 3)
        ww = np.multiply.outer(np.diag(np.array([Fraction(1)] * q, object)), ww).transpose(
            0, 2, 1, 3
        )
        uu, ww = uu.reshape(p * width, -1), ww.reshape(q * p, -1)
        return np.block([[uu, uw], [uw.T, ww]])

    def moments(self) -> Moments:
        """The same loss in float64, for flows."""
        rows, columns = np.triu_indices(2 * self.d + 1)
        S = self.sigma_moments()[rows, columns][:, rows, columns].astype(float)
        second = np.kron(S, np.diag(self._squares().astype(float)))
        return Moments(jnp.asarray(second), as_floats(self.optimum))

    def _zeros(self) -> tuple[np.ndarray, np.ndarray]:
        p = 2 * self.d + 1
        shapes = (p, self.d + 1), (self.d, p)
        P, V = (np.full(shape, Fraction(0), dtype=object) for shape in shapes)
        return P, V

    def _squares(self) -> np.ndarray:
        """E w̃_a²; the mixed moments are 0."""
        return np.array([Fraction(1)] + [self.variance] * self.d, object)

    def _errors(self, theta: Effective) -> tuple[np.ndarray, np.ndarray]:
        """T = V̄21 ⊗ P12 − V̄⋆21 ⊗ P⋆12 over [k, i, j, a], and E[Σ̂ ⟨T, Σ̂ ⊗ w̃⟩ w̃]."""
        best = self.optimum
        T = np.multiply.outer(theta.V21, theta.P12) - np.multiply.outer(best.V21, best.P12)
        G = np.tensordot(T, self.sigma_moments(), ((1, 2), (0, 1))).transpose(0, 2, 3, 1)
        return T, G * self._squares()


@lru_cache
def _sigma_moments(
    d: int,
    n: int,
    gamma: Fraction,
    feature: tuple[Fraction, Fraction],
    reward: tuple[Fraction, Fraction],
) -> Shaped[np.ndarray, "p p p p"]:
    p = 2 * d + 1
    # (state, feature) of each entry of the token of state 0, and what multiplies it
    names = [(0, k) for k in range(d)] + [(1, k) for k in range(d)] + [(0, d)]

    def mean(entries, lag):
        """E of a product of two entries of one token and two of the one `lag` later."""
        later = [(state + lag, which) for state, which in names]
        powers = Counter([names[e] for e in entries[:2]] + [later[e] for e in entries[2:]])
        if any(power % 2 for power in powers.values()):
            return Fraction(0)
        value = gamma ** sum(d <= e < 2 * d for e in entries)
        for (_, which), power in powers.items():
            value *= (reward if which == d else feature)[power // 2 - 1]
        return value

    S = np.empty((p,) * 4, object)
    for i, j, k, m in product(range(p), repeat=4):
        near = mean((i, j, k, m), 1) + mean((k, m, i, j), 1) if n > 1 else 0
        total = n * mean((i, j, k, m), 0) + (n - 1) * near
        if n > 2:
            total += (n - 1) * (n - 2) * mean((i, j, k, m), 2)
        S[i, j, k, m] = Fraction(total) / n**2
    S.setflags(write=False)
    return S


def _pair(P: Any, V: Any) -> Effective:
    """Rational blocks where those of a network would stand."""
    return Effective(P, V)


def as_floats(theta: Effective) -> Effective:
    """θ with rational entries, in float64."""
    return Effective(*(jnp.asarray(np.asarray(block).astype(float)) for block in theta))


class Inertia(NamedTuple):
    """How many eigenvalues of a symmetric matrix are negative, zero and positive."""

    negative: int
    zero: int
    positive: int


def inertia(matrix: Shaped[np.ndarray, "k k"]) -> Inertia:
    """The signs of the eigenvalues of a symmetric matrix of Fractions, without rounding.

    By elimination: a congruence SᵀAS has the same signs (Sylvester).

    Raises:
        ValueError: if the matrix is not square and symmetric.
    """
    matrix = np.asarray(matrix, object)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix != matrix.T).any():
        raise ValueError(f"matrix must be square and symmetric, got shape {matrix.shape}")
    rows = [
        {j: Fraction(value) for j, value in enumerate(row) if value} for row in matrix.tolist()
    ]
    left, signs = set(range(len(rows))), {-1: 0, 1: 0}
    while True:
        pivots = [i for i in left if i in rows[i]]
        if not pivots:
            pair = next(((i, j) for i in left for j in rows[i]), None)
            if pair is None:
                break
            _add(rows, *pair)  # row and column j to row and column i: a pivot 2 a_ij
            continue
        # the sparsest row first: fewer products, and smaller fractions
        pivot = min(pivots, key=lambda i: len(rows[i]))
        value, row = rows[pivot].pop(pivot), rows[pivot]
        signs[1 if value > 0 else -1] += 1
        left.remove(pivot)
        for i in row:
            rows[i].pop(pivot)
        for i, j in product(row, repeat=2):
            changed = rows[i].get(j, Fraction(0)) - row[i] * row[j] / value
            if changed:
                rows[i][j] = changed
            else:
                rows[i].pop(j, None)
    return Inertia(signs[-1], len(left), signs[1])


def _add(rows: list[dict[int, Fraction]], i: int, j: int) -> None:
    def plus(row: int, column: int, value: Fraction) -> None:
        total = rows[row].get(column, Fraction(0)) + value
        if total:
            rows[row][column] = total
        else:
            rows[row].pop(column, None)

    for column, value in list(rows[j].items()):
        plus(i, column, value)
    for row in range(len(rows)):
        if j in rows[row]:
            plus(row, i, rows[row][j])
