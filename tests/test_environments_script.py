"""experiments/environments.py: its features of Taxi, its reference, and what it commits."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="needs the extra `gym`")

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results" / "environments"


@pytest.fixture(scope="module")
def script():
    path = ROOT / "experiments" / "environments.py"
    spec = importlib.util.spec_from_file_location("environments", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Corridor:
    """Four places; 1 goes right and 0 left. The right end pays 1 and ends."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.log = []

    def reset(self, seed=None):
        self.place = 0
        return self.place, {}

    def step(self, action):
        before = self.place
        self.place = min(max(self.place + 2 * action - 1, 0), 3)
        ended = self.place == 3
        self.log.append((before, action, float(ended), self.place, ended))
        return self.place, float(ended), ended, False, {}


def test_the_textbook_by_hand(script):
    """SARSA(λ) in loops, on what two environments saw, each with its own α and λ."""
    place = script.Place("", "OneHot", {"n": 4}, 0.9, 0.3, 0)
    envs, alphas, lams = [Corridor(), Corridor()], (0.5, 0.2), (0.8, 0.0)
    returns, found = script.textbook(envs, place, alphas, lams, epsilon=0.3, seed=2, windows=10)
    for env, alpha, lam, lane, mine in zip(envs, alphas, lams, found, returns, strict=True):
        w, z = np.zeros((2, 4)), np.zeros((2, 4))
        assert len(env.log) == 10 * 20
        # The action that was meant after the last step is in no log: one of the two it was.
        following = [*[[step[1]] for step in env.log[1:]], [0, 1]]
        for (s, a, r, t, ended), meant in zip(env.log, following, strict=True):
            z *= 0.9 * lam
            z[a, s] += 1
            values = [0 if ended else 0.9 * w[action, t] for action in meant]
            after = [w + alpha * (r + value - w[a, s]) * z for value in values]
            w, z = after[0], z * (not ended)
        assert min(np.abs(lane - each).max() for each in after) < 1e-12
        assert np.abs(lane).max() > 0.5
        assert len(mine) == sum(step[-1] for step in env.log)
        assert (mine == 1).all()


class Wages:
    """One place and one action, which pays 1; after three steps time is up."""

    action_space = gymnasium.spaces.Discrete(1)

    def reset(self, seed=None):
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        return 0, 1.0, False, self.steps == 3, {}


def test_where_time_is_up_the_value_stays(script):
    place = script.Place("", "OneHot", {"n": 1}, 0.9, 0.0, 0)
    returns, w = script.textbook([Wages()], place, 1.0, 0.0, epsilon=0.0, seed=0, windows=1)
    np.testing.assert_array_equal(returns[0], np.full(6, 3.0))
    np.testing.assert_allclose(w, (1 - 0.9**20) / 0.1, rtol=1e-12)


def test_taxis_errands(script):
    env, seen = gymnasium.make("Taxi-v4").unwrapped, set()
    for state in range(500):
        row, column, passenger, goal = env.decode(state)
        (at,) = np.flatnonzero(script.TaxiErrand(2.0)(state))
        target = goal if passenger == 4 else passenger
        assert at == (4 * (passenger == 4) + target) * 25 + 5 * row + column
        seen.add(int(at))
    assert seen == set(range(200))


def test_scales_side_by_side(script):
    for name in ("CartPole", "Taxi"):
        place = script.PLACES[name]
        env = script.Scaled(place.make(), 4.0)
        both = [env.reset(seed=0)[0], env.step(0)[0]]
        found = script.side_by_side(place)(np.asarray(both))
        kinds = [each[1:] if name == "CartPole" else int(each[1]) for each in both]
        np.testing.assert_allclose(found, place.seen(4.0)(np.asarray(kinds)), rtol=1e-12)


def test_what_is_committed_is_whole(script):
    """Each part that the record names has ten seeds of its agents, and nothing else is there."""
    record = json.loads((RESULTS / "provenance.json").read_text("utf-8"))
    assert record["places"] == json.loads(
        json.dumps({name: vars(place) for name, place in script.PLACES.items()})
    )
    with (RESULTS / "runs.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    wanted = set()
    for part in record["seconds"]:
        name, _, rule = part.rpartition(", ")
        assert name in script.PLACES
        agents = [("textbook", "sarsa-lambda"), ("uniform", "")]
        if rule != "references":
            assert rule in script.PLACES[name].rules
            agents = [("block", rule), ("teacher", rule)]
        wanted |= {(name, *agent, str(seed)) for agent in agents for seed in range(10)}
    found = [(row["environment"], row["agent"], row["rule"], row["seed"]) for row in rows]
    assert len(found) == len(wanted)
    assert set(found) == wanted
