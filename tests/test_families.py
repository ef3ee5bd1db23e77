"""Families of MDPs unlike the paper's: their transitions, and what they share with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from icrl_flax import MDPFamily, Sarsa, draw_task
from icrl_flax.mdps import FAMILIES, ChainMDPs, DeterministicMDPs, SparseMDPs

S, A, DRAWS = 5, 3, 400


def draws(family, dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return jax.vmap(lambda key: family.sample(key, dtype))(keys)


SAMPLES = {name: kind(n_states=S, n_actions=A, gamma=0.8) for name, kind in FAMILIES.items()}


@pytest.mark.parametrize("name", SAMPLES)
def test_what_all_families_share(name):
    assert isinstance(SAMPLES[name], MDPFamily)
    mdps = draws(SAMPLES[name], jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(mdps)} == {np.dtype("float32")}
    assert mdps.transition.shape == mdps.reward.shape == (DRAWS, S, A, S)
    np.testing.assert_array_equal(mdps.gamma, np.full(DRAWS, np.float32(0.8)))
    for distribution in (mdps.transition, mdps.initial):
        assert (distribution >= 0).all()
        np.testing.assert_allclose(distribution.sum(axis=-1), 1, atol=1e-6)
    rewards = np.asarray(mdps.reward)
    np.testing.assert_array_equal(rewards, np.broadcast_to(rewards[:, :1], rewards.shape))
    assert scipy.stats.kstest(rewards[:, 0].ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    beta = scipy.stats.beta(1, S - 1).cdf
    assert scipy.stats.kstest(np.ravel(mdps.initial[:, 0]), beta).pvalue > 1e-3
    # The parts do not hang together.
    parts = [mdps.initial[:, 0], mdps.reward[:, 0, 0, 0], mdps.transition[:, 2, 0, 1]]
    correlations = np.corrcoef(np.stack(parts)) - np.eye(3)
    assert np.abs(correlations).max() < 4 / np.sqrt(DRAWS)
    # An agent can stand in one.
    task = draw_task(jax.random.key(1), Sarsa(d=2), SAMPLES[name], jnp.float64)
    assert 0 <= int(task.state) < S


@pytest.mark.parametrize("k", [1, 2, S])
def test_sparse(k):
    transition = np.asarray(draws(SparseMDPs(S, A, successors=k)).transition)
    np.testing.assert_array_equal((transition > 0).sum(axis=-1), k)
    # Every state is a successor equally often.
    times = (transition > 0).sum(axis=(0, 1, 2))
    expected = transition.size / S * k / S
    assert np.abs(times - expected).max() <= 4 * np.sqrt(expected)
    weights = transition[transition > 0]
    if k > 1:
        beta = scipy.stats.beta(1, k - 1).cdf
        assert scipy.stats.kstest(weights[::k], beta).pvalue > 1e-3
    else:
        np.testing.assert_array_equal(weights, 1)


def test_deterministic():
    transition = np.asarray(draws(DeterministicMDPs(S, A)).transition)
    assert set(np.unique(transition)) == {0, 1}
    times = transition.sum(axis=(0, 1, 2))
    assert scipy.stats.chisquare(times).pvalue > 1e-3
    assert len(np.unique(transition.reshape(DRAWS, -1), axis=0)) > DRAWS / 2


def test_chain():
    transition = np.asarray(draws(ChainMDPs(S, A)).transition)
    right = []
    for s in range(S):
        up, down = min(s + 1, S - 1), max(s - 1, 0)
        right.append(transition[:, s, :, up])
        np.testing.assert_allclose(transition[:, s, :, [down, up]].sum(axis=0), 1)
    right = np.stack(right, axis=1)
    assert scipy.stats.kstest(right.ravel(), "uniform").pvalue > 1e-3
    # Each pair has its own probability.
    assert np.unique(right).size == right.size


def test_one_state_and_one_action():
    for kind in (DeterministicMDPs, ChainMDPs):
        assert kind(1, 1).sample(jax.random.key(0)).transition == 1
    assert SparseMDPs(1, 1, successors=1).sample(jax.random.key(0)).transition == 1
