"""Theorem 3.2's constants: the paper's formulas for SARSA, and what they promise."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from populations import RULES, as_numpy, random_population

from icrl_flax import Effective, Sarsa
from icrl_flax.theory import (
    Constants,
    Guarantee,
    Richness,
    constants,
    largest_eigenvalue,
    lost_factors,
    nearest_scale,
    richness,
    second_moments,
    sharpest_radius,
    short_path_start,
    smallest_eigenvalues,
    tube_points,
)

D, ALPHA, KAPPA_R, KAPPA_W, KAPPA_Q = 3, 0.4, 0.05, 0.3, 0.02
B_SIGMA, B_W, RHO = 1.7, 2.3, 0.8
LOW, HIGH, R = 0.5, 1.5, 1e-3
INNER = (0.8, 1.1)

NUMBERS = Constants(
    B_sigma=B_SIGMA,
    B_w=B_W,
    kappa_a=ALPHA**2 * KAPPA_R * KAPPA_W,
    kappa_q=KAPPA_Q,
    rho=RHO,
    P_operator=math.sqrt(2),
    V_operator=ALPHA,
    P_frobenius=math.sqrt(2 * D + 1),
    V_frobenius=ALPHA * math.sqrt(D),
)
GUARANTEE = Guarantee(NUMBERS, LOW, HIGH, R)


def printed():
    """As in the paper, for SARSA."""
    C_Q = B_SIGMA * B_W / 2
    m0 = (1 - RHO) * min(HIGH**-2 * ALPHA**2 * KAPPA_R * KAPPA_W, LOW**2 * KAPPA_Q)
    M0 = B_SIGMA**2 * B_W**2 * (LOW**-2 * ALPHA**2 + 2 * HIGH**2)
    mu = (m0 - 3 * C_Q * math.sqrt(m0) * R) ** 2 / (math.sqrt(M0) + C_Q * R) ** 2
    first = (HIGH * math.sqrt(2 * D + 1) + R) ** 2
    K_printed = math.sqrt(2) * B_SIGMA * B_W * math.sqrt(first + (math.sqrt(D) / LOW + R) ** 2)
    K = math.sqrt(2) * B_SIGMA * B_W * math.sqrt(first + (ALPHA * math.sqrt(D) / LOW + R) ** 2)
    return {
        "C_Q": C_Q,
        "m0": m0,
        "M0": M0,
        "mu": mu,
        "K": K,
        "K_printed": K_printed,
        "largest_radius": math.sqrt(m0) / (3 * C_Q),
        "mu_sharp": (math.sqrt(m0) - 2 * C_Q * R) ** 2,
    }


@pytest.mark.parametrize("name", printed())
def test_printed_formulas(name):
    assert getattr(GUARANTEE, name) == pytest.approx(printed()[name], rel=1e-13)


def test_m0_takes_the_smaller_of_two():
    """The numbers above have the first smaller; with a tiny κ_q it is the second."""
    other = Guarantee(dataclasses.replace(NUMBERS, kappa_q=1e-6), LOW, HIGH, 1e-6)
    assert GUARANTEE.m0 == pytest.approx((1 - RHO) * NUMBERS.kappa_a / HIGH**2)
    assert other.m0 == pytest.approx((1 - RHO) * 1e-6 * LOW**2)


@pytest.mark.parametrize("share", [1e-9, 0.1, 0.5, 0.9, 1 - 1e-9])
def test_sharp_rate_is_larger(share):
    guarantee = Guarantee(NUMBERS, LOW, HIGH, share * GUARANTEE.largest_radius)
    assert guarantee.mu_sharp >= guarantee.mu
    assert guarantee.mu_sharp <= guarantee.m0


@pytest.mark.parametrize("alpha", [0.2, 3.0])
def test_printed_gradient_bound_lacks_alpha(alpha):
    """Larger than it has to be for α < 1, too small for α > 1."""
    rule = Sarsa(d=2, alpha=alpha)
    k = constants(Richness(1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.4), rule.optimum(jnp.float64))
    guarantee = Guarantee(k, 0.5, 1.0, 1e-3)
    assert (guarantee.K_printed > guarantee.K) is (alpha < 1)


def test_constants_of_sarsa():
    found = constants(
        Richness(B_SIGMA, B_W, 9.0, NUMBERS.kappa_a, KAPPA_Q, RHO, 0.3),
        Sarsa(d=D, alpha=ALPHA).optimum(jnp.float64),
    )
    for field in dataclasses.fields(Constants):
        assert getattr(found, field.name) == pytest.approx(getattr(NUMBERS, field.name))


def test_constants_replaced():
    given = Richness(1.0, 2.0, 3.0, 4.0, 5.0, 0.6, 0.7)
    found = constants(given, RULES["actor-critic"].optimum(jnp.float64), B_sigma=8.0, kappa_a=9.0)
    assert (found.B_sigma, found.B_w, found.kappa_a, found.kappa_q) == (8, 2, 9, 5)
    assert found.rho == 0.6
    assert found.V_operator == pytest.approx(0.8)  # the larger of α = 0.7 and β = 0.8
    assert found.P_operator == pytest.approx(math.sqrt(2))
    assert found.V_frobenius == pytest.approx(math.sqrt(0.7**2 + 2 * 0.8**2))
    assert found.P_frobenius == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("rho", [1.0, -0.1, float("nan")])
def test_rho_outside_its_range(rho):
    with pytest.raises(ValueError, match=r"rho must lie in \[0, 1\)"):
        dataclasses.replace(NUMBERS, rho=rho)


@pytest.mark.parametrize(
    "name", [field.name for field in dataclasses.fields(Constants) if field.name != "rho"]
)
def test_constants_have_to_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got 0.0"):
        dataclasses.replace(NUMBERS, **{name: 0.0})


def test_radius_too_large():
    largest = GUARANTEE.largest_radius
    Guarantee(NUMBERS, LOW, HIGH, largest * (1 - 1e-12))
    for r in (largest, 2 * largest):
        with pytest.raises(ValueError, match=f"r must be below .* = {largest:.3e}, got {r!r}"):
            Guarantee(NUMBERS, LOW, HIGH, r)
    with pytest.raises(ValueError, match="r must be positive"):
        Guarantee(NUMBERS, LOW, HIGH, 0.0)


def test_intervals_out_of_order():
    with pytest.raises(ValueError, match="interval must be in order"):
        Guarantee(NUMBERS, HIGH, LOW, R)
    with pytest.raises(ValueError, match="inner must be in order"):
        GUARANTEE.eta((1.1, 0.8))


@pytest.mark.parametrize("inner", [(LOW, 1.0), (1.0, HIGH), (0.4, 1.0), (1.0, 1.6)])
def test_inner_has_to_be_inside(inner):
    for method in (GUARANTEE.eta, GUARANTEE.start_radius):
        with pytest.raises(ValueError, match=r"inner must lie inside \(0.5, 1.5\)"):
            method(inner)


# A population as rich as one could wish, so that a tube can be wide.
WIDE = dataclasses.replace(NUMBERS, B_sigma=0.01, B_w=1.0, kappa_a=9.0, kappa_q=9.0)


@pytest.mark.parametrize(
    ("r", "inner"), [(0.01, INNER), (0.5, INNER), (2.0, INNER), (2.0, (0.52, 1.4))]
)
def test_eta_formula(r, inner):
    def point(c):
        P, V = as_numpy(Sarsa(d=D, alpha=ALPHA).optimum(jnp.float64))
        return np.concatenate([np.ravel(c * P), np.ravel(V / c)])

    ends = [
        np.linalg.norm(point(inner[0]) - point(LOW)),
        np.linalg.norm(point(inner[1]) - point(HIGH)),
    ]
    expected = min(r, ends[0] / 2, ends[1] / 2)
    assert Guarantee(WIDE, LOW, HIGH, r).eta(inner) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("r", [0.05, 1.0])
def test_eta_is_a_lower_bound(r):
    """Whatever is nearer than η to a point of M_{I₀} lies in the tube."""
    optimum = as_numpy(Sarsa(d=D, alpha=ALPHA).optimum(jnp.float64))
    eta = Guarantee(WIDE, LOW, HIGH, r).eta(INNER)
    assert eta > 0.04

    def point(c):
        return np.concatenate([np.ravel(c * optimum.P12), np.ravel(optimum.V21 / c)])

    split = optimum.P12.size
    rng = np.random.default_rng(0)
    for trial in range(60):
        c = rng.uniform(*INNER)
        direction = rng.normal(size=point(1.0).size)
        if trial % 3:  # along the manifold to one of its ends, where it is left soonest
            direction = 0.1 * direction / np.linalg.norm(direction)
            toward = point(LOW if trial % 3 == 1 else HIGH) - point(c)
            direction += toward / np.linalg.norm(toward)
        theta = point(c) + eta * (1 - 1e-9) * direction / np.linalg.norm(direction)
        grid = np.sort(np.append(np.linspace(LOW, HIGH, 500), c))
        distances = [np.linalg.norm(theta - point(each)) for each in grid]
        best = int(np.argmin(distances))
        assert 0 < best < 500
        assert distances[best] < r
        pair = Effective(theta[:split].reshape(-1, D + 1), theta[split:].reshape(D, -1))
        assert nearest_scale(pair, Effective(*map(jnp.asarray, optimum))) == pytest.approx(
            grid[best], abs=(HIGH - LOW) / 499
        )


@pytest.mark.parametrize("sharp", [False, True])
def test_start_radius(sharp):
    """Condition (12)."""
    numbers = printed()
    mu = numbers["mu_sharp" if sharp else "mu"]
    length = numbers["K"] * (math.sqrt(numbers["M0"]) + numbers["C_Q"] * R)
    expected = min(R, GUARANTEE.eta(INNER) / (1 + length / (math.sqrt(2) * mu)))
    assert GUARANTEE.start_radius(INNER, sharp) == pytest.approx(expected, rel=1e-12)
    assert 0 < expected < R


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("numbers", [NUMBERS, WIDE], ids=["narrow", "wide"])
def test_sharpest_radius_against_a_grid(numbers, sharp):
    best = sharpest_radius(numbers, (LOW, HIGH), INNER, sharp)
    assert (best.constants, best.low, best.high) == (numbers, LOW, HIGH)
    radii = best.largest_radius * np.append(
        np.geomspace(1e-5, 1e-2), np.linspace(0.01, 0.999, 800)
    )
    starts = [Guarantee(numbers, LOW, HIGH, float(r)).start_radius(INNER, sharp) for r in radii]
    assert best.start_radius(INNER, sharp) >= max(starts) * (1 - 1e-6)
    assert min(starts) < 0.9 * max(starts)


@pytest.mark.parametrize("name", RULES)
def test_lemma_c2_on_a_population(name):
    """Every inequality of the proof, with the population's own constants, all over the tube."""
    population, _ = random_population(RULES[name])
    optimum = population.optimum
    k = constants(richness(population), optimum)
    largest = Guarantee(k, 0.6, 1.4, 1e-12).largest_radius
    guarantee = Guarantee(k, 0.6, 1.4, 0.9 * largest)
    cs, deltas = tube_points(jax.random.key(0), optimum, (0.6, 1.4), guarantee.r, 200)

    @jax.jit
    @jax.vmap
    def measure(c, delta):
        X, Y = population.terms(c, delta)
        slope = population.gradient(c, delta)
        squares = sum((block**2).sum() for block in slope)
        sizes = jnp.stack([jnp.sqrt((each**2).sum(1).mean()) for each in (X, Y)])
        return sizes, population.loss(c, delta), squares

    (X, Y), loss, squares = (np.asarray(each).T for each in measure(cs, deltas))
    size = np.sqrt(sum((np.asarray(block) ** 2).sum((1, 2)) for block in deltas))
    assert (math.sqrt(guarantee.m0) * size <= X).all()
    assert (math.sqrt(guarantee.M0) * size >= X).all()
    assert (guarantee.C_Q * size**2 >= Y).all()
    assert (squares / 2 >= guarantee.mu * loss).all()
    assert (squares / 2 >= guarantee.mu_sharp * loss).all()
    assert (np.sqrt(squares) <= guarantee.K * np.sqrt(loss)).all()


def test_the_short_path_allows_more_than_condition_12():
    g = Guarantee(NUMBERS, LOW, HIGH, 0.3 * GUARANTEE.largest_radius)
    short = g.short_path_radius(INNER)
    length = (math.sqrt(g.M0) + g.C_Q * g.r) / math.sqrt(g.mu_sharp)
    assert short == pytest.approx(min(g.r, g.eta(INNER) / (1 + length)))
    assert short > g.start_radius(INNER, sharp=True) > g.start_radius(INNER)
    assert short <= short_path_start(NUMBERS, (LOW, HIGH), INNER)


def test_the_factors_multiply_to_the_ratio():
    population, _ = random_population(RULES["sarsa"])
    moments = second_moments(population)
    rich = richness(population, moments)
    known = constants(rich, population.optimum)
    c = 0.9
    g = sharpest_radius(known, (c / 1.25, 1.25 * c), (c / 1.1, 1.1 * c))
    lowest = float(smallest_eigenvalues(moments, c, 1)[0][0])
    largest = max(largest_eigenvalue(moments, end)[0] for end in (g.low, g.high))
    factors = lost_factors(g, rich, c, lowest, largest)
    assert math.prod(factors.values()) == pytest.approx(g.mu / lowest, rel=1e-12)
    assert all(0 < factor <= 1 + 1e-12 for factor in factors.values())
