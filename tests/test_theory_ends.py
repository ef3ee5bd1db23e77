"""Ends of flows and steps of optimisers: what is conserved, and by how much it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from populations import RULES, random_population

from icrl_flax import Effective
from icrl_flax.theory import (
    CubicMoments,
    Moments,
    conserved,
    cubic_starts,
    ends,
    first_below,
    imbalance,
    linearised,
    linearised_loss,
    modes,
    norm,
    offset,
    project_normal,
    second_moments,
    take_steps,
    xavier_starts,
)


@pytest.fixture(scope="module", params=RULES)
def case(request):
    rule = RULES[request.param]
    population, _ = random_population(rule)
    return rule, population, Moments.of(population), xavier_starts(rule, range(3), 0.3)


def test_flows_end_where_the_conservation_law_says(case):
    """Of those that arrive: windows of random paths may have other minima."""
    _, population, loss, starts = case
    found = ends(loss, population.optimum, starts, 1e-9, longest=2e4)
    arrived = found.loss < 1e-9
    assert arrived.any()
    assert ((found.time < 2e4) == arrived).all()
    assert found.drift.max() < 1e-6
    np.testing.assert_allclose(found.invariant, jax.vmap(conserved)(starts))
    reached, predicted = np.abs(found.reached)[arrived], found.predicted[arrived]
    np.testing.assert_allclose(reached, predicted, rtol=2e-3)


def test_steps_are_the_optimisers_own_and_their_drift_is_the_sum(case):
    _, population, loss, starts = case
    optimum, eta, count = population.optimum, 0.05, 7

    def slope(theta, step):
        return loss.gradient(1.0, offset(theta, optimum, 1.0))

    end, total = jax.jit(lambda n: take_steps(optax.sgd(eta), slope, starts, n))(count)
    theta = starts
    for step in range(count):
        change = jax.vmap(lambda t, k=step: slope(t, k))(theta)
        theta = jax.tree.map(lambda t, g: t - eta * g, theta, change)
    for got, expected in zip(end, theta, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    drift = jax.vmap(conserved)(end) - jax.vmap(conserved)(starts)
    np.testing.assert_allclose(drift, total, atol=1e-13)


def test_the_number_of_the_step_reaches_the_gradient():
    theta = Effective(jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 1)))
    ones = Effective(jnp.ones((1, 1)), jnp.zeros((1, 1)))
    end, total = take_steps(
        optax.sgd(1.0), lambda _, k: jax.tree.map(lambda x: x * k, ones), theta, 4
    )
    assert float(end.P12[0, 0, 0]) == -6
    assert float(total[0]) == 0 + 1 + 4 + 9
    assert float(imbalance(Effective(jnp.full((1, 1), 3.0), jnp.full((1, 1), 2.0)))) == 5


def test_linearised_is_the_sum_over_modes(case):
    _, population, _, starts = case
    moments = second_moments(population)
    delta = jax.tree.map(lambda leaf: leaf[0], starts)
    times, c = np.array([5.0, 6.0, 9.0]), 0.6
    normal = project_normal(population.optimum, c, delta)
    expected = linearised_loss(modes(moments, c, normal), times - 5)
    for iterations in (None, 60):
        loss, slope = linearised(moments, c, delta, times, iterations)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        assert (slope < 0).all()


def test_first_below_interpolates_the_logarithm():
    times = np.array([0.0, 1.0, 2.0, 3.0])
    assert first_below(times, np.exp(-times), np.exp(-1.5)) == pytest.approx(1.5)
    for level in (2.0, 1e-3):
        with pytest.raises(ValueError, match="level"):
            first_below(times, np.exp(-times), level)


def test_cubic_starts_and_their_parts(case):
    rule, population, _, starts = case
    theta = cubic_starts(rule, range(3), gain=0.3, p_gain=2.0)
    for got, expected in zip(theta.outer, starts, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12)
    np.testing.assert_allclose(theta.S + theta.K, theta.P22, rtol=1e-12)
    np.testing.assert_allclose(theta.S, jnp.swapaxes(theta.S, -1, -2))
    one = cubic_starts(rule, range(3), gain=0.3)
    np.testing.assert_allclose(theta.squares[0], 4 * one.squares[0], rtol=1e-12)
    np.testing.assert_allclose(theta.squares[1], (theta.V22**2).sum((1, 2)), rtol=1e-12)
    cubic = CubicMoments.of(population)
    first = jax.tree.map(lambda leaf: leaf[0], theta)
    np.testing.assert_allclose(
        cubic.loss(first), cubic.loss(first._replace(P22=first.S)), rtol=1e-12
    )
    assert float(norm(first.outer)) > 0
