"""Algorithms 1 and 2 as a whole, at the paper's sizes, done again in NumPy.

NumPy is given the MDPs, the features, the first parameters and the uniform random
numbers; the policies, windows, prompts, teachers, losses, gradients and updates
are its own (tests/reference.py, by the paper's equations, in float64).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import (
    ActorCritic,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    draw_task,
    stream,
    train_iter,
)
from icrl_flax.attention import Matrices
from icrl_flax.training import initial_block, loop, sample_loss

RULES = {"sarsa": Sarsa(), "actor-critic": ActorCritic()}
FAMILY = RandomMDPs()
# The paper's experiment, but for its length: the rate falls once in these 100 updates.
CONFIG = TrainingConfig(seed=3, mdps=20, windows=5, dtype="float64")


@pytest.fixture(scope="module", params=RULES)
def rule(request):
    return RULES[request.param]


@pytest.fixture(scope="module")
def by_numpy(rule):
    """Tokens, u and target of each of the 100 windows."""
    _, data_key = jax.random.split(jax.random.key(CONFIG.seed))
    draw = jax.jit(lambda key: draw_task(key, rule, FAMILY, jnp.float64))
    n, examples = CONFIG.window_length, []
    for k in range(CONFIG.mdps):
        task_key, window_key = jax.random.split(jax.random.fold_in(data_key, k))
        task = draw(task_key)
        uniforms = [
            np.asarray(jax.random.uniform(key, (n + 1, 2), jnp.float64))
            for key in jax.random.split(window_key, CONFIG.windows)
        ]
        mdp = task.mdp
        given = map(np.asarray, (task.u, task.state, mdp.transition, mdp.reward, mdp.gamma))
        if isinstance(rule, Sarsa):
            phi = np.asarray(task.features)
            life = reference.sarsa_life(phi, *given, rule.alpha, rule.epsilon, uniforms)
        else:
            phi = map(np.asarray, task.features)
            life = reference.actor_critic_life(
                *phi, *given, rule.alpha, rule.beta, rule.epsilon, uniforms
            )
        examples += life
    return examples


def test_windows_and_targets(rule, by_numpy):
    _, data_key = jax.random.split(jax.random.key(CONFIG.seed))
    examples = stream(
        data_key, jnp.arange(CONFIG.mdps), rule, FAMILY, CONFIG.windows, 20, jnp.float64
    )
    parts = (x.reshape(-1, *x.shape[2:]) for x in (examples.tokens, examples.u, examples.target))
    for found, expected in zip(parts, zip(*by_numpy, strict=True), strict=True):
        np.testing.assert_allclose(found, np.array(expected), rtol=0, atol=1e-12)


def test_first_hundred_updates(rule, by_numpy, monkeypatch):
    monkeypatch.setattr(loop, "_CHUNK_WINDOWS", CONFIG.updates)
    start, end = train_iter(rule, FAMILY, CONFIG)
    assert end.losses.size == len(by_numpy) == 100
    p, q = rule.p, rule.q
    P, V = np.array(start.P), np.array(start.V)
    adam_P, adam_V = (reference.Adam(1e-3, 0.99, 10 * CONFIG.windows) for _ in range(2))
    for t, example in enumerate(by_numpy):
        assert end.losses[t] == pytest.approx(reference.block_loss(P, V, *example), rel=1e-10)
        P12, V21 = P[:p, p:], V[-q:, :p]
        for_P, for_V = reference.gradients(P12, V21, *example)
        P[:p, p:], V[-q:, :p] = adam_P(P12, for_P), adam_V(V21, for_V)
    for found, expected, before in ((end.P, P, start.P), (end.V, V, start.V)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        assert np.abs(expected - before).max() > 0.02  # twenty whole steps


def gradient(block):
    """Of the loss of one window, as training takes it."""

    @jax.jit
    @jax.grad
    def of(theta, tokens, u, target):
        return sample_loss(block.with_theta(theta).update(tokens, u), target)

    return of


@pytest.mark.parametrize("small", [Sarsa(d=2), ActorCritic(m=1, d=2)], ids=repr)
def test_gradients(small):
    """Of all entries of P and V: by JAX, and from differences of the loss in NumPy.

    And of the four blocks of Lemma C.1, none of them 0, in closed form.
    """
    rng = np.random.default_rng(0)
    P, V = rng.normal(size=(2, small.D, small.D))
    example = rng.normal(size=(5, small.p)), *rng.normal(size=(2, small.q))
    config = TrainingConfig(parameters="full", dtype="float64")
    block = initial_block(jax.random.key(0), small, config)
    theta = Matrices(jnp.asarray(P), jnp.asarray(V))

    found = gradient(block)(theta, *map(jnp.asarray, example))
    slopes = reference.difference_quotients(
        lambda P, V: reference.block_loss(P, V, *example), P, V
    )
    for by_jax, by_differences in zip(found, slopes, strict=True):
        size = np.abs(by_differences).max()
        np.testing.assert_allclose(by_jax, by_differences, rtol=0, atol=1e-10 * size)
    closed = reference.full_gradients(P, V, *example)
    for by_jax, by_hand in zip(found, closed, strict=True):
        np.testing.assert_allclose(by_jax, by_hand, rtol=0, atol=1e-12 * np.abs(by_hand).max())


@pytest.mark.parametrize("share", [0, 1])
def test_gradients_of_the_run(rule, by_numpy, share):
    """Of θ_eff alone, at the paper's sizes, at the start and near the optimum, in closed form."""
    block = initial_block(jax.random.key(1), rule, TrainingConfig(dtype="float64"))
    theta = jax.tree.map(lambda x, o: x + share * o, block.theta, rule.optimum(jnp.float64))

    differentiate = gradient(block)
    for example in by_numpy[::25]:
        found = differentiate(theta, *map(jnp.asarray, example))
        expected = reference.gradients(*map(np.asarray, theta), *example)
        for by_jax, by_hand in zip(found, expected, strict=True):
            size = np.abs(by_hand).max()
            np.testing.assert_allclose(by_jax, by_hand, rtol=0, atol=1e-12 * size)
