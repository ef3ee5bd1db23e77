"""Exact values of policies, against the sums that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import (
    RandomMDPs,
    action_values,
    expected_return,
    expected_rewards,
    greedy,
    optimal_action_values,
    policy_value,
)

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
