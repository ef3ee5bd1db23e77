"""Blocks and teachers in closed loop on held-out MDPs."""

import dataclasses
import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import (
    ActorCritic,
    BlockAgent,
    EvaluationConfig,
    LinearAttentionBlock,
    RandomMDPs,
    Sarsa,
    build_prompt,
    construct,
    draw_task,
    evaluate,
    expected_return,
    linear_attention,
    optimal_action_values,
    readout,
    rollout,
)
from icrl_flax.control import oracle_policy, uniform_policy
from icrl_flax.control.closed_loop import closed_loop
from icrl_flax.control.evaluation import CSV_COLUMNS, POLICY_KINDS, draw_tasks, rows
from icrl_flax.control.returns import returns_of

SMALL = [Sarsa(d=5, alpha=0.7), ActorCritic(m=3, d=4, alpha=0.6, beta=0.9)]
FAMILY = RandomMDPs(4, 3, 0.8)
TINY = EvaluationConfig(
    seed=3, n_mdps=3, steps=4, every=2, window_length=6, trajectories=4, length=5
)
rules = pytest.mark.parametrize("rule", SMALL, ids=lambda rule: rule.name())


def in_double(tree):
    """Floating-point leaves as float64."""

    def widen(leaf):
        return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(widen, tree)


@functools.cache
def worlds_and_windows(rule):
    """Twenty random tasks in float64, and what their own behaviour does in each."""

    def one(key):
        task_key, window_key = jax.random.split(key)
        task = draw_task(task_key, rule, FAMILY, jnp.float64)
        behaviour = rule.behaviour(task.features, task.u)
        return task, rollout(window_key, task.mdp, behaviour, task.state, 8)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20))


def each(function):
    """In all tasks at once."""
    return jax.jit(jax.vmap(lambda *arguments: function(*arguments)))


def relative_errors(answers, expected):
    expected = np.asarray(expected)
    return np.abs(answers - expected).max(axis=-1) / np.abs(expected).max(axis=-1)


# One block as an agent


def block_of(rule, P, V):
    return LinearAttentionBlock.from_matrices(P, V, rule.p)


def agent(rule, P, V, layers=1):
    return BlockAgent(rule, block_of(rule, P, V), layers)


@rules
def test_a_constructed_block_is_the_teacher(rule):
    """Any scale; any free entries; after one layer nobody reads those."""
    tasks, windows = worlds_and_windows(rule)
    rng = np.random.default_rng(0)
    taught = each(rule.teacher)(tasks.features, tasks.u, windows)

    @jax.jit
    def answer(c, free):
        learner = agent(rule, *construct(rule, c, free, jnp.float64))
        return jax.vmap(learner)(tasks.features, tasks.u, windows)

    for c in (1.0, -0.3, 7.0):
        answers = answer(c, tuple(rng.normal(size=(2, rule.D, rule.D))))
        assert answers.dtype == jnp.float64
        assert relative_errors(answers, taught).max() <= 1e-12
        assert np.abs(answers - tasks.u).max() > 1e-2


@rules
def test_any_block_answers_as_the_attention_does(rule):
    tasks, windows = worlds_and_windows(rule)
    P, V = map(jnp.asarray, np.random.default_rng(1).normal(size=(2, rule.D, rule.D)))
    answers = each(agent(rule, P, V))(tasks.features, tasks.u, windows)

    def attend(features, u, window):
        H = build_prompt(rule.tokens(features, u, window), u)
        return readout(linear_attention(P, V, H), rule.q)

    expected = each(attend)(tasks.features, tasks.u, windows)
    assert relative_errors(answers, expected).max() <= 1e-12


LAYERS = (3, 16)


@pytest.mark.parametrize("layers", LAYERS)
def test_layers_are_steps_on_the_same_window(layers):
    rule = SMALL[0]
    tasks, windows = worlds_and_windows(rule)
    learner = agent(rule, *construct(rule, dtype=jnp.float64), layers)
    answers = each(learner)(tasks.features, tasks.u, windows)
    teach, u = each(rule.teacher), tasks.u
    for _ in range(layers):
        before, u = u, teach(tasks.features, u, windows)
    assert relative_errors(answers, u).max() <= 1e-10
    assert relative_errors(before, u).max() > 1e-3


def test_layers_of_the_actor_critic_keep_the_first_scores():
    """Its tokens hold g_λ, which later layers do not renew: the critic steps, the actor sums."""
    rule = SMALL[1]
    tasks, windows = worlds_and_windows(rule)
    for layers in LAYERS:
        learner = agent(rule, *construct(rule, dtype=jnp.float64), layers)
        answers = each(learner)(tasks.features, tasks.u, windows)
        for i, answer in enumerate(answers):
            task, window = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), (tasks, windows))
            path = (window.states, window.actions, window.rewards, float(window.gamma))
            first, u = task.u[: rule.m], np.array(task.u)
            for _ in range(layers):
                frozen = np.concatenate([first, u[rule.m :]])
                u -= frozen
                u += reference.actor_critic(*task.features, frozen, rule.alpha, rule.beta, *path)
            assert relative_errors(answer, u) <= 1e-10


@rules
def test_layers_are_a_stack_of_attention(rule):
    """With zeros in the free entries, the whole output of one layer is the next one's prompt."""
    tasks, windows = worlds_and_windows(rule)
    P, V = construct(rule, 2.0, dtype=jnp.float64)

    @each
    def stacked(features, u, window):
        H = build_prompt(rule.tokens(features, u, window), u)
        for _ in range(6):
            H = linear_attention(P, V, H)
        return readout(H, rule.q)

    answers = each(agent(rule, P, V, 6))(tasks.features, tasks.u, windows)
    expected = stacked(tasks.features, tasks.u, windows)
    assert relative_errors(answers, expected).max() <= 1e-10


@pytest.mark.parametrize("name", ["P", "V"])
def test_weights_of_another_size(name, unchecked):
    rule = SMALL[0]
    right, wrong = jnp.zeros((rule.D, rule.D)), jnp.zeros((rule.D + 1, rule.D + 1))
    # A block has P's size; that of the rule is asked of it where the two meet.
    size, other = (rule.D, rule.D + 1) if name == "V" else (rule.D + 1, rule.D)
    message = rf"V must have shape \({size}, {size}\), got \({other}, {other}\)"
    weights = {"P": right, "V": right} | {name: wrong}
    with pytest.raises(ValueError, match=message):
        agent(rule, **weights)
    with pytest.raises(ValueError, match=message):
        evaluate(rule, block_of(rule, **weights), FAMILY, TINY)


def test_a_block_of_another_rule():
    rule, larger = SMALL[0], jnp.zeros((SMALL[0].D + 1, SMALL[0].D + 1))
    message = rf"^P must have shape \({rule.D}, {rule.D}\), got \({rule.D + 1}, {rule.D + 1}\)"
    with pytest.raises(ValueError, match=message):
        agent(rule, larger, larger)
    with pytest.raises(ValueError, match=message):
        evaluate(rule, block_of(rule, larger, larger), FAMILY, TINY)


def test_weights_that_are_not_finite():
    rule = SMALL[0]
    zeros = jnp.zeros((rule.D, rule.D))
    with pytest.raises(ValueError, match=r"block must be finite, got nan at index \(2, 3\)"):
        agent(rule, zeros, zeros.at[2, 3].set(jnp.nan))


@pytest.mark.parametrize("layers", [0, -1, True])
def test_number_of_layers(layers):
    zeros = jnp.zeros((SMALL[0].D, SMALL[0].D))
    with pytest.raises(ValueError, match=f"layers must be an integer of at least 1, got {layers}"):
        agent(SMALL[0], zeros, zeros, layers)


# The protocol


def test_defaults_are_the_papers():
    config = EvaluationConfig()
    assert (config.n_mdps, config.every, config.window_length) == (100, 10, 20)
    assert (config.trajectories, config.length) == (32, 50)


@pytest.mark.parametrize("value", [0, -3, 2.0, True], ids=repr)
@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(EvaluationConfig)])
def test_bad_configuration(name, value, unchecked):
    allowed = "0 and below 2**63" if name == "seed" else "1"
    if (name, value) == ("seed", 0):
        return
    message = f"{name} must be an integer of at least {allowed}, got {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        EvaluationConfig(**{name: value})


@pytest.mark.parametrize(
    ("steps", "every", "points"),
    [(4, 2, [0, 2, 4]), (5, 2, [0, 2, 4]), (3, 1, [0, 1, 2, 3]), (2, 5, [0])],
)
def test_points(steps, every, points):
    config = EvaluationConfig(steps=steps, every=every)
    np.testing.assert_array_equal(config.points, points)


@rules
def test_held_out_worlds(rule):
    tasks, keys = draw_tasks(rule, FAMILY, TINY)
    assert tasks.mdp.transition.shape == (3, 4, 3, 4)
    assert tasks.mdp.reward.dtype == tasks.u.dtype == jnp.float32
    assert tasks.u.shape == (3, rule.q)
    assert keys.shape == (3,)
    # No two tasks, and no two keys, are the same.
    for leaf in (tasks.mdp.reward, tasks.u, jax.random.key_data(keys)):
        assert len(np.unique(np.asarray(leaf).reshape(3, -1), axis=0)) == 3


def world_bytes(rule, config, family=FAMILY):
    tasks, keys = draw_tasks(rule, family, config)
    leaves = [*jax.tree.leaves(tasks), jax.random.key_data(keys)]
    return [np.asarray(leaf).tobytes() for leaf in leaves]


def test_held_out_worlds_depend_on_the_seed_alone():
    rule = SMALL[0]
    first = world_bytes(rule, TINY)
    same = dataclasses.replace(TINY, steps=9, every=3, trajectories=7, length=2, window_length=1)
    assert world_bytes(rule, same) == first
    other = world_bytes(rule, dataclasses.replace(TINY, seed=4))
    # γ is the family's; the states at which tasks start may coincide.
    assert sum(a != b for a, b in zip(other, first, strict=True)) >= len(first) - 2
    tasks, _ = draw_tasks(rule, config=TINY)
    assert tasks.mdp.transition.shape == (3, 9, 4, 9)
    assert (tasks.mdp.gamma == 0.5).all()


def test_held_out_keys_are_not_those_of_training():
    """Training splits jax.random.key(seed) itself, and splits that again."""
    _, keys = draw_tasks(SMALL[0], FAMILY, TINY)
    n_mdps = set(map(tuple, jax.random.key_data(keys).tolist()))
    for number in (2, 3, 4):
        training = jax.random.split(jax.random.key(TINY.seed), number)
        for again in jax.vmap(lambda key: jax.random.split(key, TINY.n_mdps))(training):
            assert n_mdps.isdisjoint(map(tuple, jax.random.key_data(again).tolist()))
        assert n_mdps.isdisjoint(map(tuple, jax.random.key_data(training).tolist()))


# In closed loop


@pytest.mark.parametrize("rule", [Sarsa(), ActorCritic()], ids=lambda rule: rule.name())
def test_a_constructed_block_stays_finite_in_float32(rule):
    """XLA's CPU compiler once made garbage of the products with P22 = V̄22 = 0."""
    # In the actor-critic, where a jitted closure makes the block a constant.
    with jax.enable_x64(False):
        tasks, keys = draw_tasks(rule, config=EvaluationConfig(n_mdps=100))
        learner = agent(rule, *construct(rule))
        captured = jax.jit(lambda keys, tasks: closed_loop(keys, tasks, rule, learner, 15, 20))
        taught = closed_loop(keys, tasks, rule, rule.teacher, 15, 20)
        for history in (closed_loop(keys, tasks, rule, learner, 15, 20), captured(keys, tasks)):
            assert history.dtype == jnp.float32
            assert history.shape == (100, 16, rule.q)
            assert np.isfinite(history).all()
            assert np.abs(history).max() < 10
            # Where rounding changes an argmax or a draw, a task goes its own way.
            errors = np.abs(history - taught).max(axis=(1, 2))
            assert (errors < 1e-4).mean() > 0.9


@rules
def test_block_and_teacher_see_the_same_worlds(rule):
    """Shared keys: the same windows, hence the same parameters, for hundreds of windows."""
    tasks, keys = draw_tasks(rule, FAMILY, EvaluationConfig(seed=1, n_mdps=6))
    tasks = in_double(tasks)
    learner = agent(rule, *construct(rule, -1.5, dtype=jnp.float64))
    block = closed_loop(keys, tasks, rule, learner, 300, 10)
    teacher = closed_loop(keys, tasks, rule, rule.teacher, 300, 10)
    assert block.dtype == jnp.float64
    np.testing.assert_allclose(block, teacher, rtol=0, atol=1e-9)
    assert np.abs(teacher[:, 300] - teacher[:, 299]).max() > 1e-4


@rules
def test_history(rule):
    tasks, keys = draw_tasks(rule, FAMILY, TINY)
    history = closed_loop(keys, tasks, rule, rule.teacher, 7, 6)
    assert history.shape == (3, 8, rule.q)
    np.testing.assert_array_equal(history[:, 0], tasks.u)
    # Fewer windows of other random numbers: only the start is shared.
    other = closed_loop(keys[::-1], tasks, rule, rule.teacher, 7, 6)
    np.testing.assert_array_equal(other[:, 0], tasks.u)
    assert (other[:, 1] != history[:, 1]).any()
    np.testing.assert_array_equal(closed_loop(keys, tasks, rule, rule.teacher, 7, 6), history)


@rules
def test_windows_follow_one_another(rule):
    """A learner that watches: each window starts where the one before it ended."""
    tasks, keys = draw_tasks(rule, FAMILY, TINY)

    def watch(features, u, window):
        return u.at[0].set(window.states[0]).at[1].set(window.states[-1])

    history = np.asarray(closed_loop(keys, tasks, rule, watch, 12, 3))
    np.testing.assert_array_equal(history[:, 1, 0], tasks.state)
    np.testing.assert_array_equal(history[:, 2:, 0], history[:, 1:-1, 1])
    assert len(np.unique(history[:, 1:, 1])) > 1


@rules
def test_the_answer_sets_the_behaviour(rule):
    """A learner of fixed answers: actions follow the policy of the last answer."""
    rule = eqx.tree_at(lambda rule: rule.epsilon, rule, 0.0)
    tasks, keys = draw_tasks(rule, FAMILY, dataclasses.replace(TINY, n_mdps=5))

    def learner(features, u, window):
        behaviour = rule.behaviour(features, u)
        chances = behaviour[window.states, window.actions]
        # Parameters on which the policy depends sharply; another entry keeps the record.
        return (u * -40 / jnp.abs(u).max()).at[-1].set(chances.min())

    history = closed_loop(keys, tasks, rule, learner, 10, 8)
    assert (history[:, 1:, -1] > 0).all()
    if rule.name() == "sarsa":
        np.testing.assert_array_equal(history[:, 1:, -1], np.ones((5, 10)))


# Returns


def moments(mdp, policy):
    """Mean and variance of the discounted return, from their linear systems."""
    P, r, pi = (np.asarray(x, np.float64) for x in (mdp.transition, mdp.reward, policy))
    gamma, start = float(mdp.gamma), np.asarray(mdp.initial, np.float64)
    chain = np.einsum("sa,sat->st", pi, P)
    eye = np.eye(len(chain))
    value = np.linalg.solve(eye - gamma * chain, np.einsum("sa,sat,sat->s", pi, P, r))
    square = np.einsum("sa,sat,sat->s", pi, P, r**2 + 2 * gamma * r * value)
    second = np.linalg.solve(eye - gamma**2 * chain, square)
    return start @ value, start @ second - (start @ value) ** 2


def test_returns_and_their_spread():
    config = EvaluationConfig(n_mdps=3, trajectories=4000, length=40)
    tasks, _ = draw_tasks(SMALL[0], RandomMDPs(4, 3, 0.6), config)
    policies = np.random.default_rng(0).dirichlet(np.ones(3), (2, 3, 4))
    found = returns_of(
        jax.random.key(0),
        tasks.mdp,
        jnp.asarray(policies, jnp.float32),
        config.trajectories,
        config.length,
    )
    assert {leaf.shape for leaf in found} == {(2, 3)}
    for point, task in np.ndindex(2, 3):
        mdp = jax.tree.map(lambda leaf, i=task: leaf[i], tasks.mdp)
        mean, variance = moments(mdp, policies[point, task])
        assert found.exact[point, task] == pytest.approx(mean, abs=1e-5)
        assert found.variance[point, task] == pytest.approx(variance, rel=0.15)
        error = abs(found.monte_carlo[point, task] - mean)
        assert 0 < error < 4.5 * (variance / config.trajectories) ** 0.5
    # No two estimates share their random numbers.
    assert len(np.unique(found.monte_carlo - found.exact)) == 6


def test_estimates_are_independent_of_one_another():
    """One policy at two points and in two equal MDPs: four different samples."""
    tasks, _ = draw_tasks(SMALL[0], FAMILY, TINY)
    twins = jax.tree.map(lambda leaf: jnp.stack([leaf[0], leaf[0]]), tasks.mdp)
    policies = jnp.full((2, 2, 4, 3), 1 / 3, jnp.float32)
    found = returns_of(jax.random.key(0), twins, policies, TINY.trajectories, TINY.length)
    assert len(np.unique(found.exact)) == 1
    assert len(np.unique(found.monte_carlo)) == 4


def test_oracle_and_uniform():
    mdp = FAMILY.sample(jax.random.key(0), jnp.float64)
    best = np.asarray(optimal_action_values(mdp, 1e-10)).argmax(axis=1)
    np.testing.assert_array_equal(oracle_policy(mdp), np.eye(3)[best])
    np.testing.assert_array_equal(uniform_policy(mdp), np.full((4, 3), 1 / 3))
    assert uniform_policy(mdp).dtype == jnp.float64


@functools.cache
def tiny_evaluation(rule):
    """A block at some distance from the construction, so that it is not the teacher."""
    P, V = construct(rule)
    return evaluate(rule, block_of(rule, P, 0.5 * V), FAMILY, TINY)


@rules
def test_evaluation_has_every_contender(rule):
    evaluation = tiny_evaluation(rule)
    np.testing.assert_array_equal(evaluation.points, [0, 2, 4])
    learners = {(name, reading) for name in ("block", "teacher") for reading in POLICY_KINDS}
    assert set(evaluation.returns) == learners | {
        ("oracle", "policy"),
        ("uniform", "policy"),
    }
    assert set(POLICY_KINDS) == {"policy", "behaviour"}
    for name, returns in evaluation.returns.items():
        for leaf in returns:
            assert isinstance(leaf, np.ndarray)
            assert leaf.shape == ((3, 3) if name in learners else (1, 3))
            assert np.isfinite(leaf).all()
        assert (returns.variance > 0).all()


@rules
def test_exact_returns_are_those_of_the_frozen_iterates(rule):
    evaluation = tiny_evaluation(rule)
    tasks, keys = draw_tasks(rule, FAMILY, TINY)
    P, V = construct(rule)
    expected = {name: np.zeros((3, 3)) for name in evaluation.returns}
    for name, learner in (("block", agent(rule, P, 0.5 * V)), ("teacher", rule.teacher)):
        history = closed_loop(keys, tasks, rule, learner, TINY.steps, TINY.window_length)
        for point, task in np.ndindex(3, 3):
            mdp, features = jax.tree.map(lambda x, i=task: x[i], (tasks.mdp, tasks.features))
            u = history[task, TINY.points[point]]
            target, acting = rule.policy(features, u), rule.behaviour(features, u)
            expected[name, "policy"][point, task] = expected_return(mdp, target)
            expected[name, "behaviour"][point, task] = expected_return(mdp, acting)
    for task in range(3):
        mdp = jax.tree.map(lambda x, i=task: x[i], tasks.mdp)
        expected["oracle", "policy"][:, task] = expected_return(mdp, oracle_policy(mdp))
        expected["uniform", "policy"][:, task] = expected_return(mdp, uniform_policy(mdp))
    for name, returns in evaluation.returns.items():
        np.testing.assert_allclose(
            returns.exact, expected[name][: len(returns.exact)], rtol=0, atol=2e-6, err_msg=name
        )
    block, teacher = (evaluation.returns[name, "policy"].exact for name in ("block", "teacher"))
    np.testing.assert_allclose(block[0], teacher[0], rtol=0, atol=1e-6)
    if rule.name() == "actor-critic":  # whose policy moves with every step
        assert np.abs(block[1:] - teacher[1:]).min() > 1e-5


@rules
def test_nobody_beats_the_oracle(rule):
    returns = tiny_evaluation(rule).returns
    best = returns["oracle", "policy"].exact
    assert (best > returns["uniform", "policy"].exact + 1e-3).all()
    for contender in returns.values():
        assert (best >= contender.exact - 1e-5).all()


def test_a_constructed_block_evaluates_as_its_teacher():
    rule = SMALL[1]
    returns = evaluate(rule, block_of(rule, *construct(rule)), FAMILY, TINY).returns
    for reading in POLICY_KINDS:
        block, teacher = returns["block", reading], returns["teacher", reading]
        np.testing.assert_allclose(block.exact, teacher.exact, rtol=0, atol=1e-5)
        # Common random numbers end with the closed loop: the estimates are separate samples.
        assert (block.monte_carlo != teacher.monte_carlo).all()


def test_evaluation_repeats():
    rule = SMALL[1]
    P, V = construct(rule)
    again = evaluate(rule, block_of(rule, P, 0.5 * V), FAMILY, TINY)
    for name, returns in tiny_evaluation(rule).returns.items():
        for mine, other in zip(returns, again.returns[name], strict=True):
            np.testing.assert_array_equal(mine, other)


@rules
def test_rows(rule):
    evaluation = tiny_evaluation(rule)
    assert CSV_COLUMNS == ("agent", "policy_kind", "estimator", "step", "mdp", "return")
    table = list(rows(evaluation))
    # 2 agents × 2 policy kinds × 2 estimators × 3 points × 3 MDPs; 2 × 2 × 3 of fixed policies.
    assert len(table) == 72 + 12
    assert len({row[:5] for row in table}) == len(table)
    for name, policy_kind, estimator, step, mdp, value in table:
        returns = evaluation.returns[name, policy_kind]
        point = [0, 2, 4].index(step)
        assert value == getattr(returns, estimator)[point, mdp]
        assert [type(x) for x in (step, mdp, value)] == [int, int, float]
    assert {row[3] for row in table if row[0] == "oracle"} == {0}
    assert {row[3] for row in table if row[0] == "block"} == {0, 2, 4}
