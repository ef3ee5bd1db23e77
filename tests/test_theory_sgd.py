"""SGD near the optima: thresholds, growth of moments, spikes, and Adam's noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import RULES, random_pair, random_population

from icrl_flax import Sarsa
from icrl_flax.theory import (
    adam_noise,
    adam_scale,
    hill,
    invariants,
    moment_growth,
    norm,
    second_moments,
    sgd_drift,
    signed_permutations,
    spikes,
    step_limits,
    tail_index,
    window_jacobians,
)

C = 0.8


@pytest.fixture(scope="module")
def small():
    return random_population(Sarsa(d=2, alpha=0.3), size=40)[0]


@pytest.fixture(scope="module")
def moments(small):
    return invariants(small)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_window_jacobians(rule):
    population, _ = random_population(rule, size=7)
    delta = random_pair(population.optimum, 1)
    J = window_jacobians(population, C)
    flat = np.concatenate([np.ravel(delta.P12), np.ravel(delta.V21)])
    np.testing.assert_allclose(J @ flat, population.terms(C, delta)[0], rtol=1e-10, atol=1e-12)


def operator(population, rate):
    """S ↦ E[(I − ηJᵀJ) S (I − ηJᵀJ)] on the normal space, entry by entry."""
    rates, vectors = np.linalg.eigh(second_moments(population).hessian(C))
    J = window_jacobians(population, C) @ vectors[:, rates > 1e-12 * rates[-1]]
    M = np.eye(J.shape[2]) - rate * J.transpose(0, 2, 1) @ J
    return np.mean([np.kron(m, m) for m in M], axis=0)


def test_mean_square_threshold_is_where_the_radius_is_one(small):
    limit = step_limits(small.take(np.arange(10)), C).mean_square
    for share, below in ((0.98, True), (1.02, False)):
        matrix = operator(small.take(np.arange(10)), share * limit)
        radius = np.abs(np.linalg.eigvals(matrix)).max()
        assert (radius < 1) == below


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_limits_are_in_order(rule):
    population, _ = random_population(rule)
    limits = step_limits(population, C)
    assert 0 < limits.sure < limits.trace < limits.mean_square < limits.descent
    top = np.linalg.eigvalsh(second_moments(population).hessian(C))[-1]
    assert limits.descent == pytest.approx(2 / top, rel=1e-9)
    J = window_jacobians(population, C)
    for direction in np.random.default_rng(0).normal(size=(20, J.shape[2])):
        error = J @ direction
        slopes = np.einsum("Nkm,Nk->Nm", J, error)
        assert (slopes**2).sum() <= 2 / limits.trace * (error**2).sum()


def test_invariants_are_those_of_the_mirrored_windows(small, moments):
    mirrored = signed_permutations(small)
    assert mirrored.size == 8 * small.size
    for c in (0.5, 1.7):
        limits = step_limits(mirrored, c, 5000)
        assert moments.mean_square_threshold(c) == pytest.approx(limits.mean_square, rel=1e-6)
        dense = np.linalg.eigvalsh(second_moments(mirrored).hessian(c))
        assert dense[0] == pytest.approx(0, abs=1e-12 * dense[-1])
        for value in moments.eigenvalues(c):
            assert np.abs(dense - value).min() < 1e-9 * dense[-1]


def test_growth_of_the_mean_square(small, moments):
    eta = moments.mean_square_threshold(C)
    assert moments.mean_square_growth(C, eta) == pytest.approx(0, abs=1e-6)
    assert moments.mean_square_growth(C, 1.1 * eta) > 0 > moments.mean_square_growth(C, 0.9 * eta)
    rate = 2 * eta
    cloned = moment_growth(
        jax.random.key(0), small, C, rate, jnp.array([2.0]), 4000, 60, mirror=True
    )
    assert cloned.rates[0] == pytest.approx(moments.mean_square_growth(C, rate), rel=0.1)


def test_top_directions_keep_their_mean_square(small, moments):
    eta = moments.mean_square_threshold(C)
    starts = moments.top_directions(C, 20_000)
    lengths = np.asarray(jax.vmap(norm)(starts))
    assert (lengths**2).mean() == pytest.approx(1, abs=0.05)
    for share, sign in ((0.8, -1), (1.25, 1)):
        seen = spikes(jax.random.key(1), small, C, share * eta, starts, 6, mirror=True)
        change = (lengths**2 * np.exp(2 * np.asarray(seen.end))).mean() / (lengths**2).mean()
        assert sign * np.log(change) > 0


def test_a_run_is_gradient_descent_on_the_windows_loss(small):
    one = small.take(np.array([3]))
    delta = jax.tree.map(lambda x: x[None], random_pair(small.optimum, 2))
    start = jax.tree.map(lambda x: x[0] / norm(random_pair(small.optimum, 2)), delta)
    highest = length = 1.0
    for _ in range(4):
        slope = one.gradient(C, start)
        start = jax.tree.map(lambda d, g: d - 0.02 * g, start, slope)
        length = float(norm(start))
        highest = max(highest, length)
    seen = spikes(jax.random.key(0), one, C, 0.02, delta, 4, radius=1.0)
    assert seen.end[0] == pytest.approx(np.log(length), rel=1e-9)
    assert seen.highest[0] == pytest.approx(highest, rel=1e-12)


def test_growth_of_one_window_is_its_matrix(small):
    """One window over and over: the directions with no error stay, so Λ = 0 below 2/‖J‖²."""
    one = small.take(np.array([0]))
    top = np.linalg.norm(window_jacobians(one, C)[0], ord=2) ** 2
    rates = moment_growth(
        jax.random.key(0), one, C, 4 / top, jnp.array([0.0, 1.0, 2.0]), 50, 400
    ).rates
    np.testing.assert_allclose(rates, np.log(3) * np.array([1, 1, 2]), rtol=1e-6)


def test_tail_index_and_hill():
    kappas = np.linspace(0.5, 4, 50)
    assert tail_index(kappas, kappas * (kappas - 1.7)) == pytest.approx(1.7)
    with pytest.raises(ValueError, match="growth must go from below to above 0"):
        tail_index(kappas, kappas)
    heights = np.random.default_rng(0).pareto(1.5, 20_000) + 1
    for cap in (np.inf, 20.0):
        estimate = hill(heights, 2000, cap)
        assert estimate.low < 1.5 < estimate.high
    with pytest.raises(ValueError, match="count must be below"):
        hill(heights[:10], 10)
    with pytest.raises(ValueError, match="cap must leave"):
        hill(heights, 100, 1.0)


def test_drift_of_the_invariant(small):
    delta = random_pair(small.optimum, 3)
    each = [small.take(np.array([i])).gradient(C, delta) for i in range(small.size)]
    squares = [(g.P12**2).sum() - (g.V21**2).sum() for g in each]
    assert sgd_drift(small, C, delta) == pytest.approx(float(np.mean(squares)), rel=1e-10)


def test_adams_noise(moments):
    noise = adam_noise(moments, C, 0.3)
    assert noise.floor > 0
    early, late = adam_scale(moments, C, np.array([1e-9, 1e-3]), 0.3, (0.2, 3.0))
    assert early == pytest.approx(C, rel=1e-6)
    assert np.sign(late - C) == np.sign(noise.drift)


def test_refusals(small):
    with pytest.raises(ValueError, match="together must divide"):
        moment_growth(jax.random.key(0), small, C, 0.1, jnp.ones(1), together=7)
    other, _ = random_population(RULES["actor-critic"], size=5)
    with pytest.raises(ValueError, match="population must be of SARSA"):
        invariants(other)
    with pytest.raises(ValueError, match="mirror must be False"):
        moment_growth(jax.random.key(0), other, C, 0.1, jnp.ones(1), mirror=True)
    with pytest.raises(ValueError, match="population must be of SARSA with d ≤ 3"):
        signed_permutations(other)
