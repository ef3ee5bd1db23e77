"""Eqs. (3) and (13): score, behaviour, tokens and teacher of batch actor-critic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats
from samples import as_window, random_path

from icrl_flax import ActorCritic
from icrl_flax.rules import ActorCriticFeatures, score


def instance(seed, n, n_states=5, n_actions=3, m=4, d=2):
    rng = np.random.default_rng(seed)
    phi_pi, phi_v = rng.uniform(-1, 1, (n_states, n_actions, m)), rng.uniform(-1, 1, (n_states, d))
    return phi_pi, phi_v, rng.uniform(-1, 1, m + d), random_path(rng, n_states, n_actions, n)


def features(phi_pi, phi_v):
    return ActorCriticFeatures(jnp.asarray(phi_pi), jnp.asarray(phi_v))


def test_defaults_are_the_papers():
    rule = ActorCritic()
    assert (rule.m, rule.d, rule.alpha, rule.beta, rule.epsilon) == (36, 9, 0.2, 0.8, 0.1)
    assert (rule.p, rule.q, rule.D) == (55, 45, 101)
    assert rule.name() == "actor-critic"


def test_score_is_the_gradient_of_log_pi():
    phi_pi, _, u, _ = instance(0, 1)
    lam = jnp.asarray(u[:4])
    table = score(jnp.asarray(phi_pi), lam)

    def log_pi(lam):
        return jax.nn.log_softmax(jnp.asarray(phi_pi) @ lam, axis=-1)

    np.testing.assert_allclose(table, jax.jacobian(log_pi)(lam), rtol=1e-12, atol=1e-14)
    for s, a in np.ndindex(table.shape[:2]):
        expected = reference.score(phi_pi, u[:4], s, a)
        np.testing.assert_allclose(table[s, a], expected, rtol=1e-12, atol=1e-14)


def test_behaviour_is_softmax_with_exploration():
    phi_pi, phi_v, u, _ = instance(1, 1)
    pi = ActorCritic(m=4, d=2, epsilon=0.2).behaviour(features(phi_pi, phi_v), jnp.asarray(u))
    expected = reference.mixed(reference.softmax_policy(phi_pi, u[:4]), 0.2)
    np.testing.assert_allclose(pi, expected, rtol=1e-13)


@pytest.mark.parametrize("n", [1, 7])
def test_tokens_and_teacher(n):
    phi_pi, phi_v, u, path = instance(n, n)
    rule = ActorCritic(m=4, d=2, alpha=0.37, beta=1.3)
    given = features(phi_pi, phi_v), jnp.asarray(u), as_window(*path)
    np.testing.assert_allclose(
        rule.tokens(*given),
        reference.actor_critic_tokens(phi_pi, phi_v, u[:4], *path),
        rtol=1e-12,
        atol=1e-15,
    )
    np.testing.assert_allclose(
        rule.teacher(*given),
        reference.actor_critic(phi_pi, phi_v, u, 0.37, 1.3, *path),
        rtol=1e-12,
    )


def test_gamma_to_the_i_weighs_the_actor_only():
    # One state, γ = ½, w = 0 and all rewards 1: δ_i = 1. With two actions, λ = 0 and
    # a_i = 0, g = (½, −½), so the actor sums 1 + ½ + ¼ and the critic 1 + 1 + 1.
    path = np.zeros(4, int), np.zeros(4, int), np.ones(3), 0.5
    rule = ActorCritic(m=2, d=1, alpha=3.0, beta=3.0)
    given = features(np.eye(2)[None], np.ones((1, 1))), jnp.zeros(3), as_window(*path)
    np.testing.assert_array_equal(rule.teacher(*given), [0.875, -0.875, 3])
    np.testing.assert_array_equal(rule.tokens(*given)[:, 3], [0.5, 0.25, 0.125])


def test_lambda_columns_of_p12_are_zero():
    m, d = 4, 3
    P12 = np.asarray(ActorCritic(m=m, d=d).optimum(jnp.float64).P12)
    assert (P12[:, 1 : 1 + m] == 0).all()
    assert (np.abs(P12).sum(axis=0)[[0, *range(1 + m, 1 + m + d)]] == [1, 2, 2, 2]).all()


def test_features_and_start_are_uniform_and_independent():
    rule = ActorCritic(m=50, d=50)
    table = rule.sample_features(jax.random.key(0), 20, 2, jnp.float64)
    assert table.actor.shape == (20, 2, 50)
    assert table.critic.shape == (20, 50)
    u = rule.sample_parameters(jax.random.key(1), jnp.float64)
    assert u.shape == (100,)
    for sample in (table.actor, table.critic, u):
        uniform = scipy.stats.uniform(-1, 2).cdf
        assert scipy.stats.kstest(np.ravel(sample), uniform).pvalue > 1e-3
    correlation = np.corrcoef(np.ravel(table.actor)[:1000], np.ravel(table.critic))[0, 1]
    assert abs(correlation) < 5 / np.sqrt(1000)


def test_draw_stays_within_its_sizes():
    rng = np.random.default_rng(0)
    drawn = [ActorCritic.draw(rng, 3) for _ in range(200)]
    assert {(rule.m, rule.d) for rule in drawn} == {(m, d) for m in (1, 2, 3) for d in (1, 2, 3)}
