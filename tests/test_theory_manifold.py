"""The manifold, its normal spaces and tube, and the scale that a flow conserves."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from populations import RULES, as_numpy, random_pair, random_population

from icrl_flax import Effective, rescale
from icrl_flax.attention import initial_effective
from icrl_flax.theory import (
    conserved,
    inner,
    nearest_scale,
    nearest_scales,
    norm,
    offset,
    point,
    predicted_scale,
    project_normal,
    tangent,
    tube_points,
    xavier_starts,
)

SCALES = [0.3, 2.0, -0.8]


@pytest.fixture(scope="module", params=RULES)
def optimum(request):
    return RULES[request.param].optimum(jnp.float64)


def frobenius(first, second):
    return sum(a * b for a, b in zip(np.ravel(first), np.ravel(second), strict=True))


def test_inner_and_norm(optimum):
    first, second = random_pair(optimum, 0), random_pair(optimum, 1)
    expected = frobenius(first.P12, second.P12) + frobenius(first.V21, second.V21)
    assert inner(first, second) == pytest.approx(expected, rel=1e-13)
    squares = sum(x**2 for block in first for x in np.ravel(block))
    assert norm(first) == pytest.approx(squares**0.5, rel=1e-13)


@pytest.mark.parametrize("c", SCALES)
def test_tangent_is_the_derivative(optimum, c):
    h = 1e-5 * c
    up, down = rescale(optimum, c + h), rescale(optimum, c - h)
    for along, a, b in zip(tangent(optimum, c), up, down, strict=True):
        np.testing.assert_allclose(along, (np.asarray(a) - np.asarray(b)) / (2 * h), rtol=1e-8)
    with pytest.raises(ValueError, match="c must be finite and different from 0"):
        tangent(optimum, 0.0)


@pytest.mark.parametrize("c", SCALES)
def test_normal_projection(optimum, c):
    """What is left satisfies ⟨U, P⋆12⟩ = c⁻² ⟨W, V̄⋆21⟩; what is removed is along the manifold."""
    delta = random_pair(optimum, 2)
    normal = project_normal(optimum, c, delta)
    left, right = (frobenius(a, b) for a, b in zip(normal, optimum, strict=True))
    assert left == pytest.approx(right / c**2, rel=1e-12)
    removed = [a - b for a, b in zip(as_numpy(delta), as_numpy(normal), strict=True)]
    shares = [
        removed[0][np.nonzero(optimum.P12)] / np.asarray(optimum.P12)[np.nonzero(optimum.P12)],
        -(c**2) * removed[1][np.nonzero(optimum.V21)]
        / np.asarray(optimum.V21)[np.nonzero(optimum.V21)],
    ]  # fmt: skip
    np.testing.assert_allclose(np.concatenate(shares), shares[0][0], rtol=1e-11)
    for block, best in zip(removed, optimum, strict=True):
        np.testing.assert_allclose(block[np.asarray(best) == 0], 0, atol=1e-15)
    again = project_normal(optimum, c, normal)
    for a, b in zip(again, normal, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_tube_points(optimum):
    low, high, radius = 0.5, 3.0, 0.02
    c, delta = tube_points(jax.random.key(0), optimum, (low, high), radius, 400)
    c, delta = np.asarray(c), as_numpy(delta)
    sizes = np.sqrt((delta.P12**2).sum((1, 2)) + (delta.V21**2).sum((1, 2)))
    assert ((low <= c) & (c <= high)).all()
    assert ((radius * 1e-3 <= sizes) & (sizes < radius)).all()
    # Kolmogorov and Smirnov: 400 draws are further than 0.1 from their law once in 1000 times.
    for sample in (np.log(c / low) / np.log(high / low), 1 + np.log10(sizes / radius) / 3):
        assert np.abs(np.sort(sample) - np.linspace(0, 1, 400)).max() < 0.1
    left = np.einsum("kij,ij->k", delta.P12, optimum.P12)
    right = np.einsum("kij,ij->k", delta.V21, optimum.V21) / c**2
    np.testing.assert_allclose(left, right, atol=1e-14)
    # Directions are even in every normal coordinate: their mean is of size 1/√400.
    for block in delta:
        unit = block / sizes[:, None, None]
        assert np.abs(unit.mean(0)).max() < 0.1
        assert (unit.std(0) > 0.03).all()


def test_tube_about_one_point(optimum):
    c, _ = tube_points(jax.random.key(0), optimum, (0.7, 0.7), 1.0, 400)
    np.testing.assert_allclose(c, 0.7, rtol=1e-15)


@pytest.mark.parametrize(
    ("interval", "radius", "count", "message"),
    [
        ((2.0, 1.0), 1.0, 1, "interval must be in order"),
        ((0.0, 1.0), 1.0, 1, r"interval\[0\] must be positive"),
        ((1.0, 2.0), 0.0, 1, "radius must be positive"),
        ((1.0, 2.0), 1.0, 0, "count must be an integer of at least 1"),
    ],
)
def test_tube_points_refuse(optimum, interval, radius, count, message):
    with pytest.raises(ValueError, match=message):
        tube_points(jax.random.key(0), optimum, interval, radius, count)


def squared_distances(theta, optimum, scales):
    """‖θ − θ̄(c)‖² for many c, entry by entry."""
    total = np.zeros(len(scales))
    for entry, best in zip(np.ravel(theta.P12), np.ravel(optimum.P12), strict=True):
        total += (entry - scales * best) ** 2
    for entry, best in zip(np.ravel(theta.V21), np.ravel(optimum.V21), strict=True):
        total += (entry - best / scales) ** 2
    return total


def test_nearest_scale_against_a_grid(optimum):
    """Points of every size, among them ones nearest to a negative c."""
    grid = np.exp(np.linspace(np.log(1e-3), np.log(1e2), 40_000))
    grid = np.concatenate([-grid[::-1], grid])
    optimum = as_numpy(optimum)
    negative = 0
    for seed in range(40):
        theta = as_numpy(random_pair(optimum, seed, size=10 ** ((seed % 5) - 2)))
        found = nearest_scale(theta, optimum)
        distances = squared_distances(theta, optimum, grid)
        best = grid[np.argmin(distances)]
        assert found == pytest.approx(best, rel=1e-3)
        at = squared_distances(theta, optimum, np.array([found]))[0]
        assert at <= distances.min() * (1 + 1e-12)
        negative += found < 0
    assert 8 <= negative <= 32


@pytest.mark.parametrize("c", SCALES)
def test_nearest_scale_of_a_point_in_the_tube(optimum, c):
    delta = project_normal(optimum, c, random_pair(optimum, 3, 1e-3))
    at = rescale(optimum, c)
    theta = Effective(at.P12 + delta.P12, at.V21 + delta.V21)
    assert nearest_scale(theta, optimum) == pytest.approx(c, rel=1e-12)
    for moved, expected in zip(offset(theta, optimum, c), delta, strict=True):
        np.testing.assert_allclose(moved, expected, atol=1e-14)


@pytest.mark.parametrize("name", RULES)
def test_conserved_quantity(name):
    """‖P12‖² − ‖V̄21‖², and its gradient is orthogonal to that of the loss."""
    population, _ = random_population(RULES[name], size=10)
    optimum, c = population.optimum, 0.6
    theta = random_pair(optimum, 4)
    expected = frobenius(theta.P12, theta.P12) - frobenius(theta.V21, theta.V21)
    assert conserved(theta) == pytest.approx(expected, rel=1e-13)
    slope = as_numpy(population.gradient(c, offset(theta, optimum, c)))
    parts = frobenius(theta.P12, slope.P12), frobenius(theta.V21, slope.V21)
    assert abs(parts[0]) > 1e-3
    assert parts[0] == pytest.approx(parts[1], rel=1e-11)


@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-2, 1.0, 30.0, 1e6, 1e12])
@pytest.mark.parametrize("sign", [1, -1])
def test_predicted_scale(optimum, size, sign):
    """The positive root with 60 digits, for invariants of both signs."""
    decimal.getcontext().prec = 60
    pp, vv = (decimal.Decimal(float((np.asarray(block) ** 2).sum())) for block in optimum)
    invariant = decimal.Decimal(sign * size)
    root = (invariant**2 + 4 * pp * vv).sqrt()
    expected = float(((invariant + root) / (2 * pp)).sqrt())
    for value in (sign * size, jnp.asarray(sign * size)):
        assert predicted_scale(optimum, value) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("c", [1e-6, 1e-2, 0.37, 1.0, 50.0, 1e5])
def test_predicted_scale_inverts_the_invariant(optimum, c):
    for sign in (1, -1):
        found = predicted_scale(optimum, conserved(rescale(optimum, sign * c)))
        assert found == pytest.approx(c, rel=1e-13)


def test_a_point_is_what_its_offset_says_and_a_batch_is_its_members(optimum):
    pairs = [random_pair(optimum, seed) for seed in range(3)]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
    there = point(optimum, -0.7, batch)
    for theta, pair in zip(zip(*there, strict=True), pairs, strict=True):
        for found, wanted in zip(offset(Effective(*theta), optimum, -0.7), pair, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-14)
    assert nearest_scales(batch, optimum).tolist() == [nearest_scale(x, optimum) for x in pairs]


def test_starts_are_those_of_training():
    rule = RULES["sarsa"]
    found = xavier_starts(rule, [3, 5], gain=0.5)
    for k, seed in enumerate((3, 5)):
        one = initial_effective(nnx.Rngs(seed), rule.p, rule.q, 0.5, jnp.float64)
        for block, wanted in zip(found, one, strict=True):
            np.testing.assert_array_equal(block[k], wanted)
