"""Sweeps: what a specification means, what the tables say, and that nothing is lost."""

import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from own_process import environment

from icrl_flax import RandomMDPs, Sarsa, TrainingConfig, _registry, cli, read_sweep, sweep, train
from icrl_flax.experiments import read_spec, run, store
from icrl_flax.experiments.tables import RESULTS, found
from icrl_flax.mdps.families import ChainMDPs
from icrl_flax.training.result import Run, State, TrainingResult

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
    axes = '[axes]\n"training.gain" = [0.1, 1]\nrule.epsilon = [0.0, 0.5]\n'
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
        assert cell.run == Run(Sarsa(d=2, epsilon=epsilon), RandomMDPs(3, 2), config)
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
    "[training]\noptimizer = 'lion'": "training.optimizer must be one of adam, sgd, got 'lion'",
    "[training]\nmethod = 'sgd'": "training.method is now called training.optimizer$",
    "[algorithm]\nname = 'sarsa'": "algorithm is now called rule$",
    "[axes]\n'algorithm.alpha' = [1, 2]": "algorithm.alpha is now called rule.alpha$",
    "[training]\nmdps = 10\nmdps_per_update = 4": "training.mdps must be a multiple .* 10",
    "[training]\nseed = 3": "training.seed is set by the key seeds, got 3",
    "[family]\nname = 'frozen'": "family.name must be one of .*chain.*, got 'frozen'",
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


@dataclasses.dataclass(frozen=True)
class Own:
    needed: float
    alphas: tuple[float, ...] = ()
    word: str = ""
    sure: bool = False


def test_own_fields(monkeypatch):
    """A setting has the type of its field, or the message says why it cannot have it."""
    monkeypatch.setattr(_registry, "rules", lambda: {"own": Own})
    wrong = {
        "alphas": (
            [0.1, 0.2],
            r"rule.alphas cannot be set here, got \[0.1, 0.2\]: its type is tup",
        ),
        "word": (3, "rule.word must be text, got 3"),
        "sure": (1, "rule.sure must be true or false, got 1"),
        "needed": (True, "rule.needed must be a number, got True"),
    }
    for name, (value, message) in wrong.items():
        with pytest.raises(ValueError, match=f"^spec: {message}"):
            read_spec({"rule": {"name": "own", name: value}})
    with pytest.raises(ValueError, match=r"^spec: rule\.needed must be given, got none"):
        read_spec({"rule": {"name": "own"}})


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
    text = SMALL.replace("decay_every", "optimizer = 'sgd'\nschedule = 'constant'\ndecay_every")
    spec.write_text(text.replace("mdps = 4", "mdps = 60") + GRID)
    sweep(spec, folder / "out")
    return spec, folder / "out"


FILES = ("table.csv", "curves.csv", "weights.safetensors")
"""What does not depend on how, where and when it was made."""


def made(out):
    return [(out / name).read_bytes() for name in FILES]


def test_rows_are_the_runs(small):
    spec, out = small
    tables = read_sweep(out)
    table, curves = tables.table, tables.curves
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
    np.testing.assert_array_equal(table["axis"], [""] * 4)
    for row, cell in enumerate(read_spec(spec).cells[:2]):
        alone = train(*cell.run)
        stages = alone.losses.reshape(60, 5).mean(axis=1)  # decay_every = 1: one MDP each
        expected = {
            "updates": 300,
            "final_loss": alone.losses.mean(),
            "loss_at_0.01": stages[0],
            "loss_at_0.1": stages[5],
            "loss_at_0.5": stages[29],
        }
        alignment = alone.alignment()
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
        weights = tables.weights(table["cell"][row])
        for kept, trained in zip(weights, alone.effective, strict=True):
            assert kept.dtype == np.float64
            np.testing.assert_allclose(kept, trained, rtol=1e-8)
    for threshold in ("1e-4", "1e-6", "1e-8"):
        assert f"updates_to_{threshold}" in table


def test_weights_are_read_when_asked_for(small, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(small[1], out)
    tables = read_sweep(out)
    with pytest.raises(ValueError, match=r"has no 4\.P12"):
        tables.weights(4)
    (out / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        tables.weights(0)
    (out / "weights.safetensors").unlink()
    assert read_sweep(out).table["cell"].size == 4
    with pytest.raises(ValueError, match=r"keeps no weights: it has no weights\.safetensors"):
        tables.weights(0)


def test_a_cell_that_diverges_says_so(small):
    tables = read_sweep(small[1])
    table, curves = tables.table, tables.curves
    np.testing.assert_array_equal(np.isnan(table["diverged_at"]), [True, True, False, False])
    assert (table["diverged_at"][2:] > 0).all()
    assert (table["diverged_at"][2:] < 50).all()
    np.testing.assert_array_equal(np.isnan(table["final_loss"]), [False, False, True, True])
    assert np.isnan(table["cosine"][2:]).all()
    assert np.isnan(curves["loss"][curves["cell"] == 3][-50:]).all()


def test_updates_to_a_loss():
    base = {"rule": {"name": "sarsa", "d": 1}, "training": {"mdps": 4, "windows": 5}}
    base["training"] |= {"decay_every": 1, "attention": "softmax"}
    (cell,) = read_spec(base).cells
    losses = np.repeat([1.0, 1e-4, 1e-3, 1e-7], 5)
    result = TrainingResult((cell.run,), False, State(None, None), losses, -1, 4, 0.0, 0.0)
    row = dict(zip(RESULTS, found(result)[0], strict=True))
    assert [row[f"updates_to_{t}"] for t in ("1e-4", "1e-6", "1e-8")] == ["10", "20", ""]
    assert float(row["loss_at_0.5"]) == 1e-4
    # The theory does not speak of softmax attention.
    assert row["c"] == row["cosine"] == row["off_pattern"] == row["diverged_at"] == ""


def test_a_run_that_was_given_up_has_all_its_updates(small):
    """Training ends early where every run of a batch has diverged."""
    cell = read_spec(small[0]).cells[3]
    result = train(*cell.run)
    shorter = dataclasses.replace(result, losses=result.losses[:120])
    assert found(shorter) == found(result)
    assert dict(zip(RESULTS, found(shorter)[0], strict=True))["updates"] == "300"


def test_provenance(small):
    spec, out = small
    text = (out / "provenance.json").read_text()
    record = json.loads(text)
    assert record["command"] == "python -m icrl_flax sweep spec.toml --out out"
    assert record["spec"] == read_spec(spec).record
    (environment,) = record["environments"]
    assert re.match(r"\d", environment["versions"]["jax"])
    assert record["prng"] == environment["prng"]
    assert sorted(cell for batch in record["batches"] for cell in batch["cells"]) == [0, 1, 2, 3]
    assert str(out.parent) not in text
    assert os.uname().nodename not in text


def test_table_holds_no_times(small):
    header = (small[1] / "table.csv").read_text().splitlines()[0]
    assert "second" not in header


def test_results_do_not_depend_on_workers(small, tmp_path):
    """Any executor will do."""
    spec, out = small
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        sweep(spec, tmp_path / "out", executor=executor)
    assert made(tmp_path / "out") == made(out)


# What is there already


def contents(folder):
    """Files and when they were written."""
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
    sweep(other, out)
    assert contents(out / "cells") == cells


def test_other_random_numbers_are_refused(small, tmp_path):
    """A table must not hold runs of two streams."""
    spec, out = small
    out = pathlib.Path(shutil.copytree(out, tmp_path / "out"))
    record = json.loads((out / "spec.json").read_text())
    record["prng"]["partitionable"] = False
    (out / "spec.json").write_text(json.dumps(record))
    before = contents(out)
    message = "was begun with prng = .*'partitionable': False.*'partitionable': True"
    with pytest.raises(ValueError, match=message):
        sweep(spec, out)
    assert contents(out) == before


def test_the_batch_that_it_was_begun_with(small, tmp_path, monkeypatch):
    """Where the specification names none, a machine with other devices goes on with it."""
    spec, out = small
    out = pathlib.Path(shutil.copytree(out, tmp_path / "out"))
    before = contents(out / "cells")
    monkeypatch.setattr(run, "_usual", lambda cells: 1)
    assert run.finished_cells(out, spec) == (4, 4)
    sweep(spec, out)
    assert contents(out / "cells") == before


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
    for content in (b"", b"[]", b"{}", file.read_bytes()[:100], file.read_bytes()[:-1]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(f"{file} is ")):
            sweep(spec, copy)


def test_two_at_once_are_refused(small):
    spec, out = small
    with store.claimed(out), pytest.raises(ValueError, match="another sweep is writing"):
        sweep(spec, out)
    sweep(spec, out)


STARTS = 1000


def start_many(folder, me, barrier, outcomes):
    """Begin one sweep after the other, each at the same time as another process does."""
    mine = []
    for number in range(STARTS):
        barrier.wait()
        try:
            with store.claimed(folder / str(number)):
                store.begin(folder / str(number), {"spec": me})
                mine.append(True)
                barrier.wait()  # nobody leaves before the other one has tried
        except ValueError as error:
            mine.append(False if "another sweep is writing" in str(error) else str(error))
            barrier.wait()
    outcomes.put((me, mine))


def test_a_thousand_double_starts(tmp_path):
    """One of two processes writes, and never both, whoever comes first."""
    context = multiprocessing.get_context("spawn")
    barrier, outcomes = context.Barrier(2, timeout=60), context.Queue()
    pair = [
        context.Process(target=start_many, args=(tmp_path, me, barrier, outcomes)) for me in (0, 1)
    ]
    for process in pair:
        process.start()
    won = dict(outcomes.get(timeout=300) for _ in pair)
    for process in pair:
        process.join()
    assert all({a, b} == {False, True} for a, b in zip(won[0], won[1], strict=True))
    for number in range(STARTS):
        assert json.loads((tmp_path / str(number) / "spec.json").read_text())["spec"] == (
            1 if won[1][number] else 0
        )
        assert sorted(path.name for path in (tmp_path / str(number)).iterdir()) == [
            ".lock",
            "cells",
            "spec.json",
        ]


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="holds no finished sweep"):
        read_sweep(tmp_path)


def failing(monkeypatch, error, others):
    """Let the run of seed 1 fail, and something happen to the others."""
    real = run.train_iter

    def train_iter(rule, family, config, **options):
        if config[0].seed == 1:
            raise error
        yield from others(real(rule, family, config, **options))

    monkeypatch.setattr(run, "train_iter", train_iter)


def test_failure_of_one_batch_stops_the_rest(write, tmp_path, monkeypatch):
    """It arrives as itself, whatever its type, and what is done stays done."""
    path, out = write("batch = 1\n" + SMALL), tmp_path / "out"
    bugs = (OSError(5, "no such luck"), KeyError("a bug"), ValueError("a bug"))
    for error in (MemoryError("no room"), *bugs):
        failing(monkeypatch, error, lambda results: results)
        # Nothing of it is about what was typed, so that the command line keeps its traceback.
        with pytest.raises(type(error)) as found:
            cli.main(["sweep", str(path), "--out", str(out), "--workers=1"])
        assert found.value is error
        with (
            concurrent.futures.ThreadPoolExecutor(1) as executor,
            pytest.raises(type(error)) as found,
        ):
            sweep(path, out, executor=executor)
        assert found.value is error
        assert "train_iter" in [entry.name for entry in found.traceback]
        monkeypatch.undo()
    assert [p.name for p in (out / "cells").iterdir()] == ["batch-00000.safetensors"]
    assert not (out / "table.csv").exists()
    assert sweep(path, out).table["cell"].size == 2


def test_batches_under_way_end_soon_after_a_failure(write, tmp_path, monkeypatch):
    def endless(results):
        first, began = next(results), time.monotonic()
        results.close()
        while time.monotonic() < began + 300:
            yield first
        raise AssertionError("nobody stopped it")

    failing(monkeypatch, MemoryError("no room"), endless)
    with (
        concurrent.futures.ThreadPoolExecutor(2) as executor,
        pytest.raises(MemoryError, match="no room"),
    ):
        sweep(write("batch = 1\n" + SMALL), tmp_path / "out", executor=executor)


def test_a_full_disk_is_named(write, tmp_path, monkeypatch):
    def full(files):
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"

    monkeypatch.setattr(store, "write_together", full)
    with pytest.raises(ValueError, match=r"out: cannot write to .*out: No space left"):
        sweep(write(SMALL), out)


# Stopped in the middle

THREE = SMALL.replace("seeds = 2", "seeds = 3\nbatch = 1")
CHILD = """
import concurrent.futures, contextlib, sys
from icrl_flax.cli import main
from icrl_flax.experiments import executors, run

def say(line):
    print(line, flush=True)
    sys.stdin.readline()  # until this process may go on

class OneByOne:
    def submit(self, function, *arguments):
        future = concurrent.futures.Future()
        future.set_result(function(*arguments))
        say("written")
        return future

def train_iter(*runs, **options):
    for result in real(*runs, **options):
        say("under way")
        yield result

real, run.train_iter = run.train_iter, train_iter
executors.threads = lambda workers=None: contextlib.nullcontext(OneByOne())
sys.exit(main(["sweep", *sys.argv[1:]]))
"""


def stopped(spec, out, moments, number):
    """Let the command come to as many moments as are given, and send it a signal then."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(spec), "--out", str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        for k, moment in enumerate(moments):
            if k:
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.stdout.readline() == f"{moment}\n", process.stderr.read()
        process.send_signal(number)
        errors = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_killed_and_resumed(interruption, write, tmp_path):
    spec, out = write(THREE), tmp_path / "out"
    one = ["under way", "under way", "written"]  # at its start, and after its only chunk
    code, errors = stopped(spec, out, one, interruption)
    assert code == 128 + interruption
    assert "Traceback" not in errors
    assert "holds 1 of 3 cells" in errors
    with store.claimed(out):  # nobody has it any more
        pass
    code, _ = stopped(spec, out, [*one, "under way"], signal.SIGKILL)
    assert code == -signal.SIGKILL
    done = contents(out / "cells")
    assert sorted(path.name for path in done) == [
        "batch-00000.safetensors",
        "batch-00001.safetensors",
    ]
    assert not (out / "table.csv").exists()
    (out / "cells" / ".batch-00002.safetensors.torn").write_text("half")
    (out / ".table.csv.torn").write_text("half")

    sweep(spec, out)
    after = contents(out / "cells")
    assert len(after) == 3
    for path in done:  # to the nanosecond: not written again
        assert after[path] == done[path]
    assert not list(out.glob(".table*"))
    sweep(spec, tmp_path / "whole")
    assert made(out) == made(tmp_path / "whole")
