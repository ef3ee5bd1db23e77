"""`python -m icrl_flax`: files, messages and exit codes."""

import functools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import icrl_flax
from icrl_flax import ActorCritic, Effective, cli, load, verify

SMALL = ["--d", "2", "--n-states", "3", "--n-actions", "2", "--window-length", "4"]
RUN = [*SMALL, "--mdps", "3", "--windows", "2"]


def error_line(capsys):
    """The last line on standard error, all there is beside the progress bar."""
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "options", "D"), [("sarsa", RUN, 8), ("actor-critic", [*RUN, "--m", "3"], 14)]
)
def test_train_writes_a_checkpoint(name, options, D, tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert cli.main(["train", name, "--out", str(out), "--seed", "4", *options]) == 0
    assert {path.name for path in out.iterdir()} == {
        "params.safetensors",
        "config.json",
        "loss.npy",
    }
    read = load(out)
    assert read.P.shape == read.V.shape == (D, D)
    assert read.P.dtype == read.V.dtype == read.losses.dtype == np.float32
    assert read.losses.shape == (6,)
    assert (read.algorithm.name(), read.algorithm.d) == (name, 2)
    assert (read.family.n_states, read.family.n_actions) == (3, 2)
    assert (read.training.seed, read.training.mdps, read.training.windows) == (4, 3, 2)
    record = json.loads((out / "config.json").read_text())
    assert record["completed_mdps"] == 3
    printed = capsys.readouterr().out
    assert f"{read.losses.mean():.2e}" in printed
    assert "cosine" in printed
    assert f"wrote {out}" in printed


def test_double_precision_by_option(tmp_path):
    assert cli.main(["train", "sarsa", "--out", str(tmp_path), *RUN, "--dtype", "float64"]) == 0
    assert load(tmp_path).training.dtype == "float64"


def test_a_directory_in_use_is_left_alone(tmp_path, capsys):
    (tmp_path / "loss.npy").write_text("mine")
    assert cli.main(["train", "sarsa", "--out", str(tmp_path), *RUN]) == 2
    assert error_line(capsys).startswith("error: out: ")
    assert [path.name for path in tmp_path.iterdir()] == ["loss.npy"]
    assert (tmp_path / "loss.npy").read_text() == "mine"


def test_a_file_is_no_directory(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("mine")
    assert cli.main(["train", "sarsa", "--out", str(path), *RUN]) == 2
    assert str(path) in error_line(capsys)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--gamma", "1", "gamma must lie in [0, 1), got 1.0"),
        ("--alpha", "0", "alpha must be positive"),
        ("--epsilon", "2", "epsilon must lie in [0, 1], got 2.0"),
        ("--d", "0", "d must be an integer of at least 1, got 0"),
        ("--seed", "-1", "seed must be an integer of at least 0, got -1"),
        ("--windows", "0", "windows must be"),
        ("--learning-rate", "nan", "learning_rate must be"),
    ],
)
def test_bad_value(option, value, message, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", "sarsa", "--out", str(out), option, value]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert len(captured.err.splitlines()) == 1
    assert not captured.out
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["train", "sarsa"],
        ["train", "q-learning", "--out", "x"],
        ["train", "sarsa", "--out", "x", "--dtype", "float16"],
        ["train", "sarsa", "--out", "x", "--mdps", "many"],
    ],
    ids=" ".join,
)
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "sarsa", "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for option in ("out", "d", "alpha", "epsilon", "n-states", "gamma", "seed", "mdps", "windows"):
        assert f"--{option} " in printed


def test_divergence_is_reported_and_saved(tmp_path, capsys):
    options = ["--learning-rate", "1e30", *RUN]
    assert cli.main(["train", "sarsa", "--out", str(tmp_path), *options]) == 2
    assert re.match(r"error: training stopped: .* at update [1-5]\b", error_line(capsys))
    read = load(tmp_path)
    assert np.isfinite(read.P).all()
    assert read.record["completed_mdps"] == 0


def few(monkeypatch):
    """Verification at two small sizes only: each is compiled."""
    small = functools.partial(verify, sizes=2, cases_per_size=4, largest=5, longest=6)
    monkeypatch.setattr(cli, "verify", small)


def test_verify_prints_a_table(monkeypatch, capsys):
    few(monkeypatch)
    assert cli.main(["verify", "--seed", "3"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["algorithm", "dtype", "cases"]
    assert [row.split()[:3] for row in rows] == [
        [name, dtype, "8"]
        for name in ("actor-critic", "sarsa")
        for dtype in ("float64", "float32")
    ]
    for row in rows:
        _, _, _, worst, bound, verdict = row.split()
        assert 0 < float(worst) <= float(bound)
        assert verdict == "holds"
    assert cli.main(["verify", "sarsa"]) == 0
    assert capsys.readouterr().out.count("sarsa") == 2


def test_verify_fails_what_is_wrong(monkeypatch, capsys):
    few(monkeypatch)
    right = ActorCritic.optimum

    def doubled(self, dtype):
        P12, V21 = right(self, dtype)
        return Effective(2 * P12, V21)

    monkeypatch.setattr(ActorCritic, "optimum", doubled)
    assert cli.main(["verify"]) == 1
    printed = capsys.readouterr().out
    assert (printed.count("FAILS"), printed.count("holds")) == (2, 2)


def test_verify_refuses_unknown_names(capsys):
    assert cli.main(["verify", "sarsa", "q-learning"]) == 2
    captured = capsys.readouterr()
    assert captured.err == (
        "error: algorithms must be among actor-critic, sarsa, got 'q-learning'\n"
    )
    assert not captured.out


def test_ctrl_c_during_verification(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "verify", interrupted)
    try:
        status = cli.main(["verify"])
    except KeyboardInterrupt:  # which would end the test run, too
        pytest.fail("main leaves Ctrl-C to print a traceback")
    assert status == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_keeps_the_block(tmp_path):
    out = tmp_path / "run"
    root = str(pathlib.Path(icrl_flax.__file__).parents[1])
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "icrl_flax",
            "train",
            "sarsa",
            "--out",
            str(out),
            *SMALL,
            "--mdps",
            "100000",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    try:
        progress = b""
        while b"loss=" not in progress:  # the bar shows one as soon as updates are done
            piece = process.stderr.read1(4096)
            assert piece, progress.decode()
            progress += piece
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"interrupted" in errors
    read = load(out)
    done = read.record["completed_mdps"]
    assert 0 < done < 100_000
    assert read.losses.shape == (50 * done,)
    assert not printed
