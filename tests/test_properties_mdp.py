"""What holds for every MDP and policy, on small ones that Hypothesis makes up.

The same cases each time; for more of them, and others on every run:

    python -m pytest tests/test_properties_mdp.py --hypothesis-profile=more
"""

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats
from hypothesis import given
from hypothesis.extra.numpy import arrays
from samples import sparse_mdp, sparse_rows

from icrl_flax import TabularMDP, expected_return, optimal_action_values, rollout
from icrl_flax.experience import greedy
from icrl_flax.mdps import action_values, policy_value

SIZES = [(1, 1), (2, 3), (4, 2)]  # S, A
STEPS, TOLERANCE = 60, 1e-9

roll = jax.jit(rollout, static_argnames="n")
evaluate = jax.jit(policy_value)
optimise = jax.jit(lambda mdp: optimal_action_values(mdp, TOLERANCE))


def distributions(*shape):
    """Rows of few different probabilities, many of them 0."""

    def normalise(weights):
        weights[..., 0] += weights.sum(axis=-1) == 0
        return weights / weights.sum(axis=-1, keepdims=True)

    return arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.0, 1, 2, 5])).map(normalise)


@st.composite
def problems(draw):
    """The fields of an MDP, with or without ends, and a policy."""
    S, A = draw(st.sampled_from(SIZES))
    rewards = st.floats(-10, 10, allow_subnormal=False)
    fields = {
        "transition": draw(distributions(S, A, S)),
        "reward": draw(arrays(np.float64, (S, A, S), elements=rewards)),
        "initial": draw(distributions(S)),
        "gamma": np.float64(draw(st.floats(0, 0.95, allow_subnormal=False))),
        # An MDP that never ends is written as one whose ends nobody reaches, or without any.
        "terminal": draw(st.none() | arrays(np.bool_, S, fill=st.nothing())),
    }
    return fields, draw(distributions(S, A))


def make(problem):
    fields, policy = problem
    terminal = fields["terminal"]
    mdp = TabularMDP(**fields | {"terminal": None if terminal is None else jnp.asarray(terminal)})
    return mdp, jnp.asarray(policy)


def bellman(problem, value):
    """E[r + γ v(s′) | s, a] by loops; nothing follows an end."""
    fields, _ = problem
    transition, reward, ends = (fields[name] for name in ("transition", "reward", "terminal"))
    q = np.zeros(transition.shape[:2])
    for s, a, t in np.ndindex(transition.shape):
        later = 0 if ends is not None and ends[t] else fields["gamma"] * value[t]
        q[s, a] += transition[s, a, t] * (reward[s, a, t] + later)
    return q


@given(problems(), st.integers(0, 2**32 - 1))
def test_rollouts_take_possible_steps_only(problem, seed):
    (fields, policy), (mdp, pi) = problem, make(problem)
    ends = fields["terminal"]
    start = seed % len(policy)
    window = roll(jax.random.key(seed), mdp, pi, start, n=STEPS)
    states, actions = np.asarray(window.states), np.asarray(window.actions)
    assert states[0] == start
    assert (policy[states, actions] > 0).all()
    for i in range(STEPS):
        s, a, following = states[i], actions[i], states[i + 1]
        if not window.terminated[i]:
            assert ends is None or not ends[following]
            assert fields["transition"][s, a, following] > 0
            assert window.rewards[i] == fields["reward"][s, a, following]
        else:  # the successor is not recorded, but its reward is
            assert fields["initial"][following] > 0
            entered = ends & (fields["transition"][s, a] > 0)
            assert window.rewards[i] in fields["reward"][s, a, entered]
        assert window.discounts[i] == (0 if window.terminated[i] else fields["gamma"])


@given(problems(), st.integers(0, 2**32 - 1))
def test_rollouts_are_inverse_transform_sampling(problem, seed):
    """The same uniforms, put through cumulative sums by hand, make the same window."""
    (fields, policy), (mdp, pi) = problem, make(problem)
    if fields["terminal"] is not None:
        mdp = TabularMDP(mdp.transition, mdp.reward, mdp.initial, mdp.gamma)
    key = jax.random.key(seed)
    uniforms = np.asarray(jax.random.uniform(key, (STEPS + 1, 2), jnp.float64))
    expected = reference.rollout(uniforms, fields["transition"], fields["reward"], policy, 0)
    window = roll(key, mdp, pi, 0, n=STEPS)
    for found, by_hand in zip(
        (window.states, window.actions, window.rewards), expected, strict=True
    ):
        np.testing.assert_array_equal(found, by_hand)


@given(problems())
def test_value_iteration_satisfies_bellmans_equation(problem):
    mdp, _ = make(problem)
    q = np.asarray(optimise(mdp))
    improved = bellman(problem, q.max(axis=1))
    # Q is within the tolerance of Q⋆, and so is what one more sweep makes of it.
    np.testing.assert_allclose(q, improved, rtol=0, atol=2 * TOLERANCE)


@given(problems())
def test_policy_value_satisfies_its_equation_and_none_is_better_than_the_best(problem):
    (fields, policy), (mdp, pi) = problem, make(problem)
    value, q = np.asarray(evaluate(mdp, pi)), np.asarray(optimise(mdp))
    size = np.abs(fields["reward"]).max() / (1 - fields["gamma"])
    one_step = bellman(problem, value)
    np.testing.assert_allclose((policy * one_step).sum(axis=1), value, rtol=0, atol=1e-13 * size)
    np.testing.assert_allclose(
        action_values(mdp, jnp.asarray(value)), one_step, rtol=0, atol=1e-13 * size
    )
    assert (q >= one_step - TOLERANCE - 1e-12 * size).all()
    # An action that looks best by ε is within ε of the best; the loss is paid at each step.
    best = np.asarray(evaluate(mdp, greedy(jnp.asarray(q))))
    slack = 2 * TOLERANCE / (1 - fields["gamma"])
    assert (best >= q.max(axis=1) - slack - 1e-12 * size).all()
    start = float(expected_return(mdp, pi))
    assert start == pytest.approx(fields["initial"] @ value, rel=1e-12, abs=1e-12 * size)


# What is random is looked at with fixed keys: the same numbers on every run.

LONG = 100_000


def long_run(seed, with_ends=False):
    """A long rollout in a sparse MDP, and what made it."""
    rng = np.random.default_rng(seed)
    mdp = sparse_mdp(rng, 5, 3, gamma=0.8)
    if with_ends:
        # An end comes when state 4 is entered; the next episode may begin there.
        everywhere = jnp.full(5, 0.2)
        mdp = TabularMDP(mdp.transition, mdp.reward, everywhere, mdp.gamma, jnp.arange(5) == 4)
    policy = sparse_rows(rng, 5, 3)
    return mdp, policy, roll(jax.random.key(seed), mdp, jnp.asarray(policy), 0, n=LONG)


def p_value(counts, probabilities):
    """Of χ² for rows of counts, cells of probability 0 and rows without visits left out."""
    expected = counts.sum(axis=-1, keepdims=True) * probabilities
    cells = expected > 0
    assert (counts[~cells] == 0).all()
    assert expected[cells].min() > 5
    statistic = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    return scipy.stats.chi2.sf(statistic, cells.sum() - (counts.sum(axis=-1) > 0).sum())


@pytest.mark.parametrize("seed", range(3))
def test_frequencies_are_the_kernels(seed):
    mdp, policy, window = long_run(seed)
    states, actions = np.asarray(window.states), np.asarray(window.actions)
    taken, moved = np.zeros((5, 3)), np.zeros((5, 3, 5))
    np.add.at(taken, (states, actions), 1)
    np.add.at(moved, (states[:-1], actions[:-1], states[1:]), 1)
    assert p_value(taken, policy) > 1e-3
    assert p_value(moved, np.asarray(mdp.transition)) > 1e-3


def test_frequencies_of_new_beginnings_are_the_initial_distributions():
    mdp, _, window = long_run(3, with_ends=True)
    begun = np.asarray(window.states)[1:][np.asarray(window.terminated)]
    assert len(begun) > 1000
    assert p_value(np.bincount(begun, minlength=5)[None], np.asarray(mdp.initial)[None]) > 1e-3


@pytest.mark.parametrize("with_ends", [False, True], ids=["going on", "with ends"])
@pytest.mark.parametrize("seed", range(3))
def test_policy_value_agrees_with_a_long_simulation(seed, with_ends):
    """The mean discounted reward after each visit of a state, within four standard errors."""
    mdp, policy, window = long_run(seed, with_ends)
    value = np.asarray(policy_value(mdp, jnp.asarray(policy)))
    states, rewards, discounts = map(
        np.asarray, (window.states[:-1], window.rewards, window.discounts)
    )
    returns, later = np.zeros(LONG), 0.0
    for i in reversed(range(LONG)):
        later = returns[i] = rewards[i] + discounts[i] * later
    kept = np.arange(LONG) < LONG - 200  # the last ones are cut short
    errors = []
    for s in range(5):
        # Successive returns are correlated; means over stretches of 1000 visits hardly are.
        after = returns[kept & (states == s)]
        stretches = after[: len(after) // 1000 * 1000].reshape(-1, 1000).mean(axis=1)
        if len(stretches) < 8:
            continue
        errors.append(stretches.std(ddof=1) / len(stretches) ** 0.5)
        # A state from which every episode goes the same way has no error at all.
        assert abs(stretches.mean() - value[s]) < 4 * errors[-1] + 1e-12
    assert len(errors) >= 3
    assert 0 < max(errors) < 0.05
