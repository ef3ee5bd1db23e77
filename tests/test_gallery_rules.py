"""Each rule of the gallery against a loop over its textbook definition."""

import functools
import inspect

import gallery_loops
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import (
    RandomMDPs,
    Window,
    build_prompt,
    construct,
    draw_task,
    linear_attention,
    readout,
    rollout,
)
from icrl_flax.rules import Rule, discover
from icrl_flax.verification import random_case

GALLERY = {
    name: getattr(gallery_loops, name.replace("-", "_"))
    for name in (
        "differential-sarsa",
        "differential-td",
        "expected-sarsa",
        "gtd2",
        "n-step-sarsa",
        "off-policy-td",
        "reinforce",
        "residual-gradient",
        "sarsa-lambda",
        "td",
        "td-lambda",
        "tdc",
    )
}
RULES = discover()
SIZES, CASES = 4, 250


def path_of(window, k):
    return (
        window.states[k],
        window.actions[k],
        window.rewards[k],
        window.gamma[k],
        window.terminated[k],
    )


@functools.partial(jax.jit, static_argnums=0)
def answers(rule, case):
    """The teacher's answer and the constructed block's, for a batch of cases."""

    def one(case):
        P, V = construct(rule, case.c, case.free, jnp.float64)
        tokens = rule.tokens(case.features, case.u, case.window)
        block = readout(linear_attention(P, V, build_prompt(tokens, case.u)), rule.q)
        return rule.teacher(case.features, case.u, case.window), block

    return jax.vmap(one)(case)


@pytest.mark.parametrize("name", GALLERY)
def test_teacher_and_block_are_the_loop(name):
    """1 000 cases: any sequence, episodes that end anywhere, c and free entries at random."""
    rng = np.random.default_rng(len(name))
    terminations = 0
    for size in range(SIZES):
        rule = RULES[name].draw(rng, 1 if size == 0 else 7)
        n = (1, 2, 9, 14)[size]
        case = random_case(rng, rule, n, CASES)
        ends = rng.uniform(size=(CASES, n)) < rng.choice([0, 0.3], (CASES, 1))
        terminations += ends.sum()
        window = Window(
            case.window.states, case.window.actions, case.window.rewards, case.window.gamma, ends
        )
        case = type(case)(case.features, case.u, window, case.c, case.free)
        teacher, block = answers(rule, jax.tree.map(jnp.asarray, case))
        for k in range(CASES):
            features = jax.tree.map(lambda leaf, k=k: leaf[k], case.features)
            expected = GALLERY[name](rule, features, case.u[k], path_of(window, k))
            bound = 1e-12 * np.abs(expected).max()
            np.testing.assert_allclose(teacher[k], expected, rtol=0, atol=bound)
            np.testing.assert_allclose(block[k], expected, rtol=0, atol=bound)
            # It says something: the rule does move its parameters.
            assert np.abs(expected - case.u[k]).max() > 1e-8
    assert terminations > 100


@pytest.mark.parametrize("name", RULES)
def test_rules_are_final(name):
    """What a rule computes is in its file and in abstract bases: it overrides no other rule."""
    for base in RULES[name].__mro__[1:]:
        if issubclass(base, Rule):
            assert inspect.isabstract(base)


@pytest.mark.parametrize("name", [*GALLERY, "sarsa", "actor-critic"])
def test_a_window_of_another_mdp_is_refused(name):
    """JAX would read the last row of the table instead."""
    rule = RULES[name]()
    features = rule.sample_features(jax.random.key(0), 6, 4, jnp.float64)
    u = rule.sample_parameters(jax.random.key(1), jnp.float64)

    def window(state, action):
        return Window(np.array([0, 1, state]), np.array([3, action, 0]), np.ones(2), 0.5, [0, 0])

    for method in (rule.tokens, rule.teacher):
        method(features, u, window(5, 3))
        with pytest.raises(ValueError, match=r"^states must lie in \[0, 6\), got 17$"):
            method(features, u, window(17, 0))
        with pytest.raises(ValueError, match=r"^actions must lie in \[0, 4\), got 4$"):
            method(features, u, window(5, 4))


SWEEPABLE = sorted(set(GALLERY) - {"expected-sarsa", "reinforce"} | {"sarsa"})


@pytest.mark.parametrize("name", SWEEPABLE)
def test_forty_layers_are_forty_sweeps(name):
    """Tokens that do not depend on u: L blocks are L sweeps over the window."""
    rule = RULES[name]()
    keys = jax.random.split(jax.random.key(0), 20)

    @jax.jit
    @jax.vmap
    def error(key):
        task = draw_task(key, rule, RandomMDPs(), jnp.float64)
        behaviour = rule.behaviour(task.features, task.u)
        window = rollout(key, task.mdp, behaviour, task.state, 20)
        P, V = construct(rule, 0.7, dtype=jnp.float64)
        tokens = rule.tokens(task.features, task.u, window)
        H = jax.lax.fori_loop(
            0, 40, lambda _, H: linear_attention(P, V, H), build_prompt(tokens, task.u)
        )
        u = jax.lax.fori_loop(0, 40, lambda _, u: rule.teacher(task.features, u, window), task.u)
        again = rule.tokens(task.features, u, window)
        apart = jnp.abs(readout(H, rule.q) - u).max() / jnp.abs(u).max()
        return apart, jnp.abs(again - tokens).max(), jnp.abs(u - task.u).max()

    apart, stale, moved = error(keys)
    assert apart.max() <= 1e-9
    assert stale.max() == 0
    assert moved.min() > 1e-2


@pytest.mark.parametrize("name", ["expected-sarsa", "reinforce", "actor-critic"])
def test_where_tokens_hold_the_policy_they_age(name):
    rule = RULES[name]()
    task = draw_task(jax.random.key(0), rule, RandomMDPs(), jnp.float64)
    behaviour = rule.behaviour(task.features, task.u)
    window = rollout(jax.random.key(1), task.mdp, behaviour, task.state, 20)
    then = rule.tokens(task.features, task.u, window)
    now = rule.tokens(task.features, -task.u, window)
    assert jnp.abs(now - then).max() > 1e-2


@pytest.mark.parametrize(
    ("name", "values", "p_norm", "v_norm"),
    [
        ("td", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("td-lambda", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("sarsa-lambda", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("n-step-sarsa", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("expected-sarsa", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("off-policy-td", {"d": 3, "alpha": 0.5}, 7, 0.25 * 3),
        ("residual-gradient", {"d": 3, "alpha": 0.5}, 7, 0.25 * 6),
        ("differential-td", {"d": 3, "alpha": 0.5, "beta": 2.0}, 8, 0.25 * 3 + 4),
        ("differential-sarsa", {"d": 3, "alpha": 0.5, "beta": 2.0}, 8, 0.25 * 3 + 4),
        ("reinforce", {"d": 3, "m": 2, "alpha": 0.5, "beta": 2.0}, 4, 0.25 * 2 + 4 * 3),
        ("gtd2", {"d": 3, "alpha": 0.5, "beta": 2.0}, 10, 0.25 * 6 + 4 * 6),
        ("tdc", {"d": 3, "alpha": 0.5, "beta": 2.0}, 10, 0.25 * 6 + 4 * 6),
    ],
)
def test_norms_of_the_construction(name, values, p_norm, v_norm):
    P12, V21 = RULES[name](**values).optimum(jnp.float64)
    assert float((P12**2).sum()) == pytest.approx(p_norm, rel=1e-14)
    assert float((V21**2).sum()) == pytest.approx(v_norm, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("td", {"d": 0}, "d must be"),
        ("td", {"alpha": 0.0}, "alpha must be"),
        ("td", {"epsilon": 2.0}, "epsilon must lie"),
        ("td-lambda", {"lam": 1.5}, "lam must lie"),
        ("sarsa-lambda", {"lam": -0.1}, "lam must lie"),
        ("n-step-sarsa", {"k": 0}, "k must be"),
        ("differential-td", {"beta": 0.0}, "beta must be"),
        ("differential-sarsa", {"beta": 0.0}, "beta must be"),
        ("gtd2", {"beta": -1.0}, "beta must be"),
        ("tdc", {"beta": -1.0}, "beta must be"),
        ("tdc", {"alpha": -1.0}, "alpha must be"),
    ],
)
def test_bad_values_are_named(name, option, message):
    with pytest.raises(ValueError, match=message):
        RULES[name](**option)


def test_limits_are_the_simpler_rules():
    rng = np.random.default_rng(0)
    td, sarsa = RULES["td"](d=3), RULES["sarsa"](d=3)
    for simple, same in (
        (td, RULES["td-lambda"](d=3, lam=0.0)),
        (td, RULES["off-policy-td"](d=3, epsilon=0.0)),
        (sarsa, RULES["sarsa-lambda"](d=3, lam=0.0)),
        (sarsa, RULES["n-step-sarsa"](d=3, k=1)),
    ):
        case = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), random_case(rng, simple, 6))
        given = case.features, case.u, case.window
        np.testing.assert_allclose(same.teacher(*given), simple.teacher(*given), rtol=1e-12)


def test_policies_that_prediction_draws_are_dirichlet():
    rule = RULES["td"]()
    keys = jax.random.split(jax.random.key(0), 4000)
    features = jax.vmap(lambda key: rule.sample_features(key, 2, 3, jnp.float64))(keys)
    pi = np.asarray(jax.vmap(rule.policy, (0, None))(features, jnp.zeros(9)))[:, 0]
    np.testing.assert_allclose(pi.mean(0), 1 / 3, atol=0.02)
    np.testing.assert_allclose(pi.var(0), 1 / 18, atol=0.004)  # of Dirichlet(1, 1, 1)
