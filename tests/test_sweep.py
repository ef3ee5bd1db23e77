"""Sweeps: what a specification means, what the tables say, and that nothing is lost."""

import dataclasses
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from own_process import COMMAND, environment

from icrl_flax import (
    RandomMDPs,
    Run,
    Sarsa,
    TrainingConfig,
    align,
    cli,
    read_spec,
    read_sweep,
    split,
    sweep,
    train,
)
from icrl_flax.experiments.run import RESULTS, _locked, _results
from icrl_flax.mdps.families import ChainMDPs
from icrl_flax.training.batched import BatchReport

SMALL = """
seeds = 2
[rule]
name = "sarsa"
d = 2
[family]
n_states = 3
n_actions = 2
[training]
mdps = 4
windows = 5
window_length = 3
decay_every = 1
dtype = "float64"
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="spec.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


# The specification


def test_grid_in_order(write):
    axes = '[axes]\n"training.gain" = [0.1, 1]\nalgorithm.epsilon = [0.0, 0.5]\n'
    spec = read_spec(write(SMALL + axes))
    assert spec.columns == ("rule.name", "training.gain", "rule.epsilon")
    expected = itertools.product([0.1, 1.0], [0.0, 0.5], [0, 1])
    for cell, (gain, epsilon, seed) in zip(spec.cells, expected, strict=True):
        assert cell.axis == ""
        assert cell.settings == ("sarsa", gain, epsilon)
        config = TrainingConfig(
            seed=seed,
            mdps=4,
            windows=5,
            window_length=3,
            decay_every=1,
            gain=gain,
            dtype="float64",
        )
        assert cell.run == Run(Sarsa(d=2, epsilon=epsilon), config, RandomMDPs(3, 2))
    # One program, and as many as fit.
    assert spec.batches == (tuple(range(8)),)


ONE_AT_A_TIME = """
[axes]
"training.window_length" = [2, 3]
"rule.alpha" = [0.2, 0.4]
size = [{ "family.n_states" = 4, "rule.d" = 8 }, { family.n_states = 3, rule.d = 6 }]
"family.name" = ["chain"]
"""


def test_one_at_a_time(write):
    text = 'design = "one-at-a-time"\nbatch = 3\n' + SMALL + ONE_AT_A_TIME
    spec = read_spec(write(text))
    # Values of the base itself are not run again.
    axes = ["base", "training.window_length", "rule.alpha", "size", "size", "family.name"]
    assert [cell.axis for cell in spec.cells] == [axis for axis in axes for _ in (0, 1)]
    base, longer, alpha, first, second, chain = (cell.run for cell in spec.cells[::2])
    assert longer.config == dataclasses.replace(base.config, window_length=2)
    assert longer._replace(config=base.config) == base
    assert alpha == base._replace(rule=Sarsa(d=2, alpha=0.4))
    assert (first.family.n_states, first.rule.d) == (4, 8)
    assert (second.family.n_states, second.rule.d) == (3, 6)
    assert chain == base._replace(family=ChainMDPs(3, 2))
    assert spec.cells[6].settings == ("sarsa", 3, 0.2, 4, 8, "random")
    # 0 to 3 and 4, 5 differ in numbers only; of four in batches of three make two and two.
    assert spec.batches == ((0, 1), (4, 5), (2, 3), (6, 7), (8, 9), (10, 11))


def test_algorithms_are_an_axis(write):
    text = 'seeds = [3, 1]\n[axes]\n"rule.name" = ["sarsa", "actor-critic"]\n'
    spec = read_spec(write(text))
    runs = [cell.run for cell in spec.cells]
    assert [run.rule.name() for run in runs] == ["sarsa"] * 2 + ["actor-critic"] * 2
    assert [run.config.seed for run in runs] == [3, 1, 3, 1]
    assert all(run.config == TrainingConfig(seed=run.config.seed) for run in runs)


WRONG = {
    "seeds = 0": "seeds must be .* at least 1, got 0",
    "seeds = []": r"seeds must be .*, got \[\]",
    "seeds = [1, 1]": r"seeds must be .* different .*, got \[1, 1\]",
    "seeds = [-1]": r"seeds must be .*, got \[-1\]",
    "seeds = true": "seeds must be .*, got True",
    "batch = 0": "batch must be .*, got 0",
    'design = "random"': "design must be one of grid, one-at-a-time, got 'random'",
    "sedes = 3": "sedes is unknown, got 3",
    "training = 3": "training must be a table, got 3",
    "axes = 3": "axes must be a table, got 3",
    "[training]\nmdp = 3": "training.mdp is unknown, got 3; .* mdps",
    "[training]\nmdps = 3.5": "training.mdps must be an integer, got 3.5",
    "[training]\nmdps = true": "training.mdps must be an integer, got True",
    "[training]\ndecay = 'x'": "training.decay must be a number, got 'x'",
    "[training]\nmdps = 0": "training.mdps must be an integer of at least 1, got 0",
    "[training]\nmethod = 'lion'": "training.method must be one of adam, sgd, got 'lion'",
    "[training]\nmdps = 10\nmdps_per_update = 4": "training.mdps must be a multiple .* 10",
    "[training]\nseed = 3": "training.seed is set by the key seeds, got 3",
    "[family]\nname = 'frozen'": "family.name must be one of .*chain, got 'frozen'",
    "[family]\nname = 'chain'\nreward = 'normal'": "family.reward is unknown, got 'normal'",
    "[family]\ngamma = 1": r"family.gamma must lie in \[0, 1\), got 1.0",
    "[axes]\n'training.gain' = []": r"axes: training.gain must be a list .*, got \[\]",
    "[axes]\n'training.gain' = 3": "axes: training.gain must be a list .*, got 3",
    "[axes]\n'training.gain' = [1, 1.0]": r"training.gain must not repeat .*, got \[1, 1.0\]",
    "[axes]\n'training.gain' = [1, 'x']": "training.gain must be a number, got 'x'",
    "[axes]\n'training.gain' = [1, -1]": "training.gain must be .* not negative, got -1.0",
    "[axes]\n'training.seed' = [1, 2]": "training.seed is set by the key seeds",
    "[axes]\nsize = [1, 2]": "size must be a setting of .*, got 1",
    "[axes]\nx = [{}]": "axes: the tables of x must set the same keys",
    "[axes]\nx = [{training.gain = 1}, {training.decay = 1}]": "must set the same keys",
    "[axes]\n'training.gain' = [1]\nx = [{training.gain = 2}]": "training.gain once",
    "[rule]\nname = 'q-learning'": "rule.name must be one of .*, got 'q-learning'",
    "[rule]\nname = 3": "rule.name must be one of .*, got 3",
    "[rule]\nname = 'sarsa'\nm = 3": "rule.m is unknown, got 3; Sarsa has d, alpha",
    "[rule]\nname = 'sarsa'\nfeatures = 'one-hot'\nd = 5": "rule.d must be S·A .* got 5",
    "[rule]\nalpha = 1": "rule.name must be given",
    "seeds = ": "is not a TOML file: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_specification(text, write, tmp_path, capsys):
    name = "" if "[rule]" in text or text == "seeds = " else "\n[rule]\nname = 'sarsa'\n"
    path = write(text + name)
    assert cli.main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith(f"error: {path}")
    assert re.search(WRONG[text], line), line
    assert not (tmp_path / "out").exists()


def test_no_specification(tmp_path, capsys):
    assert cli.main(["sweep", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "none.toml" in capsys.readouterr().err
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert cli.main(["sweep", str(tmp_path / "bytes.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "is not a TOML file" in capsys.readouterr().err


# The tables

GRID = """
[axes]
"training.learning_rate" = [0.03, 1e30]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished sweep of plain gradient descent: two seeds, at a good rate and at none."""
    folder = tmp_path_factory.mktemp("small")
    spec = folder / "spec.toml"
    text = SMALL.replace("decay_every", "method = 'sgd'\nschedule = 'constant'\ndecay_every")
    spec.write_text(text.replace("mdps = 4", "mdps = 60") + GRID)
    assert cli.main(["sweep", str(spec), "--out", str(folder / "out")]) == 0
    return spec, folder / "out"


def test_rows_are_the_runs(small):
    spec, out = small
    table, curves = read_sweep(out)
    assert list(table)[:6] == [
        "cell",
        "axis",
        "rule.name",
        "training.learning_rate",
        "seed",
        "updates",
    ]
    np.testing.assert_array_equal(table["cell"], [0, 1, 2, 3])
    np.testing.assert_array_equal(table["seed"], [0, 1, 0, 1])
    for row, cell in enumerate(read_spec(spec).cells[:2]):
        rule, config, family = cell.run
        alone = train(rule, config, family)
        stages = alone.losses.reshape(60, 5).mean(axis=1)  # decay_every = 1: one MDP each
        expected = {
            "updates": 300,
            "final_loss": alone.losses.mean(),
            "loss_at_0.01": stages[0],
            "loss_at_0.1": stages[5],
            "loss_at_0.5": stages[29],
        }
        trained = split(alone.P, alone.V, rule.p).effective
        alignment = align(trained, rule.optimum(np.float64))
        for name in ("c", "cosine", "off_pattern"):
            expected[name] = float(getattr(alignment, name))
        for name, value in expected.items():
            assert table[name][row] == pytest.approx(value, rel=1e-8), name
        curve = curves["loss"][curves["cell"] == row]
        bins = np.exp(np.log(alone.losses).reshape(100, 3).mean(axis=1))
        np.testing.assert_allclose(curve, bins, rtol=1e-8)
        np.testing.assert_array_equal(
            curves["update"][curves["cell"] == row], np.arange(3, 303, 3)
        )
    for threshold in ("1e-4", "1e-6", "1e-8"):
        assert f"updates_to_{threshold}" in table


def test_a_cell_that_diverges_says_so(small):
    table, curves = read_sweep(small[1])
    np.testing.assert_array_equal(np.isnan(table["diverged_at"]), [True, True, False, False])
    assert (table["diverged_at"][2:] > 0).all()
    assert (table["diverged_at"][2:] < 50).all()
    np.testing.assert_array_equal(np.isnan(table["final_loss"]), [False, False, True, True])
    assert np.isnan(table["cosine"][2:]).all()
    assert np.isnan(curves["loss"][curves["cell"] == 3][-50:]).all()


def test_updates_to_a_loss():
    base = {"rule": {"name": "sarsa", "d": 1}, "training": {"mdps": 4, "windows": 5}}
    base["training"] |= {"decay_every": 1, "attention": "softmax"}
    plan = read_spec(base)
    losses = np.repeat([1.0, 1e-4, 1e-3, 1e-7], 5)[None]
    matrix = jnp.zeros((1, 4, 4))
    report = BatchReport(matrix, matrix, losses, np.array([-1]), 4, 0.0, 0.0)
    row = dict(zip(RESULTS, _results(plan, 0, report, 0), strict=True))
    assert [row[f"updates_to_{t}"] for t in ("1e-4", "1e-6", "1e-8")] == ["10", "20", ""]
    assert float(row["loss_at_0.5"]) == 1e-4
    # The theory does not speak of softmax attention.
    assert row["c"] == row["cosine"] == row["off_pattern"] == row["diverged_at"] == ""


def test_provenance(small):
    spec, out = small
    text = (out / "provenance.json").read_text()
    record = json.loads(text)
    assert record["command"] == "python -m icrl_flax sweep spec.toml --out out"
    assert record["spec"] == read_spec(spec).record
    (environment,) = record["environments"]
    assert re.match(r"\d", environment["versions"]["jax"])
    assert sorted(cell for batch in record["batches"] for cell in batch["cells"]) == [0, 1, 2, 3]
    assert str(out.parent) not in text
    assert os.uname().nodename not in text


def test_table_holds_no_times(small):
    header = (small[1] / "table.csv").read_text().splitlines()[0]
    assert "second" not in header


def test_results_do_not_depend_on_workers(small, tmp_path):
    spec, out = small
    sweep(spec, tmp_path / "out", workers=1)
    for name in ("table.csv", "curves.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (out / name).read_bytes()


# What is there already


def contents(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_another_sweep_is_refused(small, tmp_path, capsys):
    spec, out = small
    other = tmp_path / "other.toml"
    other.write_text(spec.read_text().replace("0.03", "0.02"))
    before = contents(out)
    assert cli.main(["sweep", str(other), "--out", str(out)]) == 2
    assert f"out: {out} holds another sweep" in capsys.readouterr().err
    assert contents(out) == before
    # A comment makes no other sweep.
    other.write_text("# again\n" + spec.read_text().replace("0.03", "3e-2"))
    cells = contents(out / "cells")
    assert cli.main(["sweep", str(other), "--out", str(out)]) == 0
    assert contents(out / "cells") == cells


def test_foreign_directory_is_left_alone(write, tmp_path, capsys):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert cli.main(["sweep", str(write(SMALL)), "--out", str(out)]) == 2
    assert "not empty; nothing was changed" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    assert cli.main(["sweep", str(write(SMALL)), "--out", str(out / "notes.txt")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_damaged_cell_is_named(small, tmp_path):
    spec, out = small
    copy = pathlib.Path(shutil.copytree(out, tmp_path / "copy"))
    file = next((copy / "cells").iterdir())
    for content in ("", "[]", "{}", file.read_text()[:100]):
        file.write_text(content)
        with pytest.raises(ValueError, match=re.escape(f"{file} is ")):
            sweep(spec, copy)


def test_two_at_once_are_refused(small):
    spec, out = small
    with _locked(out), pytest.raises(ValueError, match="another sweep is writing"):
        sweep(spec, out)
    sweep(spec, out)


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="holds no finished sweep"):
        read_sweep(tmp_path)


def test_failure_of_one_batch_stops_the_rest(write, tmp_path, monkeypatch):
    module = sys.modules["icrl_flax.sweep"]  # the package has the function of that name
    real = module.training_batch

    def broken(runs, devices):
        if runs[0].config.seed == 1:
            raise MemoryError("no room")
        return real(runs, devices)

    monkeypatch.setattr(module, "training_batch", broken)
    path = write("batch = 1\n" + SMALL)
    with pytest.raises(MemoryError, match="no room"):
        sweep(path, tmp_path / "out", workers=1)
    assert [p.name for p in (tmp_path / "out" / "cells").iterdir()] == ["batch-00000.json"]
    assert not (tmp_path / "out" / "table.csv").exists()
    monkeypatch.undo()
    assert sweep(path, tmp_path / "out", workers=1).table["cell"].size == 2


# Stopped in the middle

LONG = """
seeds = 8
batch = 1
[rule]
name = "sarsa"
d = 3
[family]
n_states = 3
n_actions = 2
[training]
mdps = 12_000  # long enough that a busy machine cannot finish it before the signal
window_length = 4
"""


def stopped(spec, out, number):
    """Start the command, send it a signal once a new batch is done; its exit code."""
    command = [*COMMAND, "sweep", str(spec), "--out", str(out)]
    command += ["--workers", "1"]  # so that most is still to do, even if this process must wait
    before = len(list(out.glob("cells/batch-*")))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    try:
        while len(list(out.glob("cells/batch-*"))) == before:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.005)
        process.send_signal(number)
        errors = process.communicate(timeout=120)[1].decode()
    finally:
        process.kill()
    return process.returncode, errors


def test_killed_and_resumed(write, tmp_path):
    spec, out = write(LONG), tmp_path / "out"
    code, errors = stopped(spec, out, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in errors
    assert re.search(r"interrupted: .* holds [1-7] of 8 cells", errors)
    code, _ = stopped(spec, out, signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = contents(out / "cells")
    finished = {path for path in done if not path.name.startswith(".")}
    assert 2 <= len(finished) < 8
    assert not (out / "table.csv").exists()
    (out / "cells" / ".batch-00007.json.torn").write_text('{"cells"')

    resumed = sweep(spec, out)
    after = contents(out / "cells")
    assert len(after) == 8
    for path in finished:  # to the nanosecond: not written again
        assert after[path] == done[path]
    whole = sweep(spec, tmp_path / "whole")
    np.testing.assert_array_equal(resumed.table["final_loss"], whole.table["final_loss"])
    for name in ("table.csv", "curves.csv"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
