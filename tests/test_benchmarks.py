"""The benchmarks run, and what they compare with is the same computation. Nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import eager, floor, suite
from icrl_flax import ActorCritic, Effective, EffectiveBlock, Examples, Sarsa, TrainingConfig, fit
from icrl_flax.experience.window import Window
from icrl_flax.rules.actor_critic import ActorCriticFeatures

ROOT = Path(__file__).resolve().parent.parent
PAIRS = [(Sarsa(), eager.Sarsa()), (ActorCritic(), eager.ActorCritic())]


@pytest.fixture(params=PAIRS, ids=lambda pair: pair[0].name())
def pair(request):
    return request.param


def windows(rule, count):
    """The life of an eager MDP, as the library's arguments."""
    rng = np.random.default_rng(1)
    mdp = eager.draw_mdp(rng)
    features, u = rule.draw_features(rng, mdp), rng.uniform(-1, 1, rule.q)
    state = eager.choose(rng, mdp.initial)
    for _ in range(count):
        behaviour = rule.behaviour(features, u)
        window = eager.rollout(rng, mdp, behaviour, state, 20)
        yield features, u, behaviour, window, mdp.gamma
        u, state = rule.teacher(features, u, window, mdp.gamma), window[0][-1]


def as_library(algorithm, features, window, gamma):
    states, actions, rewards = map(np.array, window)
    window = Window(states, actions, rewards, np.array(gamma), np.zeros(len(rewards), bool))
    if isinstance(algorithm, ActorCritic):
        return ActorCriticFeatures(*map(jnp.asarray, features)), window
    return jnp.asarray(features), window


def test_the_same_windows_have_the_same_tokens_targets_and_behaviour(pair):
    algorithm, rule = pair
    assert (algorithm.p, algorithm.q) == (rule.p, rule.q)
    for features, u, behaviour, window, gamma in windows(rule, 3):
        tables, same = as_library(algorithm, features, window, gamma)
        for ours, theirs in (
            (algorithm.tokens(tables, jnp.asarray(u), same), rule.tokens),
            (algorithm.teacher(tables, jnp.asarray(u), same), rule.teacher),
        ):
            np.testing.assert_allclose(ours, theirs(features, u, window, gamma), atol=1e-10)
        ours = algorithm.behaviour(tables, jnp.asarray(u))
        np.testing.assert_allclose(ours, behaviour, atol=1e-10)


def test_the_same_windows_make_the_same_updates(pair):
    """Sixty of them, across a step of the learning rate, in float64."""
    _, rule = pair
    data = [
        (rule.tokens(features, u, window, gamma), u, rule.teacher(features, u, window, gamma))
        for features, u, _, window, gamma in windows(rule, 60)
    ]
    config = TrainingConfig(dtype="float64", windows=5, learning_rate=0.01)
    theta = eager.draw_theta(np.random.default_rng(2), rule.p, rule.q)
    adam = eager.Adam(theta, rate=0.01, every=config.stage)
    expected, losses = eager.learn(theta, adam, data)
    first = Effective(*map(jnp.asarray, theta))
    columns = zip(*data, strict=True)
    examples = Examples(*(jnp.asarray(np.stack(column)) for column in columns))
    done = fit(EffectiveBlock(first), config.make_optimizer(), examples)
    ours = done.losses
    np.testing.assert_allclose(ours, losses, rtol=1e-10, atol=1e-12)
    for block, want, start in zip(done.block.theta, expected, theta, strict=True):
        np.testing.assert_allclose(block, want, atol=1e-10)
        assert abs(want - start).max() > 0.1  # it has moved


def test_the_count_of_operations():
    """Against a sum over the products, by hand, for p = 3, q = 2 and n = 4."""
    work = floor.count(3, 2, 4)
    assert work.parameters == 9 + 6
    assert work.flops == 2 * 9 + 2 * 6 + 4 * 2 * 4 * 3 + 2 * 6 + 15 + 14 * 15
    assert work.bytes == 4 * (6 * 15 + 9 + 2 * 6 + 4 * 3 + 2 * 2)
    machine = floor.Rates(1e9, 2e9)
    assert floor.floor_seconds(work, machine) == max(work.flops / 1e9, work.bytes / 2e9)


def check_schema(record):
    assert set(record) == {"scale", "environment", "parts"}
    for rows in record["parts"].values():
        for row in rows:
            assert set(row) == {"name", "rule", "unit", "value", "eager", "ratio"}
            assert row["value"] > 0
            if row["eager"] is None:
                assert row["ratio"] is None
            else:
                assert row["ratio"] == pytest.approx(row["eager"] / row["value"])


def command(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_quick_run_from_end_to_end(tmp_path):
    out = tmp_path / "result.json"
    done = command("--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    check_schema(record)
    assert set(record["parts"]) == set(suite.SUITE)
    assert str(ROOT) not in out.read_text()
    again = command("--quick", "--out", str(out), "--only", "floor")
    assert again.returncode == 0, again.stderr
    kept = json.loads(out.read_text())["parts"]
    assert {part: kept[part] for part in kept if part != "floor"} == {
        part: rows for part, rows in record["parts"].items() if part != "floor"
    }
    other = command("--out", str(out), "--only", "floor")
    assert other.returncode == 2
    assert "another scale" in other.stderr
