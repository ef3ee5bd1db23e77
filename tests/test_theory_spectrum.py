"""The Hessian on the manifold, its spectrum, and the flow that it generates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.linalg
from populations import RULES, as_numpy, one_hot_population, random_pair, random_population

from icrl_flax import Effective
from icrl_flax.theory import (
    lanczos,
    largest_eigenvalue,
    linearised_loss,
    project_normal,
    second_moments,
    smallest_eigenvalues,
    tangent,
)
from icrl_flax.theory.spectrum import linearised_slope, modes, top_singular_value


@pytest.fixture(scope="module", params=RULES)
def case(request):
    population, _ = random_population(RULES[request.param])
    return population, second_moments(population)


def data(population):
    return *as_numpy(population.optimum), np.asarray(population.tokens), np.asarray(population.u)


def test_second_moments(case):
    population, moments = case
    left, right = reference.excitation(*data(population))
    N = population.size
    np.testing.assert_allclose(moments.uu, left @ left.T / N, atol=1e-13)
    np.testing.assert_allclose(moments.uw, left @ right.T / N, atol=1e-13)
    q = population.u.shape[1]
    np.testing.assert_allclose(np.kron(np.eye(q), moments.bb), right @ right.T / N, atol=1e-13)
    w = [np.outer([1.0, *u], [1.0, *u]) for u in np.asarray(population.u)]
    np.testing.assert_allclose(moments.ww, sum(w) / N, atol=1e-13)
    assert moments.shapes == tuple(block.shape for block in population.optimum)


def test_second_moments_of_more_windows_than_are_taken_at_once():
    small, _ = random_population(RULES["sarsa"], size=41)
    large = second_moments(small.take(np.tile(np.arange(41), 27)))  # 1107, with 1000 at once
    for actual, expected in zip(large[:4], second_moments(small)[:4], strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-13)


@pytest.mark.parametrize("c", [0.5, -1.3])
def test_hessian_is_that_of_the_loss(case, c):
    population, moments = case
    zero = jnp.zeros(moments.hessian(c).shape[0])
    split = population.optimum.P12.size

    def loss(vector):
        U = vector[:split].reshape(population.optimum.P12.shape)
        return population.loss(c, Effective(U, vector[split:].reshape(moments.shapes[1])))

    expected = jax.jit(jax.hessian(loss))(zero)
    np.testing.assert_allclose(moments.hessian(c), expected, atol=1e-12 * np.abs(expected).max())


def test_hessian_refuses_zero(case):
    with pytest.raises(ValueError, match="c must be finite and different from 0"):
        case[1].hessian(0.0)


@pytest.mark.parametrize("c", [0.5, -1.3])
def test_apply_is_the_dense_product(case, c):
    H = case[1].hessian(c)
    for vector in np.random.default_rng(0).normal(size=(5, len(H))):
        np.testing.assert_allclose(case[1].apply(c, vector), H @ vector, rtol=0, atol=1e-12)


def test_flatten(case):
    """U row by row, then W row by row."""
    population, moments = case
    delta = random_pair(population.optimum, 0)
    entries = [x for block in as_numpy(delta) for row in block for x in row]
    np.testing.assert_array_equal(moments.flatten(delta), entries)
    for back, block in zip(moments.unflatten(np.array(entries)), delta, strict=True):
        np.testing.assert_array_equal(back, block)


@pytest.mark.parametrize("c", [0.5, -1.3])
def test_one_zero_eigenvalue_along_the_manifold(case, c):
    population, moments = case
    H = moments.hessian(c)
    values = np.linalg.eigvalsh(H)
    assert abs(values[0]) < 1e-13 * values[-1]
    assert values[1] > 1e-7 * values[-1]
    along = moments.flatten(tangent(population.optimum, c))
    assert np.linalg.norm(H @ along) < 1e-13 * values[-1] * np.linalg.norm(along)


@pytest.mark.parametrize("c", [0.5, -1.3])
def test_smallest_eigenvalues_against_dense(case, c):
    population, moments = case
    H = moments.hessian(c)
    values, vectors = smallest_eigenvalues(moments, c, 5)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(H)[1:6], rtol=1e-8)
    assert vectors.shape == (len(H), 5)
    np.testing.assert_allclose(H @ vectors, vectors * values, atol=1e-11 * np.trace(H))
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-10)
    along = moments.flatten(tangent(population.optimum, c))
    np.testing.assert_allclose(along @ vectors, 0, atol=1e-10)
    again, _ = smallest_eigenvalues(moments, c, 5)
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("c", [0.5, -1.3])
def test_largest_eigenvalue_against_dense(case, c):
    moments = case[1]
    value, vector = largest_eigenvalue(moments, c)
    dense = moments.hessian(c)
    assert value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-10)
    np.testing.assert_allclose(dense @ vector, value * vector, atol=1e-8 * value)


def test_smallest_eigenvalues_refuse(case):
    size = len(case[1].hessian(1.0))
    with pytest.raises(ValueError, match=f"count must be below {size}, got {size}"):
        smallest_eigenvalues(case[1], 1.0, size)


def test_smallest_eigenvalues_of_a_degenerate_population():
    moments = second_moments(one_hot_population())
    assert np.linalg.eigvalsh(moments.hessian(0.7))[1] < 1e-14
    with pytest.raises(np.linalg.LinAlgError):
        smallest_eigenvalues(moments, 0.7, 2)


@pytest.fixture(scope="module", params=RULES)
def start(request):
    """The Hessian's quantities at c = 0.8 with a Δ that has a part along the manifold."""
    population, _ = random_population(RULES[request.param])
    moments = second_moments(population)
    return moments, 0.8, random_pair(population.optimum, 1)


def test_modes(start):
    moments, c, delta = start
    H, vector = moments.hessian(c), moments.flatten(delta)
    rates, squares = modes(moments, c, delta)
    assert len(rates) == len(H) - 1
    np.testing.assert_allclose(rates, np.linalg.eigvalsh(H)[1:], rtol=1e-9)
    for power in (1, 2, 3):
        expected = vector @ np.linalg.matrix_power(H, power) @ vector
        assert (rates**power) @ squares == pytest.approx(expected, rel=1e-11)
    along = moments.flatten(tangent(moments.optimum, c))
    expected = vector @ vector - (along @ vector) ** 2 / (along @ along)
    assert squares.sum() == pytest.approx(expected, rel=1e-11)


def test_lanczos_is_exact_for_polynomials(start):
    """m products are enough for Δᵀ Hᵏ Δ with k < 2m, and not for k = 2m.

    For k = 0 that is the square of Δ without its part along the manifold.
    """
    moments, c, delta = start
    H = moments.hessian(c)
    vector = moments.flatten(project_normal(moments.optimum, c, delta))
    rates, squares = lanczos(moments, c, delta, 4)
    assert len(rates) == 4
    for power in range(9):
        expected = vector @ np.linalg.matrix_power(H, power) @ vector
        error = abs((rates**power) @ squares / expected - 1)
        assert error < 1e-10 if power < 8 else error > 1e-6


@pytest.mark.parametrize("iterations", [25, 500])
def test_lanczos_reaches_the_dense_modes(start, iterations):
    moments, c, delta = start
    normal = project_normal(moments.optimum, c, delta)
    dense = modes(moments, c, normal)
    times = np.array([0.0, 1.0, 10.0, 100.0]) / dense.rates.max()
    quadrature = lanczos(moments, c, normal, iterations)
    np.testing.assert_allclose(
        linearised_loss(quadrature, times), linearised_loss(dense, times), rtol=1e-9
    )
    np.testing.assert_allclose(
        linearised_slope(quadrature, times), linearised_slope(dense, times), rtol=1e-6
    )


def test_lanczos_of_one_mode():
    """An eigenvector needs one product; more would divide by zero."""
    population, _ = random_population(RULES["sarsa"])
    moments = second_moments(population)
    values, vectors = np.linalg.eigh(moments.hessian(0.8))
    rates, squares = lanczos(moments, 0.8, moments.unflatten(3 * vectors[:, -1]), 6)
    assert rates[-1] == pytest.approx(values[-1], rel=1e-12)
    assert squares[-1] == pytest.approx(9, rel=1e-12)
    assert squares[:-1].sum() < 1e-20


def test_lanczos_refuses(start):
    with pytest.raises(ValueError, match="iterations must be an integer of at least 1"):
        lanczos(*start, 0)


def test_linearised_loss_is_the_matrix_exponential(start):
    moments, c, delta = start
    H, vector = moments.hessian(c), moments.flatten(delta)
    all_modes = modes(moments, c, delta)
    times = np.array([0.0, 0.3, 3.0, 30.0])
    for t, loss in zip(times, linearised_loss(all_modes, times), strict=True):
        at = scipy.linalg.expm(-t * H) @ vector
        assert loss == pytest.approx(at @ H @ at / 2, rel=1e-9)


def test_linearised_slope(start):
    all_modes = modes(*start)
    times, h = np.array([0.3, 3.0, 30.0]), 1e-5
    up, down = (np.log(linearised_loss(all_modes, times + s * h)) for s in (1, -1))
    np.testing.assert_allclose(
        linearised_slope(all_modes, times), (up - down) / (2 * h), rtol=1e-6
    )
    late = np.array([1e3, 1e12]) / all_modes.rates.min()
    np.testing.assert_allclose(
        linearised_slope(all_modes, late), -2 * all_modes.rates.min(), rtol=1e-9
    )


def test_top_singular_values():
    matrix = np.random.default_rng(0).normal(size=(9, 6))
    for count in (1, 3):
        found = top_singular_value(lambda v: matrix @ v, lambda u: u @ matrix, (9, 6), count)
        np.testing.assert_allclose(found, np.linalg.svd(matrix)[1][:count], rtol=1e-10)
