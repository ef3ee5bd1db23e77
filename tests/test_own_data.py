"""Logged transitions: from arrays and files to windows, and what is wrong with a row."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from icrl_flax import RandomMDPs, Sarsa, Window, rollout
from icrl_flax.attention.block import EffectiveBlock
from icrl_flax.experience import read_transitions
from icrl_flax.rules import discover

RULES = discover()


def cut_window(rng, lengths, n_states=4, n_actions=3):
    """Episodes of given lengths, each cut short, as one window and as one for each."""
    parts = []
    for n in lengths:
        ends = rng.uniform(size=n) < 0.3
        ends[-1] = False  # the last one is cut short, not ended
        parts.append(
            Window(
                rng.integers(0, n_states, n + 1),
                rng.integers(0, n_actions, n + 1),
                rng.normal(size=n),
                0.8,
                ends,
            )
        )
    last = parts[-1]
    whole = Window(
        np.concatenate([*(part.states[:-1] for part in parts), last.states[-1:]]),
        np.concatenate([*(part.actions[:-1] for part in parts), last.actions[-1:]]),
        np.concatenate([part.rewards for part in parts]),
        0.8,
        np.concatenate([part.terminated for part in parts]),
        np.concatenate([np.arange(n) == n - 1 for n in lengths]),
        np.concatenate([part.states[1:] for part in parts]),
        np.concatenate([part.actions[1:] for part in parts]),
    )
    return whole, parts


@pytest.mark.parametrize("name", RULES)
def test_a_cut_window_is_the_mean_of_its_episodes(name):
    """Of every rule, and for block and teacher: traces, returns and γ^i do not cross a cut."""
    kind, rng = RULES[name], np.random.default_rng(0)
    rule = kind.draw(rng, 5)
    key = jax.random.key(1)
    features = rule.sample_features(key, 4, 3, jnp.float64)
    u = rule.sample_parameters(key, jnp.float64)
    lengths = (3, 1, 4)
    whole, parts = cut_window(rng, lengths)
    block = EffectiveBlock(rule.optimum(jnp.float64))

    def both(window):
        answer = block.update(rule.tokens(features, u, window), u)
        return jnp.stack([answer, rule.teacher(features, u, window)]) - u

    expected = sum(n * both(part) for n, part in zip(lengths, parts, strict=True)) / sum(lengths)
    np.testing.assert_allclose(both(whole), expected, rtol=1e-10, atol=1e-13)
    # And the cuts matter: the same rows as one life are another window.
    as_one = Window(whole.states, whole.actions, whole.rewards, 0.8, whole.terminated)
    assert np.abs(both(as_one) - expected).max() > 1e-6


@pytest.mark.usefixtures("unchecked")
def test_what_follows_is_given_whole_or_not_at_all():
    whole, _ = cut_window(np.random.default_rng(0), (2, 2))
    fields = {name: getattr(whole, name) for name in whole.__dataclass_fields__}
    with pytest.raises(ValueError, match="must be given together, got "):
        Window(**fields | {"successors": None})
    with pytest.raises(ValueError, match=r"^successors must have shape \(4\), got \(3,\)"):
        Window(**fields | {"successors": whole.successors[:3]})
    with pytest.raises(ValueError, match=r"^next_actions must lie in \[0, 2\), got 2"):
        Window(**fields | {"next_actions": np.full(4, 2), "actions": np.zeros(5, int)}).check(4, 2)


# From arrays


def test_a_life_from_arrays_is_its_window():
    mdp = RandomMDPs(4, 3).sample(jax.random.key(0), jnp.float64)
    rolled = rollout(jax.random.key(1), mdp, np.full((4, 3), 1 / 3), 0, 50)
    rewards = np.append(rolled.rewards, 0.0)  # the last row's reward is not known, nor used
    window = Window.from_arrays(rolled.states, rolled.actions, rewards, 0.5)
    for name in ("states", "actions", "rewards", "gamma", "terminated", "discounts"):
        np.testing.assert_array_equal(getattr(window, name), getattr(rolled, name))
    assert not window.truncated.any()


LOG = pd.DataFrame(
    {
        "state": [0, 1, 2, 0, 2, 1, 3],
        "action": [0, 1, 0, 1, 1, 0, 1],
        "reward": [0.0, 0.5, 1.0, 0.0, -1.0, 0.25, 2.0],
        "terminated": [0, 0, 1, 0, 0, 0, 0],
        "truncated": [0, 0, 0, 0, 1, 0, 1],
        "episode": [7, 7, 7, 8, 8, 9, 9],
        "next_state": [1, 2, -1, 2, 3, 3, 0],
    }
)


def test_rows_are_used_where_their_successor_is_known():
    """Row 4 was cut short and row 6 is the last: of them SARSA knows no next action."""
    window, observations = read_transitions(LOG, 0.9)
    assert observations is None
    np.testing.assert_array_equal(window.states, [0, 1, 2, 0, 1, 3])
    np.testing.assert_array_equal(window.after[0][[0, 1, 3, 4]], [1, 2, 2, 3])
    np.testing.assert_array_equal(window.after[1][[0, 1, 3, 4]], [1, 0, 1, 1])
    np.testing.assert_array_equal(window.rewards, [0, 0.5, 1, 0, 0.25])
    np.testing.assert_array_equal(window.discounts, [0.9, 0.9, 0, 0.9, 0.9])
    np.testing.assert_array_equal(window.over, [0, 0, 1, 1, 0])


def test_a_rule_that_predicts_uses_what_was_cut_short():
    window, _ = read_transitions(LOG, 0.9, need_next_action=False)
    np.testing.assert_array_equal(window.before[0], LOG.state)
    np.testing.assert_array_equal(window.after[0][[3, 4, 5, 6]], [2, 3, 3, 0])
    np.testing.assert_array_equal(window.over, [0, 0, 1, 0, 1, 0, 1])
    without, _ = read_transitions(LOG.drop(columns="next_state"), 0.9, need_next_action=False)
    np.testing.assert_array_equal(without.rewards, LOG.reward[[0, 1, 2, 3, 5]])
    given = LOG.assign(next_action=[1, 0, 0, 1, 1, 1, 0])
    known, _ = read_transitions(given, 0.9)
    np.testing.assert_array_equal(known.after[1][[4, 6]], [1, 0])


def test_observations_in_place_of_states():
    """Each row is a state; a cut row's successor has a place of its own."""
    frame = LOG.drop(columns=["state", "next_state"])
    frame["x"], frame["y"] = np.arange(7.0), -np.arange(7.0)
    window, seen = read_transitions(frame, 0.9, observations=["x", "y"])
    np.testing.assert_array_equal(seen, frame[["x", "y"]])
    np.testing.assert_array_equal(seen[window.before[0], 0], [0, 1, 2, 3, 5])
    np.testing.assert_array_equal(seen[window.after[0], 0][[0, 1, 3, 4]], [1, 2, 4, 6])
    frame["next_x"] = [1, 2, np.nan, 4, 40, 6, 60]
    frame["next_y"] = [-1, -2, np.nan, -4, -40, -6, -60]
    window, seen = read_transitions(frame, 0.9, observations=["x", "y"], need_next_action=False)
    np.testing.assert_array_equal(seen[window.after[0], 0][[3, 4, 5, 6]], [4, 40, 6, 60])
    frame.loc[3, "next_y"] = -5
    with pytest.raises(ValueError, match=r"^row 3: next_y must be y of row 4, -4.0, got -5.0$"):
        read_transitions(frame, 0.9, observations=["x", "y"])


def changed(column, row, value):
    """The log with one entry changed; its column takes any type then."""
    frame = LOG.copy()
    entries = frame[column].astype(object).tolist() if column in frame else [None] * len(frame)
    entries[row] = value
    frame[column] = entries
    return frame


MALFORMED = [
    (changed("state", 2, -1), r"row 2: state must lie in \[0, 4\), got -1"),
    (changed("state", 3, 4), r"row 3: state must lie in \[0, 4\), got 4"),
    (changed("state", 1, 1.5), "row 1: state must be an integer, got 1.5"),
    (changed("state", 1, np.nan), "row 1: state must be finite, got nan"),
    (changed("state", 0, "left"), "row 0: state must be a number, got 'left'"),
    (changed("state", 5, None), "row 5: state must be finite, got nan"),
    (changed("action", 6, 2), r"row 6: action must lie in \[0, 2\), got 2"),
    (changed("action", 6, -3), r"row 6: action must lie in \[0, 2\), got -3"),
    (changed("action", 4, 0.25), "row 4: action must be an integer, got 0.25"),
    (changed("action", 4, np.inf), "row 4: action must be finite, got inf"),
    (changed("action", 2, "up"), "row 2: action must be a number, got 'up'"),
    (changed("reward", 1, np.nan), "row 1: reward must be finite, got nan"),
    (changed("reward", 6, -np.inf), "row 6: reward must be finite, got -inf"),
    (changed("reward", 0, "1,5"), "row 0: reward must be a number, got '1,5'"),
    (changed("terminated", 3, 2), "row 3: terminated must be true or false, 1 or 0, got 2"),
    (changed("terminated", 3, "maybe"), "row 3: terminated must be a number, got 'maybe'"),
    (changed("terminated", 3, np.nan), "row 3: terminated must be .*, got nan"),
    (changed("truncated", 5, 0.5), "row 5: truncated must be true or false, 1 or 0, got 0.5"),
    (changed("terminated", 1, 1), "row 2: episode must be another than that of row 1, .* got 7"),
    (changed("truncated", 3, 1), "row 4: episode must be another than that of row 3, .* got 8"),
    (changed("episode", 4, 7), "row 4: episode must not begin again, got 7"),
    (changed("episode", 1, "x"), "row 1: episode must be a number, got 'x'"),
    (changed("next_state", 3, 1), "row 3: next_state must be that of row 4, 2, got 1"),
    (changed("next_state", 6, 4), r"row 6: next_state must lie in \[0, 4\), got 4"),
    (changed("next_state", 4, -1), r"row 4: next_state must lie in \[0, 4\), got -1"),
    (changed("next_state", 4, np.nan), "row 4: next_state must be .*, got nan"),
]


@pytest.mark.parametrize(("frame", "message"), MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("form", ["frame", "file"])
def test_malformed_rows(frame, message, form, tmp_path):
    """One error each, which names the row, from memory and from a file."""
    source = frame
    if form == "file":
        source = tmp_path / "log.csv"
        frame.to_csv(source, index=False)
        message = message.split(", got")[0].replace("a number", "(a number|finite)")
    with pytest.raises(ValueError, match=f"^{message}") as raised:
        read_transitions(source, 0.9, n_states=4, n_actions=2)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ending", ["parquet", "pq"])
def test_parquet(ending, tmp_path):
    """The window of a Parquet file is that of the frame in every entry, and so are its errors."""
    pytest.importorskip("pyarrow", reason="needs the extra `data`")
    path = tmp_path / f"log.{ending}"
    LOG.to_parquet(path)
    read, seen = read_transitions(path, 0.9)
    expected, _ = read_transitions(LOG, 0.9)
    assert seen is None
    for name in expected.__dataclass_fields__:
        found, wanted = getattr(read, name), getattr(expected, name)
        np.testing.assert_array_equal(found, wanted)
        assert np.asarray(found).dtype == np.asarray(wanted).dtype
    frame = LOG.astype({"terminated": bool, "truncated": bool})
    frame.to_parquet(path)  # which keeps booleans
    np.testing.assert_array_equal(read_transitions(path, 0.9).window.over, expected.over)
    LOG.assign(reward=LOG.reward.where(LOG.index != 4)).to_parquet(path)
    with pytest.raises(ValueError, match=r"^row 4: reward must be finite, got nan$"):
        read_transitions(path, 0.9)
    path.write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match=r"^source: cannot read .*log\."):
        read_transitions(path, 0.9)


def test_parquet_without_its_package(monkeypatch, tmp_path):
    def read_parquet(path):
        raise ImportError("Unable to find a usable engine; …\n- Missing …")

    monkeypatch.setattr(pd, "read_parquet", read_parquet)
    with pytest.raises(ValueError, match=r"log\.parquet: install the extra 'data'$"):
        read_transitions(tmp_path / "log.parquet", 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": LOG.drop(columns="reward")}, r"source must have a column 'reward', got \["),
        ({"source": LOG.drop(columns="state")}, r"source must have a column 'state', got \["),
        ({"source": LOG.iloc[:0]}, "a log must have at least one row, got none"),
        ({"source": LOG.iloc[:1]}, "a log must hold a transition whose successor is known"),
        ({"source": 3}, "source must be a path or a data frame, got int"),
        ({"source": "no.csv"}, "source: cannot read no.csv: No such file"),
        ({"observations": ["x"]}, r"source must have a column 'x', got \["),
        ({"names": {"state": "s"}}, r"names must be of \['actions', .*, got 'state'"),
        ({"names": {"states": "s"}}, r"source must have a column 's', got \["),
        ({"gamma": 1.0}, r"gamma must lie in \[0, 1\), got 1.0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_log(change, message):
    arguments = {"source": LOG, "gamma": 0.9} | change
    with pytest.raises(ValueError, match=f"^{message}"):
        read_transitions(arguments.pop("source"), **arguments)


@pytest.mark.usefixtures("unchecked")
def test_columns_of_other_lengths():
    with pytest.raises(ValueError, match=r"^action must hold one value for each of 2 rows, got"):
        Window.from_arrays([0, 1], [0], [0.0, 0.0], 0.5)
    with pytest.raises(ValueError, match=r"^state must hold one value for each row, got shape"):
        Window.from_arrays([[0, 1]], [0], [0.0], 0.5)


WHOLE = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
import icrl_flax as icrl
from icrl_flax.experience import read_transitions

window, _ = read_transitions(sys.argv[1], 0.9, n_states=9, n_actions=4)
rule = icrl.Sarsa(d=36, features="one-hot", alpha=1.0)
features = rule.sample_features(jax.random.key(0), 9, 4, jnp.float64)
u = jnp.zeros(36)
P, V = icrl.construct(rule, dtype=jnp.float64)
block = icrl.BlockAgent(rule, icrl.LinearAttentionBlock.from_matrices(P, V, rule.p))
answer, teacher = block(features, u, window), rule.teacher(features, u, window)
policy = rule.policy(features, answer)
print(window.rewards.size, float(jnp.abs(answer - teacher).max()), policy.shape == (9, 4))
"""


def test_from_a_file_to_a_better_policy(tmp_path):
    """100 000 rows; the time of the whole process is the benchmark's."""
    rng = np.random.default_rng(0)
    rows = 100_000
    ends = rng.uniform(size=rows)
    frame = pd.DataFrame(
        {
            "state": rng.integers(0, 9, rows),
            "action": rng.integers(0, 4, rows),
            "reward": rng.normal(size=rows),
            "terminated": ends < 0.01,
            "truncated": ends > 0.99,
            "episode": np.append(0, np.cumsum((ends < 0.01) | (ends > 0.99))[:-1]),
        }
    )
    frame.to_csv(tmp_path / "log.csv", index=False)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", WHOLE, str(tmp_path / "log.csv")],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    used, error, improved = done.stdout.split()
    assert rows * 0.98 < int(used) < rows
    assert float(error) < 1e-12
    assert improved == "True"
    assert not done.stderr


def test_sarsa_from_a_log_is_the_average_over_rows():
    """Tabular, from zero: each pair's value is its share of the rows times its mean reward."""
    window, _ = read_transitions(LOG, 0.9)
    rule = Sarsa(d=8, features="one-hot", alpha=1.0)
    features = rule.sample_features(jax.random.key(0), 4, 2, jnp.float64)
    answer = rule.teacher(features, jnp.zeros(8), window).reshape(4, 2)
    expected = np.zeros((4, 2))
    for row in (0, 1, 2, 3, 5):
        expected[LOG.state[row], LOG.action[row]] += LOG.reward[row] / 5
    np.testing.assert_allclose(answer, expected, rtol=1e-12, atol=1e-15)
