"""Ranks modulo a prime, and the kernel that N windows leave, against other ways to find them."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from sympy.polys.domains import GF
from sympy.polys.matrices import DomainMatrix

from icrl_flax import Sarsa
from icrl_flax.theory import (
    kernel_dimension,
    predicted_kernel_dimension,
    rank_modulo,
    rational_windows,
    residue,
)


def test_residue():
    assert residue(0.2, 7) == 3  # 5 · 3 = 15 = 1
    assert residue(-1, 7) == 6
    assert residue(Fraction(3, 4), 11) == 9  # 4 · 9 = 36 = 3
    with pytest.raises(ValueError, match=r"prime to 7, got 0\.142"):
        residue(1 / 7, 7)


@pytest.mark.parametrize("prime", [2, 7, 8_388_593])
def test_rank_against_sympy(prime):
    rng = np.random.default_rng(prime)
    for m, k, r in ((5, 8, 3), (9, 4, 4), (6, 6, 6), (7, 7, 0)):
        matrix = rng.integers(-50, 50, (m, r)) @ rng.integers(-50, 50, (r, k))
        exact = DomainMatrix.from_Matrix(sympy.Matrix(m, k, list(map(int, matrix.ravel()))))
        assert rank_modulo(matrix, prime) == exact.convert_to(GF(prime)).rank()


@pytest.mark.parametrize("rank", [100, 300])
def test_rank_over_several_blocks(rank):
    """A product of random factors modulo the prime; rows that repeat early need all rows."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1000, (500, rank)), rng.integers(0, 1000, (rank, 400))
    product = a @ b
    product[:290] = product[0]
    assert rank_modulo(product) == min(rank, 211)


def test_a_rank_modulo_a_prime_may_be_smaller():
    assert rank_modulo(np.array([[7, 0], [0, 1]]), 7) == 1
    assert rank_modulo(np.array([[7, 0], [0, 1]]), 11) == 2


@pytest.mark.parametrize("prime", [1, 2**23 + 9])
def test_refusal(prime):
    with pytest.raises(ValueError, match=f"prime must lie in .*got {prime}"):
        rank_modulo(np.eye(2, dtype=int), prime)


def windows(d, n, N, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.permutation(2 * d + 2)[: n + 1] for _ in range(N)])
    return rational_windows(rng, d, pairs)


def test_windows_are_those_of_sarsa():
    """The last columns of a token are γφ of the pair that comes next, and one reward."""
    tokens, u = rational_windows(np.random.default_rng(0), 2, np.array([[0, 1, 0, 1]]), 0.5)
    assert tokens.shape == (1, 3, 5)
    assert u.shape == (1, 2)
    half = residue(0.5)
    np.testing.assert_array_equal(tokens[0, 0, 2:4], tokens[0, 1, :2] * half % 8_388_593)
    np.testing.assert_array_equal(tokens[0, 0], tokens[0, 2])


@pytest.mark.parametrize("n", [1, 3, 6])
def test_kernel_against_floating_point(n):
    """The dense matrix of A U w̃ + W b in float64, from the residues' own rationals."""
    d, N, rule = 2, 9, Sarsa(d=2)
    tokens, u = windows(d, n, N)
    back = {residue(Fraction(k, 1000)): k / 1000 for k in range(-999, 1000)}
    halves = {residue(Fraction(k, 2000)): k / 2000 for k in range(-999, 1000)}
    x = np.vectorize(lambda value: {**halves, **back}[int(value)])(tokens)
    w = np.vectorize(back.get)(u)
    P, V = map(np.asarray, rule.optimum(np.dtype(float)))
    rows = []
    for each, v in zip(x, w, strict=True):
        sigma, full = each.T @ each, np.concatenate([[1.0], v])
        A, b = V @ sigma, sigma @ P @ full
        for k in range(d):
            rows.append(np.concatenate([np.kron(A[k], full), np.kron(np.eye(d)[k], b)]))
    rank = np.linalg.matrix_rank(np.array(rows))
    assert kernel_dimension(rule, tokens, u) == P.size + V.size - rank


@pytest.mark.parametrize(
    ("d", "n", "N", "dimension"),
    [(3, 5, 14, 7), (3, 5, 15, 4), (3, 5, 16, 1), (2, 1, 14, 2), (2, 1, 15, 1), (2, 1, 12, 4)],
)
def test_the_count(d, n, N, dimension):
    """4(d + 1) windows determine SARSA, and (d + 1)(2d + 1) of one transition."""
    found = kernel_dimension(Sarsa(d=d), *windows(d, n, N))
    assert found == predicted_kernel_dimension(2 * d + 1, d, [min(n, d)] * N) == dimension


def test_a_feature_that_repeats_leaves_more():
    tokens, u = windows(2, 4, 30)
    tokens[..., 1], tokens[..., 3] = tokens[..., 0], tokens[..., 2]
    assert kernel_dimension(Sarsa(d=2), tokens, u) > 1
