"""Theorems 3.1 and 3.3: the constructed block is the rule, exactly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from samples import as_window, random_path

from icrl_flax import (
    ActorCritic,
    Sarsa,
    build_prompt,
    construct,
    embed,
    linear_attention,
    readout,
    rescale,
    split,
)
from icrl_flax.rules.actor_critic import ActorCriticFeatures

# (d, m, S, A, n): the smallest of everything, the paper's, and what lies between.
SIZES = [(1, 1, 1, 1, 1), (1, 3, 2, 4, 2), (2, 1, 7, 1, 1), (3, 2, 4, 3, 64), (36, 36, 9, 4, 20)]
SIZES += [tuple(map(int, row)) for row in np.random.default_rng(0).integers(1, 13, (4, 5))]
CASES = 6


def draw_sarsa(rng, d, m, n_states, n_actions):
    rule = Sarsa(d=d, alpha=float(rng.uniform(0.01, 2)))
    return rule, rng.uniform(-1, 1, (CASES, n_states, n_actions, d))


def draw_actor_critic(rng, d, m, n_states, n_actions):
    alpha, beta = rng.uniform(0.01, 2, 2).tolist()
    rule = ActorCritic(m=m, d=d, alpha=alpha, beta=beta)
    return rule, ActorCriticFeatures(
        rng.uniform(-1, 1, (CASES, n_states, n_actions, m)),
        rng.uniform(-1, 1, (CASES, n_states, d)),
    )


def teach(rule, features, u, path):
    """The paper's update in NumPy."""
    if isinstance(rule, Sarsa):
        return reference.sarsa(features, u, rule.alpha, *path)
    return reference.actor_critic(*features, u, rule.alpha, rule.beta, *path)


def run_block(rule, features, u, path, c, free):
    P, V = construct(rule, c, free, jnp.float64)
    tokens = rule.tokens(features, u, as_window(*path))
    return readout(linear_attention(P, V, build_prompt(tokens, u)), rule.q)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("draw", [draw_sarsa, draw_actor_critic], ids=["sarsa", "actor-critic"])
def test_block_is_the_rule(draw, size):
    """Any sizes, values and sequences, c of both signs, junk in every free entry."""
    *sizes, n = size
    _, _, n_states, n_actions = sizes
    rng = np.random.default_rng(size)
    rule, features = draw(rng, *sizes)
    u = rng.uniform(-1, 1, (CASES, rule.q))
    paths = [random_path(rng, n_states, n_actions, n) for _ in range(CASES)]
    stacked = tuple(map(np.stack, zip(*paths, strict=True)))
    c = 10 ** rng.uniform(-1, 1, CASES) * np.resize([1, -1], CASES)
    free = tuple(10 * rng.normal(size=(2, CASES, rule.D, rule.D)))
    answers = jax.jit(jax.vmap(functools.partial(run_block, rule)))(features, u, stacked, c, free)
    for i, answer in enumerate(answers):
        expected = teach(rule, jax.tree.map(lambda x, i=i: x[i], features), u[i], paths[i])
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_sarsa_weights_literally():
    P12, V21 = Sarsa(d=2, alpha=0.3).optimum(jnp.float64)
    np.testing.assert_array_equal(P12, [[0, -1, 0], [0, 0, -1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(V21, [[0.3, 0, 0, 0, 0], [0, 0.3, 0, 0, 0]])


def test_actor_critic_weights_literally():
    P12, V21 = ActorCritic(m=2, d=2, alpha=0.3, beta=0.7).optimum(jnp.float64)
    np.testing.assert_array_equal(
        P12,
        [
            [0, 0, 0, -1, 0],
            [0, 0, 0, 0, -1],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_array_equal(
        V21,
        [
            [0, 0, 0, 0, 0, 0.3, 0],
            [0, 0, 0, 0, 0, 0, 0.3],
            [0.7, 0, 0, 0, 0, 0, 0],
            [0, 0.7, 0, 0, 0, 0, 0],
        ],
    )


@pytest.mark.parametrize("rule", [Sarsa(d=2, alpha=0.3), ActorCritic(m=2, d=2)], ids=repr)
def test_layout_of_the_constructed_matrices(rule):
    c, p, D = -2.5, rule.p, rule.D
    junk = np.random.default_rng(0).normal(size=(2, D, D))
    P12, V21 = rule.optimum(jnp.float64)
    P, V = junk.copy()
    P[:p, p:], P[p:, p:] = c * P12, 0
    V[p + 1 :, :p], V[p + 1 :, p:] = V21 / c, 0
    for built, expected in zip(
        construct(rule, c, tuple(map(jnp.asarray, junk)), jnp.float64), (P, V), strict=True
    ):
        np.testing.assert_array_equal(built, expected)
    default_P, default_V = construct(rule)
    assert default_P.dtype == default_V.dtype == jnp.float32
    for block, expected in zip(
        split(default_P, default_V, p).effective, rule.optimum(jnp.float32), strict=True
    ):
        np.testing.assert_array_equal(block, expected)
    assert (default_P != 0).sum() == (P12 != 0).sum()
    assert (default_V != 0).sum() == (V21 != 0).sum()


def test_rescale_multiplies_and_divides():
    optimum = Sarsa(d=2).optimum(jnp.float64)
    P12, V21 = rescale(optimum, -4.0)
    np.testing.assert_array_equal(P12, -4 * optimum.P12)
    np.testing.assert_array_equal(V21, optimum.V21 / -4)


@pytest.mark.parametrize("draw", [draw_sarsa, draw_actor_critic], ids=["sarsa", "actor-critic"])
def test_every_constrained_entry_matters(draw):
    """P12 and V̄21 entry by entry; P22 and V̄22, whose product alone counts, in pairs."""
    rng = np.random.default_rng(7)
    rule, features = draw(rng, 2, 2, 4, 3)
    features = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), features)
    u, path = rng.uniform(-1, 1, rule.q), random_path(rng, 4, 3, 9)
    tokens = rule.tokens(features, jnp.asarray(u), as_window(*path))
    P, V = construct(rule, 1.5, dtype=jnp.float64)
    p, D = rule.p, rule.D
    expected = teach(rule, jax.tree.map(np.asarray, features), u, path)

    @jax.jit
    @jax.vmap
    def change(dP, dV):
        H = build_prompt(tokens, jnp.asarray(u))
        return jnp.abs(readout(linear_attention(P + dP, V + dV, H), rule.q) - expected).max()

    def one_hot(rows, columns):
        indices = [(i, j) for i in rows for j in columns]
        spots = np.zeros((len(indices), D, D))
        for spot, (i, j) in zip(spots, indices, strict=True):
            spot[i, j] = 0.1
        return spots

    P12, P22 = one_hot(range(p), range(p, D)), one_hot(range(p, D), range(p, D))
    V21, V22 = one_hot(range(p + 1, D), range(p)), one_hot(range(p + 1, D), range(p, D))
    assert (change(P12, 0 * P12) > 1e-5).all()
    assert (change(0 * V21, V21) > 1e-5).all()
    assert (change(P22, 0 * P22) < 1e-13).all()
    assert (change(0 * V22, V22) < 1e-13).all()
    assert (change(P22, V22[:1].repeat(len(P22), axis=0)) > 1e-5).all()
    assert (change(P22[:1].repeat(len(V22), axis=0), V22) > 1e-5).all()


def test_construct_is_the_embedded_optimum():
    rule = Sarsa(d=3)
    P, V = construct(rule, 2.0, dtype=jnp.float64)
    again = embed(rescale(rule.optimum(jnp.float64), 2.0))
    np.testing.assert_array_equal(P, again[0])
    np.testing.assert_array_equal(V, again[1])
    np.testing.assert_array_equal(split(P, V, rule.p).P22, np.zeros((4, 4)))
