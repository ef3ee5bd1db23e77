"""The paper's family of random MDPs (§4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from icrl_flax import RandomMDPs, TabularMDP

S, A, DRAWS = 5, 3, 400


@pytest.fixture(scope="module")
def mdps():
    family = RandomMDPs(S, A, gamma=0.8)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return jax.jit(jax.vmap(lambda key: family.sample(key, jnp.float64)))(keys)


def test_defaults_are_the_papers():
    family = RandomMDPs()
    assert (family.n_states, family.n_actions, family.gamma) == (9, 4, 0.5)


def test_shapes_and_sums(mdps):
    assert mdps.transition.shape == mdps.reward.shape == (DRAWS, S, A, S)
    assert mdps.initial.shape == (DRAWS, S)
    np.testing.assert_array_equal(mdps.gamma, np.full(DRAWS, 0.8))
    for distribution in (mdps.transition, mdps.initial):
        assert (distribution >= 0).all()
        np.testing.assert_allclose(distribution.sum(axis=-1), 1, rtol=1e-14)


def test_reward_depends_on_action_and_successor_only(mdps):
    rewards = np.asarray(mdps.reward)
    np.testing.assert_array_equal(rewards, np.broadcast_to(rewards[:, :1], rewards.shape))
    assert len(np.unique(rewards)) == DRAWS * A * S


def test_rewards_are_uniform(mdps):
    rewards = np.ravel(mdps.reward[:, 0])
    assert scipy.stats.kstest(rewards, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("entry", range(S))
def test_marginals_are_those_of_the_flat_dirichlet(mdps, entry):
    beta = scipy.stats.beta(1, S - 1).cdf
    for distribution in (mdps.transition, mdps.initial):
        assert scipy.stats.kstest(np.ravel(distribution[..., entry]), beta).pvalue > 1e-3


def test_parts_are_independent(mdps):
    parts = [mdps.initial[:, 0], mdps.transition[:, 0, 0, 0], mdps.transition[:, 1, 0, 0]]
    parts += [mdps.transition[:, 0, 1, 0], mdps.reward[:, 0, 0, 0], mdps.reward[:, 0, 1, 0]]
    correlations = np.corrcoef(np.stack(parts)) - np.eye(len(parts))
    assert np.abs(correlations).max() < 4 / np.sqrt(DRAWS)


def test_type_and_seed():
    family = RandomMDPs(3, 2)
    first, again, other = (family.sample(jax.random.key(k), jnp.float32) for k in (0, 0, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(first)} == {np.dtype("float32")}
    assert all(map(np.array_equal, jax.tree.leaves(first), jax.tree.leaves(again)))
    assert not np.array_equal(first.transition, other.transition)


def test_integers_become_floating_point():
    """A deterministic MDP is naturally written with 0s and 1s."""
    mdp = TabularMDP(np.eye(2, dtype=int)[:, None], np.ones((2, 1, 2), int), np.array([1, 0]), 0)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(mdp))
    assert (mdp.n_states, mdp.n_actions) == (2, 1)


@pytest.mark.parametrize("concentration", [0.3, 4.0])
def test_concentration(concentration):
    family = RandomMDPs(S, A, concentration=concentration)
    keys = jax.random.split(jax.random.key(0), DRAWS)
    mdps = jax.vmap(lambda key: family.sample(key, jnp.float64))(keys)
    beta = scipy.stats.beta(concentration, (S - 1) * concentration).cdf
    for distribution in (mdps.transition, mdps.initial):
        np.testing.assert_allclose(distribution.sum(axis=-1), 1, rtol=1e-12)
        assert scipy.stats.kstest(np.ravel(distribution[..., 0]), beta).pvalue > 1e-3
    correlation = np.corrcoef(mdps.initial[:, 0], mdps.transition[:, 0, 0, 0])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(DRAWS)


def test_reward_laws(mdps):
    keys = jax.random.split(jax.random.key(0), DRAWS)

    def rewards(law):
        family = RandomMDPs(S, A, gamma=0.8, reward=law)
        drawn = jax.vmap(lambda key: family.sample(key, jnp.float64))(keys)
        # The law of the rewards is all that changes.
        np.testing.assert_allclose(drawn.transition, mdps.transition, rtol=1e-12)
        return np.asarray(drawn.reward)

    np.testing.assert_allclose(rewards("uniform"), mdps.reward, rtol=1e-12)
    normal = rewards("normal")
    np.testing.assert_array_equal(normal, np.broadcast_to(normal[:, :1], normal.shape))
    assert scipy.stats.kstest(normal[:, 0].ravel(), "norm", (0, 3**-0.5)).pvalue > 1e-3
    sparse = rewards("sparse")
    np.testing.assert_array_equal(sparse, np.broadcast_to(sparse[:, :1], sparse.shape))
    others = sparse[:, 0][sparse[:, 0] != 0]
    assert others.size == pytest.approx(0.1 * sparse[:, 0].size, rel=0.2)
    assert scipy.stats.kstest(others, "uniform", (-1, 2)).pvalue > 1e-3
    pairs = rewards("state-action")
    np.testing.assert_array_equal(pairs, np.broadcast_to(pairs[..., :1], pairs.shape))
    assert np.unique(pairs).size == DRAWS * S * A
    assert scipy.stats.kstest(pairs[..., 0].ravel(), "uniform", (-1, 2)).pvalue > 1e-3


RIGHT = {
    "transition": [[[0, 1]], [[1, 0]]],
    "reward": [[[0, 1]], [[2, 0]]],
    "initial": [1, 0],
    "gamma": 0.5,
}


@pytest.mark.usefixtures("unchecked")
def test_lists_become_arrays():
    mdp = TabularMDP(**RIGHT, terminal=[0, 1])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(mdp))
    assert mdp.transition.dtype == mdp.reward.dtype == jnp.result_type(float)
    assert mdp.terminal.dtype == bool


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("transition", [[0, 1], [1]], "transition must be an array of numbers, got"),
        (
            "transition",
            [[["0", "1"]], [["1", "0"]]],
            "transition must be an array of numbers, got",
        ),
        ("reward", None, "reward must be an array of numbers, got None"),
        ("reward", 1j * np.ones((2, 1, 2)), "reward must hold real numbers, got dtype complex128"),
        ("gamma", "0.5", "gamma must be an array of numbers, got '0.5'"),
        ("gamma", True, r"gamma must lie in \[0, 1\), got 1.0"),
        ("terminal", [0, 2], r"terminal must hold booleans, or 0 and 1 alone, got \[0, 2\]"),
        ("terminal", [0.5, 1], r"terminal must hold booleans, or 0 and 1 alone, got \[0.5, 1\]"),
        ("terminal", ["no", "yes"], "terminal must be an array of numbers, got"),
        ("terminal", [0, 1, 0], r"terminal must have shape \(2\), got \(3,\)"),
        ("terminal", 1, r"terminal must have shape \(2\), got \(\)"),
    ],
)
def test_values_of_another_type_are_refused(field, value, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        TabularMDP(**RIGHT | {field: value})


@pytest.mark.usefixtures("unchecked")
def test_not_even_traced_integers_are_ends():
    with pytest.raises(ValueError, match=r"^terminal must hold booleans"):
        jax.jit(lambda ends: TabularMDP(**RIGHT, terminal=ends).terminal)(jnp.array([0, 1]))
