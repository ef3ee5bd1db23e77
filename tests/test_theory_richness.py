"""Assumption 1: each constant as the extremum that it claims to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.optimize
from populations import RULES, as_numpy, one_hot_population, random_pair, random_population

from icrl_flax import RandomMDPs, Sarsa, rollout
from icrl_flax.control.tasks import draw_task
from icrl_flax.theory import (
    Moments,
    Population,
    alternating_parameters,
    bootstrap,
    kappa_0,
    kappa_r,
    largest_parameters,
    project_normal,
    richness,
    second_moments,
    witness,
)


@pytest.fixture(scope="module", params=RULES)
def case(request):
    population, _ = random_population(RULES[request.param])
    forms = reference.excitation(
        *as_numpy(population.optimum), np.asarray(population.tokens), np.asarray(population.u)
    )
    return population, richness(population), *forms


def least(rows, count):
    """The least E(Σ_i x_i row_i)² over unit vectors x."""
    return np.linalg.svd(rows)[1].min() ** 2 / count


def test_bounds(case):
    population, found, *_ = case
    tokens, u = np.asarray(population.tokens), np.asarray(population.u)
    assert found.B_x == pytest.approx(max(x @ x for window in tokens for x in window), rel=1e-14)
    assert found.B_w == pytest.approx(max((1 + z @ z) ** 0.5 for z in u), rel=1e-14)
    for window in tokens:
        assert np.linalg.norm(reference.second_moment(window), 2) <= found.B_x


def test_kappas_are_minima(case):
    population, found, left, right = case
    w = np.array([[1.0, *u] for u in np.asarray(population.u)])
    assert found.kappa_w == pytest.approx(least(w.T, population.size), rel=1e-9)
    assert found.kappa_a == pytest.approx(least(left, population.size), rel=1e-9)
    assert found.kappa_q == pytest.approx(least(right, population.size), rel=1e-9)
    assert min(found[2:5]) > 0


def correlation(left, right, x, y):
    """Of Σ x_i left_i and Σ y_j right_j: of V̄⋆21 Σ̂ U w̃ and W b for U and W given by entries."""
    first, second = x @ left, y @ right
    return first @ second / np.sqrt(first @ first * (second @ second))


def test_rho_by_direct_maximisation(case):
    """Over N_c written out: U = U⊥ + e^a P⋆/‖P⋆‖² and W = W⊥ + c² e^a V⋆/‖V⋆‖²."""
    population, found, left, right = case
    p, v = (np.ravel(block) for block in as_numpy(population.optimum))
    left, right = left / np.sqrt(population.size), right / np.sqrt(population.size)
    uu, uw, ww = left @ left.T, left @ right.T, right @ right.T
    rng = np.random.default_rng(0)

    def attempt(c):
        def pair(z):
            x, y, a = z[: p.size], z[p.size : -1], np.exp(z[-1])
            x = x - (x @ p) * p / (p @ p) + a * p / (p @ p)
            y = y - (y @ v) * v / (v @ v) + c**2 * a * v / (v @ v)
            return x, y, a

        def cost(z):
            x, y, a = pair(z)
            sizes = x @ uu @ x, y @ ww @ y
            root = np.sqrt(sizes[0] * sizes[1])
            value = x @ uw @ y / root
            dx = uw @ y / root - value * uu @ x / sizes[0]
            dy = uw.T @ x / root - value * ww @ y / sizes[1]
            da = a * (dx @ p / (p @ p) + c**2 * dy @ v / (v @ v))
            dx, dy = dx - (dx @ p) * p / (p @ p), dy - (dy @ v) * v / (v @ v)
            return value, np.concatenate([dx, dy, [da]])

        start = rng.normal(size=p.size + v.size + 1)
        bounds = [(None, None)] * (start.size - 1) + [(-25, 5)]
        best = scipy.optimize.minimize(
            cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000}
        )
        x, y, _ = pair(best.x)
        assert x @ p == pytest.approx(y @ v / c**2, rel=1e-6)  # in N_c
        return -correlation(left, right, x, y)

    reached = [attempt(c) for c in (0.5, 0.5, 2.0, 2.0)]
    assert max(reached) <= found.rho + 1e-9
    assert max(reached) >= found.rho - 1e-3


def test_rho_is_never_beaten(case):
    population, found, left, right = case
    optimum = population.optimum
    values = []
    for seed in range(300):
        c = 10 ** ((seed % 5) / 2 - 1)
        pair = as_numpy(project_normal(optimum, c, random_pair(optimum, seed)))
        values.append(correlation(left, right, *map(np.ravel, pair)))
    assert -min(values) < found.rho < 1
    assert min(values) < 0 < max(values)


def test_rho_needs_the_normal_space(case):
    """Across the sign that N_c excludes, the correlation is −1: along the manifold itself."""
    population, _, left, right = case
    p, v = (np.ravel(block) for block in as_numpy(population.optimum))
    assert correlation(left, right, p, -v) == pytest.approx(-1, abs=1e-12)


def test_sigma_2(case):
    _, found, left, right = case
    sigmas = reference.canonical_correlations(left, right)
    assert sigmas[0] == pytest.approx(1, abs=1e-12)
    assert found.sigma_2 == pytest.approx(sigmas[1], rel=1e-8)
    assert found.sigma_2 <= found.rho < 1


def test_richness_from_given_moments(case):
    population, found, *_ = case
    assert richness(population, second_moments(population)) == found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", RULES)
def test_witness(name, seed):
    """In N_1, and in N_c with c²k, with correlation +1 whatever the population."""
    population, _ = random_population(RULES[name], size=5, seed=seed)
    optimum = as_numpy(population.optimum)
    pair = as_numpy(witness(population.optimum))
    assert np.vdot(pair.P12, optimum.P12) == pytest.approx(np.vdot(pair.V21, optimum.V21))
    W = 0.6**2 * pair.V21
    assert np.vdot(pair.P12, optimum.P12) == pytest.approx(np.vdot(W, optimum.V21) / 0.6**2)
    forms = reference.excitation(*optimum, np.asarray(population.tokens), np.asarray(population.u))
    assert correlation(*forms, *map(np.ravel, pair)) == pytest.approx(1, abs=1e-12)


def test_one_hot_features_are_degenerate():
    """1ᵀφ = 1ᵀ(γφ⁺)/γ in every token of one γ; two discounts break the relation."""
    found = richness(one_hot_population())
    assert found.kappa_w > 0.1
    assert (found.kappa_a, found.kappa_q) == (0, 0)
    assert np.isnan(found.rho)
    assert np.isnan(found.sigma_2)
    found = richness(one_hot_population(discounts=(0.3, 0.9)))
    assert min(found.kappa_a, found.kappa_q) > 1e-9
    assert 0 < found.rho < 1


def test_too_few_windows_are_degenerate():
    population, _ = random_population(RULES["sarsa"], size=1)
    found = richness(population)
    assert found[2:5] == (0, 0, 0)
    assert np.isnan(found.rho)


def test_bootstrap(case):
    population, *_ = case
    first, second = list(bootstrap(population, 2, seed=3))
    assert [first, second] == list(bootstrap(population, 2, seed=3))
    assert first != second
    assert next(bootstrap(population, 1, seed=4)) != first
    indices = np.random.default_rng(3).integers(0, population.size, population.size)
    assert richness(population.take(indices)) == first
    for each in (first, second):
        assert each.B_x <= case[1].B_x
        assert 0 < each.rho < 1


def test_bootstrap_refuses(case):
    with pytest.raises(ValueError, match="replicates must be an integer of at least 1"):
        next(bootstrap(case[0], 0))


def test_kappa_r_over_the_same_draws():
    """λ_min of the mean of RᵀR, R = (1/n) Σ φ_i x_iᵀ, times α²."""
    rule, family, u = Sarsa(d=2, alpha=0.3), RandomMDPs(3, 2), jnp.array([0.4, -0.9])
    found = kappa_r(jax.random.key(0), rule, family, u, size=30, n=5)
    total = np.zeros((rule.p, rule.p))

    @jax.jit
    def live(key):
        task_key, window_key = jax.random.split(key)
        task = draw_task(task_key, rule, family, jnp.float64)
        pi = rule.behaviour(task.features, u)
        return task.features, pi, rollout(window_key, task.mdp, pi, task.state, 5)

    for key in jax.random.split(jax.random.key(0), 30):
        phi, pi, window = as_numpy(live(key))
        np.testing.assert_allclose(pi, reference.sarsa_policy(phi, np.asarray(u), 0.1))
        tokens = reference.sarsa_tokens(phi, window.states, window.actions, window.rewards, 0.5)
        R = sum(np.outer(x[:2], x) for x in tokens) / 5
        total += R.T @ R / 30
    assert found == pytest.approx(0.09 * np.linalg.eigvalsh(total)[0], rel=1e-9)
    assert found > 0


def test_many_parameters():
    """From some size on the smallest eigenvalues are found in another way."""
    rule, rng = Sarsa(d=16), np.random.default_rng(0)
    tokens, u = rng.normal(size=(120, 6, rule.p)), rng.normal(size=(120, rule.q))
    population = Population(jnp.asarray(tokens), jnp.asarray(u), rule.optimum(jnp.float64))
    moments = second_moments(population)
    assert len(moments.uu) == 33 * 17
    found = richness(population, moments)
    assert found.kappa_a == pytest.approx(np.linalg.eigvalsh(moments.uu)[0], rel=1e-6)
    assert found.kappa_a > 0
    tokens[..., 0] = tokens[..., 1]
    population = Population(jnp.asarray(tokens), jnp.asarray(u), rule.optimum(jnp.float64))
    found = richness(population)
    assert (found.kappa_a, found.kappa_q) == (0, 0)
    assert np.isnan(found.rho)


def test_kappa_0(case):
    """No pair of unit V and P beats the upper bound, and none is below the lower one."""
    population, *_ = case
    lower, upper = kappa_0(Moments.of(population))
    p, width = population.optimum.P12.shape
    assert lower <= upper
    assert upper > 0
    assert (lower > 0) == (population.size >= p * (p + 1) // 2 * width)
    for seed in range(200):
        P, V = random_pair(population.optimum, seed)
        tokens = np.asarray(population.tokens)
        scores = np.einsum("Nnp,pw,Nw->Nn", tokens, P, np.asarray(population.w))
        out = np.einsum("kp,Nnp,Nn->Nk", V, tokens, scores) / tokens.shape[1]
        mean = (out**2).sum(1).mean()
        assert mean >= upper * float(jnp.vdot(P, P) * jnp.vdot(V, V))


def test_kappa_0_of_one_hot_features_is_zero():
    """Different indicators never meet in Σ̂, whatever the discounts."""
    lower, upper = kappa_0(Moments.of(one_hot_population(discounts=(0.3, 0.9))))
    assert lower == upper == 0


@pytest.mark.parametrize("d", [2, 6, 36])
def test_no_life_outgrows_the_inequality(d):
    rule = Sarsa(d=d)
    reached = alternating_parameters(rule, 0.5, 5)
    factor = abs(1 - rule.alpha * 1.5 * d)
    assert reached == pytest.approx(np.sqrt(1 + d * factor**8), rel=1e-9)
    assert reached <= largest_parameters(rule, 0.5, 5)
