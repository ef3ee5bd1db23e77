"""`python -m icrl_flax`: files, messages and exit codes."""

import csv
import functools
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from own_process import COMMAND, environment

from icrl_flax import (
    ActorCritic,
    Effective,
    EvaluationConfig,
    Sarsa,
    _registry,
    cli,
    evaluate,
    load,
    verify,
)
from icrl_flax.control.evaluation import rows
from icrl_flax.mdps import ChainMDPs

SMALL = ["--d", "2", "--n-states", "3", "--n-actions", "2", "--window-length", "4"]
RUN = [*SMALL, "--mdps", "3", "--windows", "2"]


@pytest.mark.parametrize(
    ("name", "options", "D"), [("sarsa", RUN, 8), ("actor-critic", [*RUN, "--m", "3"], 14)]
)
def test_train_writes_a_checkpoint(name, options, D, tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert cli.main(["train", name, "--out", str(out), "--seed", "4", *options]) == 0
    assert names_in(out.parent) == ["run.safetensors"]
    read = load(out)
    assert read.P.shape == read.V.shape == (D, D)
    assert read.P.dtype == read.V.dtype == read.losses.dtype == np.float32
    assert read.losses.shape == (6,)
    assert (read.rule.name(), read.rule.d) == (name, 2)
    assert (read.family.n_states, read.family.n_actions) == (3, 2)
    assert (read.config.seed, read.config.mdps, read.config.windows) == (4, 3, 2)
    assert read.record["completed_mdps"] == 3
    printed = capsys.readouterr().out
    assert f"{read.losses.mean():.2e}" in printed
    assert "cosine" in printed
    assert f"wrote {out}.safetensors" in printed


def test_double_precision_by_option(tmp_path):
    out = tmp_path / "run"
    assert cli.main(["train", "sarsa", "--out", str(out), *RUN, "--dtype", "float64"]) == 0
    assert load(out).config.dtype == "float64"
    assert load(out).losses.dtype == np.float64


def test_double_precision_without_a_warning(tmp_path):
    """In a process of its own, where nobody has switched 64-bit numbers on."""
    out = str(tmp_path / "run")
    for arguments in (
        ["train", "sarsa", "--out", out, *RUN, "--dtype", "float64"],
        ["evaluate", f"{out}.safetensors", "--n-mdps", "2", "--steps", "2", "--every", "1"],
    ):
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment() | {"JAX_ENABLE_X64": "0"},
        )
        assert "Warning" not in done.stderr
        assert "dtype" not in done.stderr


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", "sarsa", "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for option in ("out", "d", "alpha", "epsilon", "n-states", "gamma", "seed", "mdps", "windows"):
        assert f"--{option} " in printed


def few(monkeypatch):
    """Verification at two small sizes only: each is compiled."""
    small = functools.partial(verify, cases_per_size=4, largest=5, longest=6)
    monkeypatch.setattr(cli.verify, "verify", small)
    pair = {"actor-critic": ActorCritic, "sarsa": Sarsa}  # not the whole gallery, for time
    monkeypatch.setattr(_registry, "rules", lambda: pair)


def test_verify_prints_a_table(monkeypatch, capsys):
    few(monkeypatch)
    assert cli.main(["verify", "--sizes", "2", "--seed", "3"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["rule", "dtype", "cases"]
    assert [row.split()[:3] for row in rows] == [
        [name, dtype, "8"]
        for name in ("actor-critic", "sarsa")
        for dtype in ("float64", "float32")
    ]
    for row in rows:
        *_, layers, worst, bound, verdict = row.split()
        assert layers == "1"
        assert 0 < float(worst) <= float(bound)
        assert verdict == "holds"
    assert cli.main(["verify", "--rules", "sarsa", "--sizes", "1"]) == 0
    assert capsys.readouterr().out.count("sarsa") == 2


def test_verify_fails_what_is_wrong(monkeypatch, capsys):
    few(monkeypatch)
    right = ActorCritic.optimum

    def doubled(self, dtype):
        P12, V21 = right(self, dtype)
        return Effective(2 * P12, V21)

    monkeypatch.setattr(ActorCritic, "optimum", doubled)
    assert cli.main(["verify", "--sizes", "1"]) == 1
    printed = capsys.readouterr().out
    assert (printed.count("FAILS"), printed.count("holds")) == (2, 2)


def test_ctrl_c_during_verification(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.verify, "verify", interrupted)
    try:
        status = cli.main(["verify"])
    except KeyboardInterrupt:  # which would end the test run, too
        pytest.fail("main leaves Ctrl-C to print a traceback")
    assert status == 130
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_keeps_the_block(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [
            *COMMAND,
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
        env=environment(),
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


def test_softmax_attention_is_trained_and_acts(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", "sarsa", "--out", str(out), *RUN, "--attention", "softmax"]) == 0
    # The theory's scale and cosine are those of linear attention.
    assert "cosine" not in capsys.readouterr().out
    assert load(out).config.attention == "softmax"
    assert cli.main(["evaluate", str(out), *BRIEFLY]) == 0
    assert (tmp_path / "run.evaluation.csv").exists()


# evaluate

BRIEF = {"n_mdps": 2, "steps": 2, "every": 1, "trajectories": 2, "length": 2}
BRIEFLY = [f"--{name.replace('_', '-')}={value}" for name, value in BRIEF.items()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", "actor-critic", "--out", str(out), *RUN, "--m", "3"]) == 0
    return out.with_suffix(".safetensors")


@pytest.fixture
def checkpoint(trained, tmp_path):
    """A copy to evaluate, or to damage."""
    return Path(shutil.copy(trained, tmp_path))


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(("elsewhere", "family"), [(False, None), (True, "chain")])
def test_evaluate_writes_a_table(elsewhere, family, checkpoint, tmp_path, capsys):
    out = tmp_path / ("table.csv" if elsewhere else "run.evaluation.csv")
    options = ["--out", str(out)] * elsewhere
    if family:
        options += ["--family", family, "--n-states", "4", "--gamma=0.8", "--n-actions=2"]
    assert cli.main(["evaluate", str(checkpoint), *BRIEFLY, "--seed", "5", *options]) == 0
    made_by = out.with_suffix(".provenance.json")
    assert names_in(tmp_path) == sorted([checkpoint.name, out.name, made_by.name])
    with out.open(newline="") as file:
        header, *table = csv.reader(file)
    assert header == ["agent", "policy_kind", "estimator", "step", "mdp", "return"]
    # 2 agents × 2 kinds × 2 estimators × 3 points × 2 MDPs; 2 × 2 × 2 of fixed policies.
    assert len(table) == 48 + 8
    # The options arrive, and so do the checkpoint's own rule, weights and family.
    read = load(checkpoint)
    config = EvaluationConfig(seed=5, **BRIEF)
    where = ChainMDPs(4, 2, 0.8) if family else read.family
    expected = evaluate(read.rule, read.block, where, config)
    for row, (*labels, value) in zip(table, rows(expected), strict=True):
        assert row[:5] == list(map(str, labels))
        assert float(row[5]) == pytest.approx(value, rel=1e-6, abs=1e-6)
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[:2] == ["agent", "policy_kind"]
    ends = {tuple(line.split()[:2]): line.split()[2:] for line in lines[1:-1]}
    assert set(ends) == set(expected.returns)
    assert ends["oracle", "policy"][1] == "1.000"
    assert ends["uniform", "policy"][1] == "0.000"
    for name, returns in expected.returns.items():
        assert float(ends[name][0]) == pytest.approx(returns.exact[-1].mean(), abs=1e-4)
    assert lines[-1].startswith(f"wrote {out} after ")
    record = json.loads(made_by.read_text())
    assert record["evaluation"] == {"seed": 5, "window_length": 20, **BRIEF}
    assert record["family"]["name"] == (family or "random")
    assert record["family"]["n_states"] == where.n_states
    assert record["checkpoint"] == read.record
    assert record["device"]["platform"] == "cpu"
    assert re.match(r"\d", record["versions"]["jax"])
    assert len(record["weights_sha256"]) == 64
    for private in (str(tmp_path), os.uname().nodename):
        assert private not in made_by.read_text()
    assert not captured.err


def refused(arguments, capsys):
    """The one line on standard error, after exit code 2."""
    assert cli.main(["evaluate", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("damage", ["missing", "truncated", "empty"])
def test_evaluate_refuses_a_damaged_checkpoint(damage, checkpoint, tmp_path, capsys):
    if damage == "missing":
        checkpoint.unlink()
    else:
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    left = names_in(tmp_path)
    assert str(checkpoint) in refused([checkpoint, *BRIEFLY], capsys)
    assert names_in(tmp_path) == left


@pytest.mark.parametrize("option", ["n-mdps", "steps", "every", "trajectories", "length"])
def test_evaluate_refuses_bad_values(option, checkpoint, tmp_path, capsys):
    line = refused([checkpoint, f"--{option}", "0"], capsys)
    name = option.replace("-", "_")
    assert line == f"error: {name} must be an integer of at least 1, got 0"
    assert names_in(tmp_path) == [checkpoint.name]


# whose mistake it is


@pytest.mark.parametrize("command", ["train", "evaluate", "verify"])
def test_a_bug_keeps_its_traceback(command, checkpoint, tmp_path, monkeypatch):
    """A ValueError of a computation is no message about what was typed."""

    def broken(*_, **__):
        raise ValueError("a bug")

    module = getattr(cli, command)
    monkeypatch.setattr(module, {"train": "train_iter"}.get(command, command), broken)
    rest = {
        "train": ["sarsa", "--out", str(tmp_path / "new"), *RUN],
        "evaluate": [str(checkpoint), *BRIEFLY],
        "verify": [],
    }
    with pytest.raises(ValueError, match="a bug") as raised:
        cli.main([command, *rest[command]])
    assert type(raised.value) is ValueError
