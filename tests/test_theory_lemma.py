"""Lemma C.2's inequalities, at points and with constants that are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import RULES, random_population

from icrl_flax import Effective, Sarsa
from icrl_flax.theory import (
    Guarantee,
    along_rays,
    cancelling_pair,
    constants,
    correlation,
    hostile_directions,
    identities,
    inner,
    measure,
    norm,
    predicted_scale,
    project_normal,
    richness,
    second_moments,
    slack,
    tube_points,
    witness,
)


@pytest.fixture(scope="module", params=RULES)
def case(request):
    """A population, its moments, the balanced scale, and the theorem's numbers about it."""
    population, _ = random_population(RULES[request.param], size=200)
    moments = second_moments(population)
    c = float(predicted_scale(population.optimum, 0.0))
    known = constants(richness(population, moments), population.optimum)
    interval = (c / 1.25, 1.25 * c)
    largest = Guarantee(known, *interval, 1e-300).largest_radius
    return population, moments, c, Guarantee(known, *interval, 0.9 * largest)


def test_what_is_measured_is_the_loss_and_its_gradient(case):
    population, _, c, g = case
    at, delta = tube_points(jax.random.key(0), population.optimum, (c, 1.1 * c), g.r, 3)
    seen = measure(population, at, delta)
    for k in range(3):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], delta)
        X, Y = population.terms(at[k], one)
        slope = jax.grad(population.loss, argnums=1)(at[k], one)
        expected = {
            "X": (X**2).sum(1).mean(),
            "Y": (Y**2).sum(1).mean(),
            "XY": (X * Y).sum(1).mean(),
            "loss": population.loss(at[k], one),
            "slope": inner(slope, slope),
            "along": inner(slope, one),
            "square": norm(one) ** 2,
        }
        for name, value in expected.items():
            assert getattr(seen, name)[k] == pytest.approx(float(value), rel=1e-9), name
    parts = seen.from_U + seen.from_W
    assert (np.abs(seen.X - parts) <= parts).all(), "the cross term is at most the sum"


def test_no_inequality_is_violated_at_random_or_hostile_points(case):
    population, moments, c, g = case
    optimum = population.optimum
    points = tube_points(jax.random.key(1), optimum, (g.low, g.high), g.r, 200)
    rays = hostile_directions(population, moments, (g.low, c, g.high), c)
    for c_ray, direction in rays:
        assert float(norm(direction)) == pytest.approx(1)
        normal = project_normal(optimum, c_ray, direction)
        outside = Effective(*(a - b for a, b in zip(normal, direction, strict=True)))
        assert float(norm(outside)) < 1e-9
    for each in (points, along_rays(rays, (1e-3 * g.r, -0.99 * g.r))):
        for name, ratio in slack(measure(population, *each), g).items():
            assert np.isfinite(ratio).all(), name
            assert ratio.min() >= 1 - 1e-9, name


def test_hostile_points_come_near_the_smallest_X(case):
    """With m₀ ten thousand times larger step 2 would be violated."""
    population, moments, c, g = case
    rays = hostile_directions(population, moments, (c,), c)
    seen = measure(population, *along_rays(rays, (1e-3 * g.r,)))
    smallest = slack(seen, g)["2: ‖X‖ ≥ √m₀ ‖Δ‖"].min()
    assert smallest < 100


def test_hostile_directions_are_extremes(case):
    population, moments, c, _g = case
    rays = hostile_directions(population, moments, (c,), c)
    seen = measure(population, *along_rays(rays, (1e-6,)))
    rates = np.linalg.eigvalsh(moments.hessian(c))
    quotient = seen.X / seen.square
    assert quotient.max() == pytest.approx(rates[-1], rel=1e-6)
    assert quotient.min() == pytest.approx(rates[1], rel=1e-6)


def test_the_cancelling_pair_has_the_correlation_minus_rho(case):
    population, moments, *_ = case
    rho, side, pair = cancelling_pair(moments)
    assert rho == pytest.approx(richness(population, moments).rho, abs=1e-8)
    assert float(correlation(population, pair)) == pytest.approx(-rho, abs=1e-8)
    products = [float(jnp.vdot(a, b)) for a, b in zip(pair, moments.optimum, strict=True)]
    assert abs(products[side]) < 1e-9
    assert products[1 - side] >= 0


def test_the_witness_has_correlation_one(case):
    population = case[0]
    pair = witness(population.optimum)
    assert float(correlation(population, pair)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_identities_hold(name):
    errors = identities(RULES[name], cases=5, n=6)
    assert max(errors.values()) < 1e-12
    assert [value for key, value in errors.items() if key.startswith("Prop")] == [0, 0]


def test_identities_need_x64():
    with jax.enable_x64(False), pytest.raises(ValueError, match="x64"):
        identities(Sarsa(d=2))
