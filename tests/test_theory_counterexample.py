"""The rational moments of rings, the loss made of them, and the signs of eigenvalues."""

from fractions import Fraction

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import Effective, Sarsa
from icrl_flax.theory import Inertia, Ring, as_floats, inertia, offset

SIZES = [(1, 1), (1, 3), (2, 1), (2, 2)]


def theta_of(ring, seed):
    """Small random fractions in both blocks."""
    rng = np.random.default_rng(seed)

    def block(like):
        values = rng.integers(-5, 6, np.shape(like)).ravel()
        return np.array([Fraction(int(v), 7) for v in values], object).reshape(np.shape(like))

    return Effective(*map(block, ring.zero))


@pytest.mark.parametrize("n", [1, 2, 4])
def test_sigma_moments_against_the_mean_over_all_signs(n):
    """Two-point laws have finitely many rings: every entry is ±1."""
    ring = Ring(d=1, n=n, feature=(Fraction(1), Fraction(1)), reward=(Fraction(1), Fraction(1)))
    size = 2 * (n + 1)
    signs = 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)
    phi, r = signs[:, : n + 1], signs[:, n + 1 :]
    tokens = np.stack([phi[:, :n], 0.5 * phi[:, 1:], r[:, :n]], axis=-1)
    sigma = np.einsum("Nni,Nnj->Nij", tokens, tokens) / n
    expected = np.einsum("Nij,Nkl->ijkl", sigma, sigma) / len(signs)
    np.testing.assert_allclose(ring.sigma_moments().astype(float), expected, atol=1e-15)


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_loss_gradient_and_hessian_are_those_of_the_moments(d, n):
    ring = Ring(d=d, n=n)
    theta, moments, best = theta_of(ring, d), ring.moments(), as_floats(ring.optimum)
    delta = offset(as_floats(theta), best, 1.0)
    flat, unravel = jax.flatten_util.ravel_pytree(delta)

    def loss(v):
        return moments.loss(1.0, unravel(v))

    assert float(ring.loss(theta)) == pytest.approx(float(loss(flat)), rel=1e-12)
    for ours, theirs in zip(ring.gradient(theta), unravel(jax.grad(loss)(flat)), strict=True):
        np.testing.assert_allclose(ours.astype(float), theirs, atol=1e-12)
    np.testing.assert_allclose(
        ring.hessian(theta).astype(float), jax.hessian(loss)(flat), atol=1e-12
    )


@pytest.mark.parametrize("d", [1, 3])
def test_the_optimum_is_that_of_the_rule(d):
    ours, rules = as_floats(Ring(d=d).optimum), Sarsa(d=d, alpha=0.2).optimum(jnp.float64)
    for a, b in zip(ours, rules, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("d", "n"), SIZES)
def test_the_reward_reader_is_critical(d, n):
    ring = Ring(d=d, n=n, variance=Fraction(1, 2), reward=(Fraction(1, 4), Fraction(1, 3)))
    assert all((block == 0).all() for block in ring.gradient(ring.reward_reader()))
    assert 0 < ring.loss(ring.reward_reader()) < ring.loss(ring.zero)


def test_the_counterexample():
    ring = Ring()
    wrong = ring.reward_reader()
    assert ring.loss(wrong) == Fraction(269, 243000)
    assert ring.loss(ring.zero) == Fraction(101, 27000)
    assert inertia(ring.hessian(wrong)) == Inertia(0, 1, 8)
    assert inertia(ring.hessian(ring.optimum)) == Inertia(0, 1, 8)


@pytest.mark.parametrize("seed", range(8))
def test_inertia_of_a_known_congruence(seed):
    rng = np.random.default_rng(seed)
    signs = rng.integers(-1, 2, 7)
    lower = np.tril(rng.integers(-3, 4, (7, 7)), -1) + np.eye(7, dtype=int)
    matrix = lower @ np.diag(signs) @ lower.T
    fractions = np.array([[Fraction(int(x)) for x in row] for row in matrix], object)
    assert inertia(fractions) == tuple(int((signs == s).sum()) for s in (-1, 0, 1))


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[0, 1], [1, 0]], (1, 0, 1)),
        ([[0, 2, 3], [2, 0, 4], [3, 4, 0]], (2, 0, 1)),
        ([[0, 0], [0, 0]], (0, 2, 0)),
        ([[0, 1, 0], [1, 0, 1], [0, 1, 0]], (1, 1, 1)),
    ],
)
def test_inertia_without_pivots_on_the_diagonal(matrix, expected):
    fractions = np.array([[Fraction(x) for x in row] for row in matrix], object)
    assert inertia(fractions) == expected


def test_bad_input():
    with pytest.raises(ValueError, match="matrix must be square and symmetric"):
        inertia(np.array([[0, 1], [2, 0]], object))
    with pytest.raises(ValueError, match="d must be an integer of at least 1, got 0"):
        Ring(d=0).sigma_moments()
