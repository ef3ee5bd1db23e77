"""Policies as tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax.experience import policies as policy


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_greedy_shares_ties(dtype):
    values = jnp.array([[1, 3, 2], [5, 5, 4], [-1, -1, -1]], dtype)
    pi = policy.greedy(values)
    assert pi.dtype == dtype
    third = dtype(1) / dtype(3)
    np.testing.assert_array_equal(pi, [[0, 1, 0], [0.5, 0.5, 0], [third] * 3])


def test_softmax_is_the_papers_and_does_not_overflow():
    rng = np.random.default_rng(0)
    phi, lam = rng.normal(size=(5, 3, 4)), rng.normal(size=4)
    pi = policy.softmax(jnp.asarray(phi @ lam))
    np.testing.assert_allclose(pi, reference.softmax_policy(phi, lam), rtol=1e-12)
    np.testing.assert_array_equal(policy.softmax(jnp.array([[1e4, 0.0], [0.0, 1e4]])), np.eye(2))


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_explore_mixes_with_the_uniform_policy(epsilon):
    pi = np.random.default_rng(1).dirichlet(np.ones(4), 3)
    mixed = policy.epsilon_mix(jnp.asarray(pi), epsilon)
    np.testing.assert_allclose(mixed, reference.mixed(pi, epsilon), rtol=1e-14)


def test_explore_takes_a_traced_epsilon():
    pi = jnp.array([[1.0, 0.0]])
    mixed = jax.vmap(lambda epsilon: policy.epsilon_mix(pi, epsilon))(jnp.array([0.0, 0.5]))
    np.testing.assert_array_equal(mixed[:, 0], [[1, 0], [0.75, 0.25]])


def test_no_action_is_best_among_nan():
    with pytest.raises(ValueError, match=r"^values must be finite, got nan at index \(1, 0\)$"):
        policy.greedy(jnp.array([[1.0, 2.0], [jnp.nan, 0.0]]))


def test_tables_of_numpy():
    mixed = policy.epsilon_mix(np.eye(2), 0.5)
    assert isinstance(mixed, jax.Array)
    np.testing.assert_array_equal(policy.greedy(np.array([[1.0, 2.0]])), [[0, 1]])
