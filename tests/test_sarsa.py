"""Eqs. (2) and (4): behaviour, tokens and teacher of batch SARSA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats
from samples import as_window, random_path

from icrl_flax import Sarsa


def test_defaults_are_the_papers():
    rule = Sarsa()
    assert (rule.d, rule.alpha, rule.epsilon) == (36, 0.2, 0.1)
    assert (rule.p, rule.q, rule.D) == (73, 36, 110)
    assert rule.name() == "sarsa"


def test_behaviour_is_epsilon_greedy():
    rng = np.random.default_rng(0)
    phi, w = rng.uniform(-1, 1, (6, 4, 3)), rng.uniform(-1, 1, 3)
    phi[2, 1] = phi[2, 3] = 3 * w  # two best actions in state 2
    pi = Sarsa(d=3, epsilon=0.2).behaviour(jnp.asarray(phi), jnp.asarray(w))
    np.testing.assert_allclose(pi, reference.sarsa_policy(phi, w, 0.2), rtol=1e-14)
    np.testing.assert_allclose(pi[2], [0.05, 0.45, 0.05, 0.45])


@pytest.mark.parametrize("n", [1, 7])
def test_tokens_and_teacher(n):
    rng = np.random.default_rng(n)
    phi, w = rng.uniform(-1, 1, (5, 3, 4)), rng.uniform(-1, 1, 4)
    path = random_path(rng, 5, 3, n)
    rule = Sarsa(d=4, alpha=0.37)
    given = jnp.asarray(phi), jnp.asarray(w), as_window(*path)
    np.testing.assert_allclose(rule.tokens(*given), reference.sarsa_tokens(phi, *path), rtol=1e-14)
    np.testing.assert_allclose(
        rule.teacher(*given), reference.sarsa(phi, w, 0.37, *path), rtol=1e-13
    )


def test_teacher_uses_the_recorded_next_action():
    # One state, φ one-hot in the action: δ = 1 + γ w[a₁] − w[a₀] = 1 + 0.5·20 − 10 = 1.
    window = as_window(np.zeros(2, int), np.array([0, 1]), np.ones(1), 0.5)
    w = jnp.array([10.0, 20.0])
    updated = Sarsa(d=2, alpha=0.25).teacher(jnp.eye(2)[None], w, window)
    np.testing.assert_array_equal(updated, [10.25, 20])


def test_one_hot_features():
    """One parameter for each pair, so that q_w(s, a) is an entry of w."""
    rule = Sarsa(d=6, features="one-hot")
    phi = np.asarray(rule.sample_features(jax.random.key(0), 3, 2, jnp.float64))
    w = np.arange(6.0)
    np.testing.assert_array_equal(phi @ w, [[0, 1], [2, 3], [4, 5]])
    assert phi.sum() == 6


def test_features_and_start_are_uniform():
    rule = Sarsa(d=40)
    phi = rule.sample_features(jax.random.key(0), 9, 4, jnp.float64)
    w = jax.vmap(lambda key: rule.sample_parameters(key, jnp.float64))(
        jax.random.split(jax.random.key(1), 50)
    )
    assert phi.shape == (9, 4, 40)
    assert w.shape == (50, 40)
    for sample in (phi, w):
        uniform = scipy.stats.uniform(-1, 2).cdf
        assert scipy.stats.kstest(np.ravel(sample), uniform).pvalue > 1e-3
    assert rule.sample_parameters(jax.random.key(1), jnp.float32).dtype == jnp.float32


def test_step_sizes_can_be_swept():
    """A rule is a pytree with α and ε as leaves."""
    rng = np.random.default_rng(3)
    phi, w, path = rng.normal(size=(4, 2, 3)), rng.normal(size=3), random_path(rng, 4, 2, 5)
    alphas = np.array([0.1, 0.7])
    rules = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(Sarsa(3, a) for a in alphas.tolist())
    )
    teach = jax.vmap(lambda r: r.teacher(jnp.asarray(phi), jnp.asarray(w), as_window(*path)))
    expected = [reference.sarsa(phi, w, alpha, *path) for alpha in alphas]
    np.testing.assert_allclose(teach(rules), expected, rtol=1e-13)


def test_draw_stays_within_its_sizes():
    rng = np.random.default_rng(0)
    drawn = [Sarsa.draw(rng, 5) for _ in range(200)]
    assert {rule.d for rule in drawn} == {1, 2, 3, 4, 5}
