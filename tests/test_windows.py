"""Windows: what is drawn, what is recorded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from samples import as_window, sparse_mdp, sparse_rows

from icrl_flax import RandomMDPs, TabularMDP, Window, rollout
from icrl_flax._draws import draw_index

roll = jax.jit(rollout, static_argnames="n")


def p_value(counts, probabilities):
    """Of χ² for counts (cells last), the cells of probability 0 left out."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    assert (counts[probabilities == 0] == 0).all()
    expected = counts.sum(axis=-1, keepdims=True) * probabilities
    assert expected[expected > 0].min() > 5
    cells = expected > 0
    statistic = ((counts - expected)[cells] ** 2 / expected[cells]).sum()
    freedom = cells.sum() - counts.any(axis=-1).sum()
    return scipy.stats.chi2.sf(statistic, freedom)


def test_frequencies_are_the_policys_and_the_kernels():
    S, A = 3, 2
    mdp = RandomMDPs(S, A).sample(jax.random.key(3), jnp.float64)
    policy = np.array([[0.3, 0.7], [1.0, 0.0], [0.5, 0.5]])
    window = roll(jax.random.key(4), mdp, jnp.asarray(policy), 0, n=20_000)
    states, actions = np.asarray(window.states), np.asarray(window.actions)
    taken, moved = np.zeros((S, A)), np.zeros((S, A, S))
    np.add.at(taken, (states, actions), 1)
    np.add.at(moved, (states[:-1], actions[:-1], states[1:]), 1)
    assert p_value(taken, policy) > 1e-3
    visited = policy > 0
    assert p_value(moved[visited], np.asarray(mdp.transition)[visited]) > 1e-3


def test_successive_draws_are_independent():
    """A fair chain whose successors ignore the state: pairs and triples are uniform."""
    mdp = sparse_mdp(np.random.default_rng(0), 2, 2)
    mdp = type(mdp)(jnp.full((2, 2, 2), 0.5), mdp.reward, mdp.initial, mdp.gamma)
    window = roll(jax.random.key(5), mdp, jnp.full((2, 2), 0.5), 0, n=20_000)
    s, a = np.asarray(window.states), np.asarray(window.actions)
    for bits in ((s[:-1], a[:-1], s[1:]), (s[:-1], s[1:], a[1:]), (a[:-1], a[1:], s[1:])):
        counts = np.bincount(4 * bits[0] + 2 * bits[1] + bits[2], minlength=8)
        assert p_value(counts, np.full(8, 1 / 8)) > 1e-3


def test_last_action_follows_the_policy():
    mdp = RandomMDPs(2, 3).sample(jax.random.key(0), jnp.float64)
    policy = jnp.array([[0.2, 0.5, 0.3], [0.6, 0.0, 0.4]])
    keys = jax.random.split(jax.random.key(1), 4000)
    windows = jax.jit(jax.vmap(lambda key: rollout(key, mdp, policy, 1, 1)))(keys)
    counts = np.zeros((2, 3))
    np.add.at(counts, (windows.states[:, -1], windows.actions[:, -1]), 1)
    assert p_value(counts, policy) > 1e-3
    assert (windows.states[:, 0] == 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_possible_steps_are_taken(dtype):
    rng = np.random.default_rng(1)
    for seed in range(10):
        mdp = sparse_mdp(rng, dtype=dtype)
        policy = sparse_rows(rng, 4, 3).astype(dtype)
        window = roll(jax.random.key(seed), mdp, jnp.asarray(policy), seed % 4, n=500)
        states, actions = window.states, window.actions
        assert (policy[states, actions] > 0).all()
        assert (mdp.transition[states[:-1], actions[:-1], states[1:]] > 0).all()
        assert window.rewards.dtype == window.discounts.dtype == dtype


def test_rewards_and_discounts_are_recorded():
    mdp = sparse_mdp(np.random.default_rng(2), gamma=0.7)
    window = roll(jax.random.key(0), mdp, jnp.full((4, 3), 1 / 3), 2, n=50)
    states, actions = np.asarray(window.states), np.asarray(window.actions)
    assert states.shape == actions.shape == (51,)
    assert states[0] == 2
    for i in range(50):
        assert window.rewards[i] == mdp.reward[states[i], actions[i], states[i + 1]]
    np.testing.assert_array_equal(window.discounts, np.full(50, 0.7))


def test_elapsed_discounts_count_from_the_start_of_the_window():
    window = as_window(np.zeros(6, int), np.zeros(6, int), np.zeros(5), 0.7)
    np.testing.assert_allclose(window.elapsed_discounts, 0.7 ** np.arange(5), rtol=1e-14)
    window = as_window(np.zeros(3, int), np.zeros(3, int), np.zeros(2), 0.0)
    np.testing.assert_array_equal(window.elapsed_discounts, [1, 0])


def test_keys_matter_and_repeat():
    mdp = RandomMDPs(4, 3).sample(jax.random.key(0), jnp.float64)
    policy = jnp.full((4, 3), 1 / 3)
    first, again, other = (
        np.asarray(roll(jax.random.key(k), mdp, policy, 0, n=50).states) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_draw_index_never_returns_an_impossible_one(dtype):
    """Not even for the smallest and largest uniforms, after sums that miss 1."""
    rng = np.random.default_rng(3)
    weights = rng.uniform(size=(3000, 12)).astype(dtype)
    weights *= rng.uniform(size=weights.shape) < 0.6
    weights[:, -3:] = 0
    weights[weights.sum(axis=1) == 0, 5] = 1
    weights[:1000] /= weights[:1000].sum(axis=1, keepdims=True)
    weights[:500, 0] = 0
    weights[:500, 4] += 1e-3
    one = np.nextafter(dtype(1), dtype(0))
    for uniform in (dtype(0), dtype(0.5), one):
        drawn = jax.vmap(draw_index, in_axes=(None, 0))(jnp.asarray(uniform), jnp.asarray(weights))
        assert (np.take_along_axis(weights, np.asarray(drawn)[:, None], axis=1) > 0).all()
        possible = weights > 0
        if uniform == 0:
            np.testing.assert_array_equal(drawn, possible.argmax(axis=1))
        if uniform == one:
            np.testing.assert_array_equal(drawn, 11 - possible[:, ::-1].argmax(axis=1))


def test_draw_index_survives_a_cumulative_sum_that_creeps():
    """A long sum in single precision, at the very uniforms where its steps are."""
    rng = np.random.default_rng(4)
    draw = jax.jit(jax.vmap(draw_index, in_axes=(0, None)))
    for _ in range(20):
        weights = rng.uniform(size=1000) * (rng.uniform(size=1000) < 0.5)
        weights = jnp.asarray(weights, jnp.float32)
        steps = jax.jit(jnp.cumsum)(weights)
        uniforms = (steps / steps.max())[:-1]
        uniforms = jnp.concatenate([uniforms, jnp.nextafter(uniforms, 0.0)])
        drawn = draw(uniforms[uniforms < 1].astype(jnp.float32), weights)
        assert (weights[drawn] > 0).all()


def test_draw_index_is_inverse_transform_sampling():
    draw = jax.vmap(draw_index, in_axes=(0, None))
    uniforms = jnp.array([0.0, 0.24, 0.25, 0.74, 0.75, 0.99])
    np.testing.assert_array_equal(
        draw(uniforms, jnp.array([0.25, 0.0, 0.5, 0.25])), [0, 0, 2, 2, 3, 3]
    )


def episodic_mdp():
    """0 → 1 → 2, which is terminal; rewards tell the transitions apart."""
    transition = np.zeros((3, 1, 3))
    transition[0, 0, 1] = transition[1, 0, 2] = transition[2, 0, 0] = 1
    reward = np.arange(9.0).reshape(3, 1, 3)
    terminal = jnp.array([False, False, True])
    return TabularMDP(transition, reward, np.array([1.0, 0, 0]), 0.5, terminal)


def test_a_terminal_state_ends_an_episode_and_the_next_begins():
    window = rollout(jax.random.key(0), episodic_mdp(), jnp.ones((3, 1)), 0, 5)
    np.testing.assert_array_equal(window.states, [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(window.rewards, [1, 5, 1, 5, 1])
    np.testing.assert_array_equal(window.terminated, [False, True, False, True, False])
    np.testing.assert_array_equal(window.discounts, [0.5, 0, 0.5, 0, 0.5])
    np.testing.assert_array_equal(window.elapsed_discounts, [1, 0.5, 1, 0.5, 1])


WINDOW = {
    "states": [0, 1, 2],
    "actions": [0, 0, 1],
    "rewards": [1, 0.5],
    "gamma": 0.9,
    "terminated": [0, 1],
}


@pytest.mark.usefixtures("unchecked")
def test_lists_become_windows():
    window = Window(**WINDOW)
    assert window.states.dtype == window.actions.dtype == jnp.result_type(int)
    assert window.rewards.dtype == window.gamma.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(window.discounts, [0.9, 0])
    assert isinstance(Window(**WINDOW | {"states": np.arange(3)}).states, np.ndarray)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("states", [0.0, 1.0, 2.0], "states must hold integers, got dtype float"),
        ("states", [0, 1], r"states must have shape \(3\), got \(2,\)"),
        ("states", [0, -1, 2], r"states must lie in \[0, inf\), got -1"),
        ("actions", [True, False, True], "actions must hold integers, got dtype bool"),
        ("actions", [0, 1, -2], r"actions must lie in \[0, inf\), got -2"),
        ("rewards", [1, float("nan")], r"rewards must be finite, got nan at index \(1,\)"),
        ("rewards", 1.0, r"rewards must have shape \(any\), got \(\)"),
        ("rewards", [], r"rewards must have shape \(any\), got \(0,\)"),
        ("gamma", 1.5, r"gamma must lie in \[0, 1\), got 1.5"),
        ("gamma", float("nan"), r"gamma must lie in \[0, 1\), got nan"),
        ("gamma", [0.5, 0.5], r"gamma must have shape \(\), got \(2,\)"),
        ("terminated", [0, 3], r"terminated must hold booleans, or 0 and 1 alone, got \[0, 3\]"),
        ("terminated", [False], r"terminated must have shape \(2\), got \(1,\)"),
    ],
)
def test_what_is_no_window(field, value, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        Window(**WINDOW | {field: value})


@pytest.mark.usefixtures("unchecked")
def test_a_window_of_another_mdp():
    window = Window(**WINDOW | {"states": [0, 17, 2]})
    window.check(18, 2)
    with pytest.raises(ValueError, match=r"^states must lie in \[0, 6\), got 17$"):
        window.check(6, 2)
    with pytest.raises(ValueError, match=r"^actions must lie in \[0, 1\), got 1$"):
        window.check(18, 1)


def test_batches_of_windows_have_their_own_discounts():
    """As many windows as transitions, so that a wrong axis would fit."""
    rng = np.random.default_rng(0)
    gamma, ends = rng.uniform(size=4), rng.uniform(size=(4, 4)) < 0.4
    zeros = np.zeros((4, 5), int)
    batch = Window(zeros, zeros, np.zeros((4, 4)), gamma, ends)
    for k in range(4):
        window = Window(zeros[k], zeros[k], np.zeros(4), gamma[k], ends[k])
        np.testing.assert_array_equal(batch.discounts[k], window.discounts)
        np.testing.assert_array_equal(batch.elapsed_discounts[k], window.elapsed_discounts)
        np.testing.assert_array_equal(window.discounts, np.where(ends[k], 0, gamma[k]))
