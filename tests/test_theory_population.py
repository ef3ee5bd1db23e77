"""The population loss, as terms, as a block's error and as polynomials, and how it is drawn."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from populations import RULES, as_numpy, random_pair, random_population

from icrl_flax import (
    ActorCritic,
    Effective,
    RandomMDPs,
    Sarsa,
    build_prompt,
    decompose,
    embed,
    linear_attention,
    readout,
    rescale,
    split,
)
from icrl_flax.theory import (
    CubicMoments,
    CubicTheta,
    Moments,
    Population,
    draw_population,
    offset,
)
from icrl_flax.theory.blocked import Blocked

SCALES = [0.4, -1.7]


@pytest.fixture(scope="module", params=RULES)
def case(request):
    rule = RULES[request.param]
    return rule, *random_population(rule)


@pytest.mark.parametrize("together", [None, 7, 1])
def test_the_blocks_that_flows_use_have_the_same_loss(case, together):
    """However many windows are in a block, those that fill the last one add nothing."""
    _, population, _ = case
    same = Blocked.of(population, together)
    assert together in (None, same.tokens.shape[1])
    for seed, c in enumerate(SCALES):
        delta = random_pair(population.optimum, seed)
        expected = population.loss(c, delta)
        np.testing.assert_allclose(same.loss(c, delta), expected, rtol=1e-13)
        for found, slope in zip(
            same.gradient(c, delta), population.gradient(c, delta), strict=True
        ):
            np.testing.assert_allclose(found, slope, rtol=0, atol=1e-13 * np.abs(slope).max())


def point(optimum, c, delta):
    return Effective(c * optimum.P12 + delta.P12, optimum.V21 / c + delta.V21)


def data(population):
    return np.asarray(population.tokens), np.asarray(population.u)


def close(actual, expected, tolerance):
    """To a tolerance relative to the largest entry."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_statistics(case):
    _, population, _ = case
    assert population.size == 60
    P12, V21 = as_numpy(population.optimum)
    actual = as_numpy((population.w, population.sigma, population.A, population.b))
    for k, (tokens, u) in enumerate(zip(*data(population), strict=True)):
        sigma, w = reference.second_moment(tokens), np.array([1.0, *u])
        for each, expected in zip(actual, (w, sigma, V21 @ sigma, sigma @ P12 @ w), strict=True):
            close(each[k], expected, 1e-14)


def test_sarsa_statistics_are_the_papers():
    """A = αR with R = (1/n) Σ φ_i x_iᵀ, and b = (1/n) Σ x_i δ_i."""
    rule = RULES["sarsa"]
    population, _ = random_population(rule)
    for k, (tokens, u) in enumerate(zip(*data(population.take(np.arange(10))), strict=True)):
        R, b = np.zeros((rule.q, rule.p)), np.zeros(rule.p)
        for x in tokens:
            phi, successor, reward = x[: rule.d], x[rule.d : -1], x[-1]
            delta = reward + u @ successor - u @ phi
            R += np.outer(phi, x) / 4
            b += x * delta / 4
        close(population.A[k], rule.alpha * R, 1e-14)
        close(population.b[k], b, 1e-14)


@pytest.mark.parametrize("c", SCALES)
def test_terms(case, c):
    _, population, _ = case
    delta = random_pair(population.optimum, seed=1)
    X, Y = as_numpy(population.terms(c, delta))
    optimum = as_numpy(population.optimum)
    for k, (tokens, u) in enumerate(zip(*data(population), strict=True)):
        x, y = reference.error_terms(*optimum, c, *as_numpy(delta), tokens, u)
        close(X[k], x, 1e-13)
        close(Y[k], y, 1e-13)


@pytest.mark.parametrize("c", SCALES)
def test_loss_is_the_blocks_error_against_the_rule(case, c):
    """Eq. (6), with the answer from the block itself and the target from eqs. (2) and (3)."""
    rule, population, targets = case
    delta = random_pair(population.optimum, seed=2)
    theta = point(population.optimum, c, delta)
    P, V = embed(theta)
    answers = jax.vmap(
        lambda tokens, u: readout(linear_attention(P, V, build_prompt(tokens, u)), rule.q)
    )(population.tokens, population.u)
    expected = ((np.asarray(answers) - targets) ** 2).sum() / (2 * len(targets))
    assert population.loss(c, delta) == pytest.approx(expected, rel=1e-12)
    by_hand = reference.population_loss(*as_numpy(theta), *data(population), targets)
    assert population.loss(c, delta) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("c", SCALES)
def test_gradient_against_finite_differences(case, c):
    """Central ones of a polynomial of degree 4, so wrong by h² at most."""
    _, population, targets = case
    delta = random_pair(population.optimum, seed=3)
    theta = as_numpy(point(population.optimum, c, delta))
    gradient = population.gradient(c, delta)
    h = 1e-4
    for block in (0, 1):
        expected = np.zeros(theta[block].shape)
        for where, unit in zip(
            np.ndindex(expected.shape), reference.unit_matrices(*expected.shape), strict=True
        ):
            ends = []
            for sign in (1, -1):
                moved = list(theta)
                moved[block] = moved[block] + sign * h * unit
                ends.append(reference.population_loss(*moved, *data(population), targets))
            expected[where] = (ends[0] - ends[1]) / (2 * h)
        close(gradient[block], expected, 1e-6)


def test_gradient_by_the_chain_rule(case):
    _, population, targets = case
    delta = random_pair(population.optimum, seed=4)
    theta = as_numpy(point(population.optimum, 0.8, delta))
    totals = [np.zeros(block.shape) for block in theta]
    for tokens, u, target in zip(*data(population), targets, strict=True):
        parts = reference.gradients(*theta, tokens, u, target)
        for total, part in zip(totals, parts, strict=True):
            total += part / population.size
    for actual, expected in zip(population.gradient(0.8, delta), totals, strict=True):
        close(actual, expected, 1e-12)


def test_loss_is_exact_however_near_the_manifold(case):
    """Δ of 1e-100 leaves ½ E‖X‖², which is quadratic: nothing cancels."""
    _, population, _ = case
    delta = random_pair(population.optimum, seed=5)
    tiny = jax.tree.map(lambda leaf: 1e-100 * leaf, delta)
    quadratic = (np.asarray(population.terms(0.6, delta)[0]) ** 2).sum() / (2 * population.size)
    assert population.loss(0.6, tiny) == pytest.approx(1e-200 * quadratic, rel=1e-12, abs=0)
    zero = jax.tree.map(jnp.zeros_like, delta)
    assert population.loss(0.6, zero) == 0


def test_offset(case):
    rule, population, _ = case
    theta = random_pair(population.optimum, seed=6)
    delta = offset(theta, population.optimum, -0.7)
    back = rescale(population.optimum, -0.7)
    for block, at, moved in zip(theta, back, delta, strict=True):
        np.testing.assert_allclose(np.asarray(at) + np.asarray(moved), block, atol=1e-14)
    for block in offset(back, rule.optimum(jnp.float64), -0.7):
        np.testing.assert_array_equal(block, np.zeros(block.shape))


def test_take(case):
    _, population, _ = case
    part = population.take(np.array([7, 0, 7]))
    np.testing.assert_array_equal(part.tokens, np.asarray(population.tokens)[[7, 0, 7]])
    np.testing.assert_array_equal(part.u, np.asarray(population.u)[[7, 0, 7]])
    assert part.size == 3


@pytest.mark.parametrize("c", SCALES)
def test_moments_are_the_population(case, c):
    _, population, _ = case
    moments = Moments.of(population)
    for seed, size in ((7, 1.0), (8, 1e-9)):
        delta = random_pair(population.optimum, seed, size)
        assert moments.loss(c, delta) == pytest.approx(
            float(population.loss(c, delta)), rel=1e-12, abs=0
        )
        for actual, expected in zip(
            moments.gradient(c, delta), population.gradient(c, delta), strict=True
        ):
            close(actual, expected, 1e-12)


def test_moments_of_more_windows_than_are_taken_at_once():
    small, _ = random_population(Sarsa(d=1), size=41)
    large = small.take(np.tile(np.arange(41), 100))  # 4100, with 4000 at once
    delta = random_pair(small.optimum, seed=9)
    assert Moments.of(large).loss(0.5, delta) == pytest.approx(
        float(small.loss(0.5, delta)), rel=1e-12
    )
    np.testing.assert_allclose(
        CubicMoments.of(large).second, CubicMoments.of(small).second, rtol=0, atol=1e-12
    )


def test_moments_refuse_what_does_not_fit():
    rule = Sarsa()
    population = Population(
        jnp.zeros((1, 2, rule.p)), jnp.zeros((1, rule.q)), rule.optimum(jnp.float64)
    )
    with pytest.raises(ValueError, match=r"8000 features.*99937.*Population\.loss"):
        Moments.of(population)


def cubic_theta(rule, seed):
    rng = np.random.default_rng(seed)
    P, V = rng.normal(size=(2, rule.D, rule.D))
    blocks = split(jnp.asarray(P), jnp.asarray(V), rule.p)
    return P, V, CubicTheta(blocks.P12, blocks.V21_bar, blocks.P22, blocks.V22_bar)


def test_cubic_moments_are_lemma_c1(case):
    rule, population, targets = case
    moments = CubicMoments.of(population)
    P, V, theta = cubic_theta(rule, 10)
    blocks = split(jnp.asarray(P), jnp.asarray(V), rule.p)
    answers = jax.vmap(lambda tokens, u: decompose(blocks, tokens, u).total)(
        population.tokens, population.u
    )
    total = ((np.asarray(answers) - targets) ** 2).sum() / 2
    assert moments.loss(theta) == pytest.approx(total / population.size, rel=1e-11)
    by_hand = 0.0
    for tokens, u, target in zip(*data(population), targets, strict=True):
        by_hand += ((sum(reference.lemma_c1(P, V, tokens, u)) - target) ** 2).sum() / 2
    assert moments.loss(theta) == pytest.approx(by_hand / population.size, rel=1e-11)


def test_cubic_gradient_against_finite_differences(case):
    rule, population, _ = case
    moments = CubicMoments.of(population)
    theta = cubic_theta(rule, 11)[2]
    gradient, loss = moments.gradient(theta), jax.jit(lambda theta: moments.loss(theta))
    h = 1e-4
    for name, block in theta._asdict().items():
        expected = np.zeros(block.shape)
        for where, unit in zip(
            np.ndindex(block.shape), reference.unit_matrices(*block.shape), strict=True
        ):
            up, down = (loss(theta._replace(**{name: block + s * h * unit})) for s in (1, -1))
            expected[where] = (up - down) / (2 * h)
        close(getattr(gradient, name), expected, 1e-6)


def test_cubic_moments_without_cubic_blocks(case):
    rule, population, _ = case
    delta = random_pair(population.optimum, seed=12)
    theta = point(population.optimum, 0.9, delta)
    q = rule.q
    cubic = CubicTheta(*theta, jnp.zeros((q + 1, q + 1)), jnp.zeros((q, q + 1)))
    moments = CubicMoments.of(population)
    assert moments.loss(cubic) == pytest.approx(float(population.loss(0.9, delta)), rel=1e-11)
    gradient = moments.gradient(cubic)
    for name, expected in population.gradient(0.9, delta)._asdict().items():
        close(getattr(gradient, name), expected, 1e-11)
    assert (gradient.P22 == 0).all()  # Proposition 3.1 (ii)
    assert (gradient.V22 == 0).all()


# Drawing.

FAMILY, KEY = RandomMDPs(3, 2), jax.random.key(0)


def draw(size, step=None, rule=RULES["sarsa"], key=KEY):
    return draw_population(key, rule, FAMILY, size, windows=3, n=5, step=step)


@pytest.fixture(scope="module")
def drawn():
    """Windows 0, 1 and 2 of the same lives."""
    return [draw(60, step) for step in range(3)]


def test_draws_do_not_depend_on_how_many():
    few, many = draw(60), draw(501)  # one MDP more than are lived at once
    assert (few.size, many.size) == (60, 501)
    np.testing.assert_array_equal(few.tokens, many.tokens[:60])
    np.testing.assert_array_equal(few.u, many.u[:60])
    assert len(np.unique(np.asarray(many.u)[:, 0])) == 501
    assert (np.asarray(draw(60, key=jax.random.key(1)).u) != np.asarray(few.u)).all()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_drawn_shapes_and_types(rule):
    population = draw(4, rule=rule)
    assert population.tokens.shape == (4, 5, rule.p)
    assert population.u.shape == (4, rule.q)
    for leaf in jax.tree.leaves(population):
        assert leaf.dtype == jnp.float64
    for block, expected in zip(population.optimum, rule.optimum(jnp.float64), strict=True):
        np.testing.assert_array_equal(block, expected)


def test_steps_follow_the_teacher(drawn):
    """u of the next window is what the teacher makes of this one (Algorithm 1)."""
    assert (np.abs(drawn[0].u) < 1).all()
    P12, V21 = as_numpy(drawn[0].optimum)
    for now, then in itertools.pairwise(drawn):
        for tokens, u, following in zip(*data(now), np.asarray(then.u), strict=True):
            sigma = reference.second_moment(tokens)
            step = V21 @ sigma @ P12 @ np.array([1.0, *u])
            close(following, u + step, 1e-13)
            assert np.abs(step).max() > 1e-6


def test_a_random_window_of_each_life(drawn):
    population = draw(60)
    u, lives, steps = np.asarray(population.u), [np.asarray(each.u) for each in drawn], []
    for k in range(60):
        equal = [np.array_equal(u[k], each[k]) for each in lives]
        assert sum(equal) == 1
        steps.append(equal.index(True))
        np.testing.assert_array_equal(population.tokens[k], drawn[steps[-1]].tokens[k])
    # Binomial(60, 1/3) is outside [8, 35] once in 10⁴ times.
    assert all(8 <= steps.count(step) <= 35 for step in range(3))


def test_one_window_per_mdp():
    """Rewards are continuous and drawn per MDP, so that no two windows share one."""
    rewards = [set(row) for row in np.asarray(draw(60).tokens[:, :, -1])]
    assert len(set.union(*rewards)) == sum(map(len, rewards))


def test_tokens_are_transitions_in_order(drawn):
    """γφ⁺ of one transition is γ times φ of the next, and γ = 0.5."""
    tokens = np.asarray(drawn[0].tokens)
    np.testing.assert_allclose(tokens[:, :-1, 2:4], 0.5 * tokens[:, 1:, :2], rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1"),
        ({"windows": 0}, "windows must be an integer of at least 1"),
        ({"n": -1}, "n must be an integer of at least 1"),
        ({"step": 3}, r"step must lie in \[0, 3\), got 3"),
        ({"step": -1}, r"step must lie in \[0, 3\), got -1"),
    ],
)
def test_drawing_refuses(arguments, message):
    arguments = {"size": 2, "windows": 3, "n": 5, "step": None} | arguments
    with pytest.raises(ValueError, match=message):
        draw_population(KEY, Sarsa(d=1), FAMILY, **arguments)


def test_drawing_needs_x64():
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"draw_population.*x64"):
        draw_population(KEY, ActorCritic(m=1, d=1), FAMILY, 2)
