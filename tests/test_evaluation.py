"""Exact values of policies, against the sums that define them, and sampled ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import sparse_mdp, sparse_rows

from icrl_flax import RandomMDPs, TabularMDP, expected_return, optimal_action_values
from icrl_flax.control import monte_carlo_return
from icrl_flax.experience import greedy
from icrl_flax.mdps import action_values, average_reward, expected_rewards, policy_value

S, A = 4, 3


@pytest.fixture(scope="module", params=[0.0, 0.5, 0.9], ids="gamma={}".format)
def mdp(request):
    return RandomMDPs(S, A, request.param).sample(jax.random.key(0), jnp.float64)


def bellman(mdp, value):
    """r(s, a) + γ Σ P(s′|s,a) v(s′), by loops."""
    q = np.zeros((S, A))
    for s, a, t in np.ndindex(S, A, S):
        q[s, a] += mdp.transition[s, a, t] * (mdp.reward[s, a, t] + mdp.gamma * value[t])
    return q


def test_one_step_values(mdp):
    value = np.random.default_rng(0).normal(size=S)
    np.testing.assert_allclose(
        action_values(mdp, jnp.asarray(value)), bellman(mdp, value), rtol=1e-12
    )
    np.testing.assert_allclose(expected_rewards(mdp), bellman(mdp, np.zeros(S)), rtol=1e-12)


def test_policy_value_is_the_fixed_point(mdp):
    policy = np.random.default_rng(1).dirichlet(np.ones(A), S)
    value = np.asarray(policy_value(mdp, jnp.asarray(policy)))
    np.testing.assert_allclose((policy * bellman(mdp, value)).sum(axis=1), value, rtol=1e-12)
    start = sum(float(mdp.initial[s]) * value[s] for s in range(S))
    assert float(expected_return(mdp, jnp.asarray(policy))) == pytest.approx(start, rel=1e-12)


def test_no_deterministic_policy_beats_the_optimum(mdp):
    q = optimal_action_values(mdp, 1e-12)
    np.testing.assert_allclose(bellman(mdp, np.asarray(q).max(axis=1)), q, rtol=0, atol=1e-11)
    value = jax.jit(jax.vmap(policy_value, in_axes=(None, 0)))
    policies = np.eye(A)[np.indices((A,) * S).reshape(S, -1).T]
    best = value(mdp, jnp.asarray(policies)).max(axis=0)
    np.testing.assert_allclose(q.max(axis=1), best, rtol=0, atol=1e-11)
    np.testing.assert_allclose(policy_value(mdp, greedy(q)), best, rtol=0, atol=1e-11)


def test_tolerance_bounds_the_error(mdp):
    exact = optimal_action_values(mdp, 1e-12)
    for tolerance in (1e-1, 1e-3):
        rough = optimal_action_values(mdp, tolerance)
        assert np.abs(rough - exact).max() <= tolerance


def test_policy_value_is_a_power_series(mdp):
    """Σ_k γ^k P_π^k r_π, and the same from the initial distribution."""
    policy = np.random.default_rng(2).dirichlet(np.ones(A), S)
    chain, reward = np.zeros((S, S)), np.zeros(S)
    for s, a, t in np.ndindex(S, A, S):
        chain[s, t] += policy[s, a] * mdp.transition[s, a, t]
        reward[s] += policy[s, a] * mdp.transition[s, a, t] * mdp.reward[s, a, t]
    total, term = np.zeros(S), reward
    for _ in range(500):
        total, term = total + term, float(mdp.gamma) * chain @ term
    np.testing.assert_allclose(policy_value(mdp, jnp.asarray(policy)), total, rtol=0, atol=1e-12)
    found = float(expected_return(mdp, jnp.asarray(policy)))
    assert found == pytest.approx(np.asarray(mdp.initial) @ total, abs=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.inf])
def test_bad_tolerance(mdp, tolerance):
    with pytest.raises(ValueError, match="tolerance must be positive and finite"):
        optimal_action_values(mdp, tolerance)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.full((S, A + 1), 1 / (A + 1)), r"policy must have shape \(4, 3\), got \(4, 4\)"),
        (np.full((S, A), 0.5), "policy must sum to 1"),
        (np.full((S, A), np.nan), "policy must be finite"),
    ],
    ids=["shape", "sum", "nan"],
)
def test_no_policy(mdp, policy, message):
    with pytest.raises(ValueError, match=message):
        policy_value(mdp, jnp.asarray(policy))
    with pytest.raises(ValueError, match=message):
        expected_return(mdp, jnp.asarray(policy))
    with pytest.raises(ValueError, match=message):
        monte_carlo_return(jax.random.key(0), mdp, jnp.asarray(policy), 2, 2)


# Episodes that end

ENDS = np.array([False, False, True, False, True])


def episodic(seed, gamma):
    """Five states of which two are terminal; it starts in one of the others."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(size=5) * ~ENDS
    return TabularMDP(
        transition=sparse_rows(rng, 5, A, 5),
        reward=rng.normal(size=(5, A, 5)),
        initial=weights / weights.sum(),
        gamma=gamma,
        terminal=jnp.asarray(ENDS),
    )


def absorbing(mdp):
    """The same, its episodes going on for ever where nothing is earned."""
    transition, reward = np.array(mdp.transition), np.array(mdp.reward)
    for state in np.flatnonzero(ENDS):
        transition[state], reward[state] = np.eye(5)[state], 0
    return TabularMDP(transition, reward, mdp.initial, mdp.gamma)


@pytest.mark.parametrize("gamma", [0.0, 0.6, 0.95])
def test_nothing_is_earned_after_the_end(gamma):
    @jax.jit
    def quantities(mdp, policy):
        """Of the states that do not end an episode."""
        within = np.flatnonzero(~ENDS)
        return (
            policy_value(mdp, policy)[within],
            optimal_action_values(mdp, 1e-12)[within],
            action_values(mdp, jnp.where(ENDS, 0, jnp.arange(5.0)))[within],
            expected_return(mdp, policy),
        )

    for seed in range(5):
        mdp = episodic(seed, gamma)
        policy = jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(A), 5))
        found, expected = quantities(mdp, policy), quantities(absorbing(mdp), policy)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-11)
        # It does matter; but the reward of the last transition itself counts.
        going_on = TabularMDP(mdp.transition, mdp.reward, mdp.initial, mdp.gamma)
        if gamma:
            assert abs(quantities(going_on, policy)[-1] - found[-1]) > 1e-3
        np.testing.assert_array_equal(expected_rewards(mdp), expected_rewards(going_on))


def test_value_of_a_terminal_state_does_not_matter():
    mdp = episodic(0, 0.9)
    value = np.random.default_rng(1).normal(size=5)
    same = np.where(ENDS, value + 100, value)
    np.testing.assert_array_equal(
        action_values(mdp, jnp.asarray(value)), action_values(mdp, jnp.asarray(same))
    )


def test_value_iteration_satisfies_bellmans_equation_with_ends():
    mdp = episodic(1, 0.9)
    q = optimal_action_values(mdp, 1e-12)
    value = np.where(ENDS, 0, np.asarray(q).max(axis=1))
    expected = np.zeros((5, A))
    for s, a, t in np.ndindex(5, A, 5):
        expected[s, a] += mdp.transition[s, a, t] * (mdp.reward[s, a, t] + 0.9 * value[t])
    np.testing.assert_allclose(q, expected, rtol=0, atol=1e-11)


# Sampled returns


sample = jax.jit(monte_carlo_return, static_argnames=("trajectories", "length"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "draw",
    [lambda seed: sparse_mdp(np.random.default_rng(seed), 5), lambda seed: episodic(seed, 0.8)],
    ids=["continuing", "episodic"],
)
def test_monte_carlo_agrees_with_the_exact_return(draw, seed):
    mdp, count = draw(seed), 20_000
    policy = jnp.asarray(sparse_rows(np.random.default_rng(seed + 10), 5, A))
    returns = np.asarray(sample(jax.random.key(seed), mdp, policy, count, 80))
    assert returns.shape == (count,)
    error = returns.std(ddof=1) / count**0.5
    assert error > 0
    # 0.8⁸⁰ is left out at most.
    assert abs(returns.mean() - float(expected_return(mdp, policy))) < 4 * error + 1e-6


def chain_of_two():
    """0 → 1 → 2, which is terminal; 1 and 3 are earned on the way."""
    transition, reward = np.zeros((3, 1, 3)), np.zeros((3, 1, 3))
    transition[0, 0, 1] = transition[1, 0, 2] = transition[2, 0, 0] = 1
    reward[0, 0, 1], reward[1, 0, 2], reward[2, 0, 0] = 1, 3, 50
    return functools.partial(TabularMDP, transition, reward, np.array([1.0, 0, 0]), 0.5)


@pytest.mark.parametrize("ends", [True, False], ids=["ending", "going on"])
def test_sampled_return_by_hand(ends):
    make = chain_of_two()
    mdp = make(jnp.array([False, False, True])) if ends else make()
    totals = {1: 1, 2: 2.5, 9: 2.5} if ends else {1: 1, 3: 15, 5: 15 + 2.5 / 8}
    for length, total in totals.items():
        returns = sample(jax.random.key(0), mdp, jnp.ones((3, 1)), 4, length)
        np.testing.assert_allclose(returns, np.full(4, total), rtol=1e-14)


def test_trajectories_of_length_1_earn_the_first_reward(mdp):
    policy = jnp.asarray(np.random.default_rng(3).dirichlet(np.ones(A), S))
    returns = np.asarray(sample(jax.random.key(1), mdp, policy, 20_000, 1))
    assert np.isin(returns, mdp.reward).all()
    first = np.asarray(mdp.initial) @ (policy * bellman(mdp, np.zeros(S))).sum(axis=1)
    assert abs(returns.mean() - first) < 4 * returns.std() / len(returns) ** 0.5


def test_trajectories_differ_and_repeat(mdp):
    policy = jnp.full((S, A), 1 / A)
    first, again, other = (
        np.asarray(sample(jax.random.key(seed), mdp, policy, 50, 5)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.isin(first, other).all()
    assert len(np.unique(first)) > 10


@pytest.mark.parametrize("count", [0, -1, 2.0, True], ids=repr)
@pytest.mark.parametrize("name", ["trajectories", "length"])
def test_bad_counts(name, count, unchecked):
    mdp = RandomMDPs(S, A).sample(jax.random.key(0), jnp.float64)
    counts = {"trajectories": 2, "length": 2} | {name: count}
    message = rf"^{name} must be an integer of at least 1, got {count!r}$"
    with pytest.raises(ValueError, match=message):
        monte_carlo_return(jax.random.key(0), mdp, jnp.full((S, A), 1 / A), **counts)


@pytest.mark.parametrize("with_ends", [False, True])
def test_average_reward_is_the_mean_over_a_long_run(with_ends):
    mdp = RandomMDPs(S, A, 0.5).sample(jax.random.key(3), jnp.float64)
    if with_ends:
        mdp = TabularMDP(
            mdp.transition, mdp.reward, mdp.initial, mdp.gamma, jnp.arange(S) == S - 1
        )
    policy = sparse_rows(np.random.default_rng(0), S, A)
    transition, reward, initial = map(np.asarray, (mdp.transition, mdp.reward, mdp.initial))
    state, earned, steps = initial, 0.0, 400
    for step in range(steps):
        following = np.zeros(S)
        for s, a, t in np.ndindex(S, A, S):
            chance = state[s] * policy[s, a] * transition[s, a, t]
            earned += chance * reward[s, a, t] * (step >= 200)
            if with_ends and t == S - 1:
                following += chance * initial
            else:
                following[t] += chance
        state = following
    found = average_reward(mdp, jnp.asarray(policy))
    assert float(found) == pytest.approx(float(earned) / 200, rel=1e-10)


EXACT = {
    "policy_value": policy_value,
    "expected_return": expected_return,
    "average_reward": average_reward,
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("x64", [False, True])
def test_policies_of_numpy(name, x64):
    """Float64 without x64 warned, which is an error here; integers are numbers, too."""
    with jax.enable_x64(x64):
        mdp = RandomMDPs(S, A, 0.8).sample(jax.random.key(0), jnp.float32)
        policy = np.eye(A)[[0, 2, 1, 1]]
        found = EXACT[name](mdp, policy)
        expected = EXACT[name](mdp, jnp.asarray(policy, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert expected.dtype == jnp.float32
    assert found.dtype == (jnp.float64 if x64 else jnp.float32)


PRODUCTS = {
    "expected_rewards": lambda mdp: expected_rewards(mdp),
    "action_values": lambda mdp: action_values(mdp, mdp.initial),
    "optimal_action_values": lambda mdp: optimal_action_values(mdp),
    **{name: lambda mdp, f=f: f(mdp, jnp.full((S, A), 1 / A)) for name, f in EXACT.items()},
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_exact_values_do_not_depend_on_the_devices_precision(name, mdp):
    """A GPU would round the factors of a float32 product to ten bits."""
    program = str(jax.make_jaxpr(PRODUCTS[name])(mdp))
    products = program.count("dot_general[")
    assert products > 0
    assert program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products
