"""An agent beside its teacher: distances, and the first action that differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import (
    ActorCritic,
    BlockAgent,
    EvaluationConfig,
    LinearAttentionBlock,
    Sarsa,
    construct,
)
from icrl_flax.control import closed_loop, draw_tasks, interact, track

STEPS, N, MDPS = 40, 6, 12


@pytest.fixture(params=[Sarsa, ActorCritic], ids=lambda kind: kind.__name__)
def setting(request):
    """A rule, tasks, keys and a block that is its teacher up to an error of some per cent."""
    rule = request.param()
    tasks, keys = draw_tasks(rule, config=EvaluationConfig(n_mdps=MDPS))
    P, V = construct(rule, dtype=jnp.float32)
    block = LinearAttentionBlock.from_matrices(P, V * 1.02, rule.p)
    return rule, tasks, keys, BlockAgent(rule, block)


def test_closed_loop_distances_are_those_of_two_closed_loops(setting):
    rule, tasks, keys, agent = setting
    found = track(keys, tasks, rule, agent, STEPS, N)
    block, teacher = (
        closed_loop(keys, tasks, rule, each, STEPS, N) for each in (agent, rule.teacher)
    )
    expected = np.linalg.norm(block - teacher, axis=-1)[:, 1:]
    np.testing.assert_allclose(found.closed, expected, rtol=1e-3, atol=1e-5)


def test_the_departure_is_the_first_window_with_another_action(setting):
    rule, tasks, keys, agent = setting
    departure = track(keys, tasks, rule, agent, STEPS, N).departure

    def windows(agent):
        one = jax.vmap(lambda key, task: interact(key, task, rule, agent, STEPS, N))
        return one(keys, tasks)

    (before, theirs, _), (mine, ours, _) = windows(rule.teacher), windows(agent)
    differ = np.asarray(theirs.actions != ours.actions)
    left = differ.any((1, 2))
    assert left.sum() > 0
    first = np.where(left, differ.any(2).argmax(1), STEPS)
    np.testing.assert_array_equal(departure.window, first)
    for k in np.flatnonzero(left):
        at = differ[k, first[k]].argmax()
        assert departure.state[k] == theirs.states[k, first[k], at]
        np.testing.assert_allclose(departure.teacher_u[k], before[k, first[k]], rtol=1e-5)
        np.testing.assert_allclose(departure.agent_u[k], mine[k, first[k]], rtol=1e-4, atol=1e-5)


def test_the_teacher_never_leaves_itself(setting):
    rule, tasks, keys, _ = setting
    found = track(keys, tasks, rule, rule.teacher, STEPS, N)
    assert (found.departure.window == STEPS).all()
    assert (found.closed == 0).all()
    assert (found.open == 0).all()
    assert (found.departure.expected < 1e-3).all()


def test_departures_come_as_often_as_expected():
    rule = ActorCritic()
    tasks, keys = draw_tasks(rule, config=EvaluationConfig(n_mdps=400))
    P, V = construct(rule, dtype=jnp.float32)
    agent = BlockAgent(rule, LinearAttentionBlock.from_matrices(P, V * 1.02, rule.p))
    departure = track(keys, tasks, rule, agent, STEPS, N).departure
    left = np.asarray(departure.window < STEPS, float)
    excess = left - np.asarray(departure.expected)
    assert 0.2 < left.mean() < 1
    assert abs(excess.mean()) < 4 * excess.std() / np.sqrt(len(excess))


@pytest.mark.parametrize("name", ["steps", "n"])
def test_counts_are_checked(setting, name):
    rule, tasks, keys, agent = setting
    counts = {"steps": 2, "n": 2} | {name: 0}
    with pytest.raises(ValueError, match=f"{name} .*0"):
        track(keys, tasks, rule, agent, **counts)
