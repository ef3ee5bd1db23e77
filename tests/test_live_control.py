"""Observations as features, and agents in environments that give them step by step."""

import csv
import json
import re

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import ActorCritic, BlockAgent, RandomMDPs, Sarsa, TrainingConfig, cli, train
from icrl_flax.attention.block import EffectiveBlock
from icrl_flax.control import live_control, rule_features
from icrl_flax.experience import Fourier, OneHot, Radial, TileCoding, epsilon_mix, greedy
from icrl_flax.rules import discover

BOX = {"low": [-1.0, 0.0], "high": [1.0, 4.0]}


def test_fourier_by_hand():
    features = Fourier(**BOX, order=1, scale=3.0)
    assert features.size == 4
    x = np.array([0.5, 1.0])  # 3/4 and 1/4 of the way
    waves = [1, np.cos(np.pi / 4), np.cos(3 * np.pi / 4), np.cos(np.pi)]
    np.testing.assert_allclose(features(x), 3 * np.array(waves) / 2**0.5, rtol=1e-12)
    many = np.random.default_rng(0).uniform(BOX["low"], BOX["high"], (2000, 2))
    lengths = (Fourier(**BOX, order=3)(many) ** 2).sum(axis=1)
    assert abs(lengths.mean() - 1) < 0.6


def test_radial_by_hand():
    features = Radial(**BOX, centres=2)
    np.testing.assert_allclose(features([0.0, 2.0]), np.full(4, 0.25))
    bump = np.array([1, np.exp(-0.5)]) / (1 + np.exp(-0.5))
    np.testing.assert_allclose(features([-1.0, 4.0]), np.outer(bump, bump[::-1]).ravel())


def test_tile_coding_by_hand():
    features = TileCoding(**BOX, tiles=2, tilings=2, scale=5.0)
    assert features.size == 2 * 9
    x = np.random.default_rng(0).uniform(BOX["low"], BOX["high"], (500, 2))
    found = features(x)
    assert found.shape == (500, 18)
    np.testing.assert_allclose((found**2).sum(axis=1), 25)
    assert ((found > 0).sum(axis=1) == 2).all()
    # The first grid is not shifted: its tiles are the quarters of the box.
    corner = features([-0.9, 3.9]).reshape(2, 3, 3)[0]
    assert corner[0, 1] > 0
    # Neighbours share tiles, far corners none.
    near, far = (
        features([[0.1, 2.1], [0.15, 2.15], [-1.0, 0.0]])[[0, 0]],
        features([[0.15, 2.15], [-1, 0]]),
    )
    shared = ((near > 0) & (far > 0)).sum(axis=1)
    assert shared[0] == 2
    assert shared[1] == 0


def test_one_hot():
    np.testing.assert_array_equal(OneHot(3, 2.0)([2, 0]), [[0, 0, 2], [2, 0, 0]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OneHot(0), "n must be an integer of at least 1, got 0"),
        (lambda: OneHot(3)([3]), r"observation must lie in \[0, 3\), got 3"),
        (lambda: Fourier([0.0], [0.0]), "low must be below high, got 0.0 and 0.0 at index 0"),
        (lambda: Fourier([0.0], [1.0, 2.0]), r"high must have shape \(1\), got \(2,\)"),
        (lambda: Fourier([0.0], [np.inf]), "high must be finite, got inf"),
        (lambda: Fourier(**BOX, order=0), "order must be an integer of at least 1, got 0"),
        (lambda: Fourier(**BOX, scale=0.0), "scale must be positive and finite, got 0.0"),
        (lambda: Fourier(**BOX)([1.0]), r"observation must have 2 numbers, got shape \(1,\)"),
        (lambda: Fourier(**BOX)([1.0, np.nan]), "observation must be finite, got nan"),
        (lambda: Radial(**BOX, centres=1), "centres must be an integer of at least 2, got 1"),
        (lambda: TileCoding(**BOX, tiles=0), "tiles must be an integer of at least 1, got 0"),
    ],
)
def test_bad_features(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_a_rules_tables():
    psi = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
    pairs = rule_features(Sarsa(d=6), psi, 2)
    np.testing.assert_array_equal(pairs[:, 1, 3:], psi)
    np.testing.assert_array_equal(pairs[:, 1, :3], np.zeros((5, 3)))
    both = rule_features(ActorCritic(m=6, d=3), psi, 2)
    np.testing.assert_array_equal(both.actor, pairs)
    np.testing.assert_array_equal(both.critic, psi)
    with pytest.raises(ValueError, match=r"^d must be 6 for 3 features and 2 actions, got 7$"):
        rule_features(Sarsa(d=7), psi, 2)
    with pytest.raises(ValueError, match=r"^rule must be one of control, got 'td'$"):
        rule_features(discover()["td"](d=6), psi, 2)


class Corridor:
    """Five places; 1 goes right and 0 left. The right end pays 1 and ends; 7 steps at most."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, ends=True):
        self.ends, self.log = ends, []

    def reset(self, seed=None):
        self.place, self.steps = 0, 0
        return self.place, {}

    def step(self, action):
        before = self.place
        self.place = min(max(self.place + 2 * action - 1, 0), 4)
        self.steps += 1
        ended = self.place == 4 and self.ends
        self.log.append((before, action, float(self.place == 4), self.place, ended))
        return self.place, float(self.place == 4), ended, self.steps == 7, {}


@pytest.mark.parametrize("ends", [True, False])
def test_the_teachers_parameters_by_hand(ends):
    """SARSA in plain NumPy on what the environment saw, cuts at the time limit included."""
    rule = Sarsa(d=10, alpha=0.5, epsilon=0.5)
    seen, env = [], Corridor(ends)

    def spy(features, u, window):
        jax.debug.callback(
            lambda *arrays: seen.append(arrays), u, window.after, window.truncated, ordered=False
        )
        return rule.teacher(features, u, window)

    found = live_control([env], rule, spy, OneHot(5), gamma=0.9, windows=4, n=20, seed=1)
    w, log = np.zeros((2, 5)), env.log
    assert len(log) == 80
    for k in range(4):
        change = np.zeros((2, 5))
        _, (_, meant), cut = (jax.tree.map(np.asarray, part) for part in seen[k])
        for i in range(20):
            s, a, r, t, ended = log[20 * k + i]
            if not cut[i] and 20 * k + i + 1 < 80 and i < 19:
                assert meant[i] == log[20 * k + i + 1][1]
            value = 0 if ended else 0.9 * w[meant[i], t]
            change[a, s] += r + value - w[a, s]
        w = w + 0.5 * change / 20
    np.testing.assert_allclose(found.u.reshape(2, 5), w, rtol=1e-5, atol=1e-6)
    # Every episode has seven steps at most; some that were cut lie in the middle of a window.
    assert len(found.returns[0]) >= 80 // 7
    assert any(np.asarray(cut)[:-1].any() for *_, cut in seen) or ends


def test_block_and_teacher_learn_the_corridor():
    rule = Sarsa(d=10, epsilon=0.1)
    block = BlockAgent(rule, EffectiveBlock(rule.optimum(jnp.float32)))
    options = {"gamma": 0.9, "windows": 150, "n": 20, "seed": 3}
    runs = {
        name: live_control([Corridor(), Corridor()], rule, agent, OneHot(5, scale=2.0), **options)
        for name, agent in {"block": block, "teacher": rule.teacher}.items()
    }
    for run in runs.values():
        assert run.u.shape == (2, 10)
        assert run.last(10).min() > 0.8
    np.testing.assert_allclose(runs["block"].u, runs["teacher"].u, atol=1e-3)
    again = live_control([Corridor()], rule, rule.teacher, OneHot(5, scale=2.0), **options)
    assert not np.array_equal(again.u[0], runs["teacher"].u[1])


def test_the_scale_is_the_step_size():
    """Twice the features is four times α, in values: w halves, and w·ψ is the same."""
    options = {"gamma": 0.9, "windows": 30, "n": 20, "seed": 3}
    fast, slow = Sarsa(d=10, alpha=0.4), Sarsa(d=10, alpha=0.1)
    one = live_control([Corridor()], fast, fast.teacher, OneHot(5), **options)
    two = live_control([Corridor()], slow, slow.teacher, OneHot(5, scale=2.0), **options)
    np.testing.assert_allclose(one.u, 2 * two.u, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(one.returns[0], two.returns[0])


def test_behaviour_is_the_rules():
    rule = Sarsa(d=4, epsilon=0.3)
    psi = jnp.asarray([[1.0, 0.5]])
    u = jnp.asarray([0.0, 1.0, 2.0, -1.0])
    expected = epsilon_mix(greedy(np.array([[0.5, 1.5]])), 0.3)
    np.testing.assert_allclose(rule.behaviour(rule_features(rule, psi, 2), u), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.0}, r"gamma must lie in \[0, 1\), got 1.0"),
        ({"windows": 0}, "windows must be an integer of at least 1, got 0"),
        ({"n": 0}, "n must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"environments": []}, "environments must be at least one, got none"),
        ({"rule": Sarsa(d=7)}, "d must be 10 for 5 features and 2 actions, got 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments(change, message):
    arguments = {
        "environments": [Corridor()],
        "rule": Sarsa(d=10),
        "features": OneHot(5),
        "gamma": 0.9,
        "windows": 1,
    } | change
    with pytest.raises(ValueError, match=f"^{message}"):
        live_control(agent=arguments["rule"].teacher, **arguments)


# The command line


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A block that knows next to nothing, of the size that CartPole's features of order 1 need."""
    rule = Sarsa(d=32)
    run = train(rule, RandomMDPs(), TrainingConfig(mdps=2, windows=2))
    return run.save(tmp_path_factory.mktemp("runs") / "run")


POLE = ["--env", "CartPole-v1", "--resolution", "1", "--environments", "2", "--steps", "12"]
ENDS = ["--low", "-4.8", "-4", "-0.25", "-3.5", "--high", "4.8", "4", "0.25", "3.5"]


def test_evaluate_in_an_environment(checkpoint, tmp_path, capsys):
    out = tmp_path / "pole.csv"
    assert cli.main(["evaluate", str(checkpoint), *POLE, *ENDS, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "mean return, last 20 episodes" in printed
    with out.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["agent"] for row in table} == {"block", "teacher"}
    assert {row["environment"] for row in table} == {"0", "1"}
    for agent in ("block", "teacher"):
        steps = sum(float(row["return"]) for row in table if row["agent"] == agent)
        assert 0 < steps <= 2 * 12 * 20
    made_by = json.loads((tmp_path / "pole.provenance.json").read_text())
    assert made_by["live"]["env"] == "CartPole-v1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (POLE, "low must be given where the environment has none"),
        (["--env", "NoPole-v1"], "env: Environment `NoPole` doesn't exist"),
        (["--env", "Pendulum-v1"], "env: Pendulum-v1 must have numbered actions"),
        ([*POLE, *ENDS, "--resolution", "2"], "d must be 162 for 81 features and 2 actions, got"),
        ([*POLE, *ENDS, "--discount", "1"], r"discount must lie in \[0, 1\), got 1.0"),
        ([*POLE, *ENDS, "--environments", "0"], "environments must be an integer of at least 1"),
        ([*POLE, "--features", "one-hot"], "features one-hot need numbered observations"),
        (["--env", "Taxi-v4"], "features fourier need observations of reals"),
    ],
)
def test_evaluate_refuses(arguments, message, checkpoint, tmp_path, capsys):
    out = tmp_path / "pole.csv"
    assert cli.main(["evaluate", str(checkpoint), *arguments, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"error: {message}", line)
    assert not out.exists()
