"""Every wrong command: one message with name and value, status 2, and every file as it was.

What belongs to one place is tabulated there: specifications in test_sweep.py, damaged
checkpoints in test_checkpoint.py.
"""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess

import numpy as np
import pytest
import safetensors.numpy
from own_process import COMMAND, environment

from icrl_flax import Sarsa, cli, load, save

SMALL = ["--d=2", "--n-states=3", "--n-actions=2", "--window-length=4", "--mdps=3", "--windows=2"]
BRIEF = ["--n-mdps=2", "--steps=2", "--every=1", "--trajectories=2", "--length=2"]
SPEC = """
[rule]
name = "sarsa"
d = 2
[family]
n_states = 3
n_actions = 2
[training]
mdps = 3
windows = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", "sarsa", "--out", str(out), *SMALL]) == 0
    return out.with_suffix(".safetensors")


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A directory to work in, with what may go wrong in it."""
    shutil.copy(trained, tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "loss.npy").write_text("mine")
    (tmp_path / "file").write_text("mine, too")
    (tmp_path / "mine.safetensors").mkdir()
    for link in ("dangling.safetensors", "link.csv"):
        (tmp_path / link).symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    """Everything below a directory, temporary files too."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else os.path.islink(path)
        for path in folder.rglob("*")
    }


def train(*options, rule="sarsa", out="new"):
    return ["train", rule, "--out", out, *SMALL, *options]


def evaluate(*options, run="run"):
    return ["evaluate", run, *BRIEF, *options]


def change(tensors=None, **record):
    """A change of the checkpoint: of tensors, or of settings in a part of its record."""

    def damage():
        path = pathlib.Path("run.safetensors")
        with safetensors.safe_open(path, "numpy") as file:
            held = json.loads(file.metadata()["record"])
        for part, settings in record.items():
            if isinstance(settings, dict):
                held[part]["fields"].update(settings)
            else:
                held[part] = {"kind": settings, "fields": {}}
        content = safetensors.numpy.load_file(path) | (tensors or {})
        safetensors.numpy.save_file(content, path, {"record": json.dumps(held)})

    return damage


def write(name, content):
    return lambda: pathlib.Path(name).write_bytes(content)


def spec(text):
    return write("spec.toml", (text + SPEC).encode())


def nothing():
    """Nothing is wrong with the files."""


P12 = np.zeros((Sarsa(d=2).p, Sarsa(d=2).q + 1), np.float32)
# What is done to the files before, the command, and what its one line must say.
REFUSED = {
    "γ = 1": (nothing, train("--gamma=1"), r"gamma must lie in \[0, 1\), got 1.0"),
    "γ < 0": (nothing, train("--gamma=-0.5"), r"gamma must lie in \[0, 1\), got -0.5"),
    "ε = 2": (nothing, train("--epsilon=2"), r"epsilon must lie in \[0, 1\], got 2.0"),
    "α = 0": (nothing, train("--alpha=0"), "alpha must be positive and finite, got 0.0"),
    "α infinite": (nothing, train("--alpha=inf"), "alpha must be positive and finite, got inf"),
    "d = 0": (nothing, train("--d=0"), "d must be an integer of at least 1, got 0"),
    "n = 0": (nothing, train("--window-length=0"), "window_length must be .*, got 0"),
    "no MDPs": (nothing, train("--mdps=0"), "mdps must be .*, got 0"),
    "no windows": (nothing, train("--windows=0"), "windows must be .*, got 0"),
    "no states": (nothing, train("--n-states=0"), "n_states must be .*, got 0"),
    "seed < 0": (
        nothing,
        train("--seed=-1"),
        r"seed must be an integer of at least 0 and below 2\*\*63, got -1",
    ),
    "rate NaN": (nothing, train("--learning-rate=nan"), "learning_rate must be .*, got nan"),
    "gain < 0": (nothing, train("--gain=-1"), "gain must be finite and not negative, got -1.0"),
    "floor > 1": (nothing, train("--floor=3"), r"floor must lie in \[0, 1\], got 3.0"),
    "MDPs left over": (nothing, train("--mdps-per-update=2"), "mdps must be a multiple .*, got 3"),
    "one-hot of another size": (
        nothing,
        train("--features=one-hot"),
        "d must be S·A = 6 for one-hot features, got 2",
    ),
    "softmax with two heads": (
        nothing,
        train("--attention=softmax", rule="gtd2"),
        "attention 'softmax' has one head, got gtd2 with 2",
    ),
    "k = 0": (nothing, train("--k=0", rule="n-step-sarsa"), "k must be .*, got 0"),
    "λ = 2": (nothing, train("--lam=2", rule="td-lambda"), "lam must lie in .*, got 2.0"),
    "out holds a run": (nothing, train(out="run"), "out: run.safetensors exists; nothing was"),
    "out holds a run, by its name": (
        nothing,
        train(out="run.safetensors"),
        "out: run.* exists",
    ),
    "out is a directory": (nothing, train(out="mine.safetensors"), "out: mine.saf.* exists"),
    "out below a file": (nothing, train(out="file/new"), "out: cannot write to file/new.safe.*: "),
    "out in a directory of the kernel": (nothing, train(out="/proc/new"), "out: .* /proc/new.*: "),
    "out is a dangling link": (nothing, train(out="dangling"), "out: dangling.saf.* exists"),
    "resume another run": (
        nothing,
        train("--gamma=0.1", "--resume", out="run"),
        "family.gamma was",
    ),
    "resume what is none": (
        write("new.safetensors", b"mine"),
        train("--resume"),
        "new.safetensors is not a checkpoint",
    ),
    "saved every 0 MDPs": (nothing, train("--save-every=0"), "save_every must be .*, got 0"),
    "a family that fits no features": (
        nothing,
        train("--family=sparse", "--successors=9"),
        "successors must be at most n_states = 3, got 9",
    ),
    "no checkpoint": (nothing, evaluate(run="none"), "none.* does not exist"),
    "a checkpoint of before": (
        write("empty/config.json", b"{}"),
        evaluate(run="empty"),
        "empty is a checkpoint of an older version",
    ),
    "no held-out MDP": (nothing, evaluate("--n-mdps=0"), "n_mdps must be .*, got 0"),
    "one trajectory": (nothing, evaluate("--trajectories=1"), "trajectories must .*, got 1"),
    "another family, γ = 1": (nothing, evaluate("--family=chain", "--gamma=1"), "gamma must .* 1"),
    "table exists": (nothing, evaluate("--out=file"), "out: file exists; nothing was changed"),
    "table of this block exists": (
        write("run.evaluation.csv", b"mine"),
        evaluate(),
        "out: run.evaluation.csv exists; nothing was changed",
    ),
    "table is a dangling link": (nothing, evaluate("--out=link.csv"), "out: link.csv exists"),
    "table in a directory of the kernel": (
        nothing,
        evaluate("--out=/proc/x.csv"),
        "out: cannot write to /proc/x.csv: ",
    ),
    "provenance exists": (
        write("x.provenance.json", b"mine"),
        evaluate("--out=x.csv"),
        "out: x.provenance.json exists",
    ),
    "checkpoint of another size": (change(rule={"d": 3}), evaluate(), r"shape \(7, 4\), got"),
    "checkpoint of an unknown rule": (
        change(rule="rule q-learning"),
        evaluate(),
        "run.safetensors: .*q-learning",
    ),
    "checkpoint with γ = 1": (change(family={"gamma": 1.0}), evaluate(), "gamma must .* got 1.0"),
    "checkpoint with an unknown key": (change(config={"momentum": 1}), evaluate(), "momentum"),
    "weights NaN": (
        change({"theta/P12": P12 + np.nan}),
        evaluate(),
        "P12 must be finite, got",
    ),
    "weights in float64": (
        change({"theta/P12": P12.astype(np.float64)}),
        evaluate(),
        "P12 must be float32, got float64",
    ),
    "weights of another program": (
        write("run.safetensors", b"PK\3\4" + bytes(200)),
        evaluate(),
        "run.safetensors is not a checkpoint, or damaged: ",
    ),
    "no file to import": (nothing, ["verify", "--import=no.py"], "import: cannot read .*no.py"),
    "verify what is unknown": (
        nothing,
        ["verify", "--rules", "q-learning"],
        "rules .* 'q-learning'",
    ),
    "verify with seed < 0": (nothing, ["verify", "--seed=-1"], "seed must be .*, got -1"),
    "no grid file": (nothing, ["sweep", "none.toml", "--out=new"], "none.toml"),
    "a directory for a grid file": (nothing, ["sweep", "empty", "--out=new"], "empty"),
    "a malformed grid file": (
        spec("seeds = = 3"),
        ["sweep", "spec.toml", "--out=new"],
        "spec.toml is not a TOML file: ",
    ),
    "an unknown key in a grid file": (
        spec("sedes = 3"),
        ["sweep", "spec.toml", "--out=new"],
        "spec.toml: sedes is unknown, got 3",
    ),
    "no workers": (
        nothing,
        ["sweep", "spec.toml", "--out=new", "--workers=0"],
        "workers must be an integer of at least 1, got 0",
    ),
    "sweep into what is there": (
        nothing,
        ["sweep", "spec.toml", "--out=mine"],
        "out: .*mine exists and is not empty",
    ),
    "sweep into a checkpoint": (
        nothing,
        ["sweep", "spec.toml", "--out=run.safetensors"],
        "out: .*run.safetensors: ",
    ),
    "verify no layer": (nothing, ["verify", "--layers=0"], "layers must be .*, got 0"),
    "verify no size": (nothing, ["verify", "--sizes=0"], "sizes must be .*, got 0"),
    "sweep into a file": (nothing, ["sweep", "spec.toml", "--out=file"], "out: .*file: "),
    "sweep into a directory of the kernel": (
        nothing,
        ["sweep", "spec.toml", "--out=/proc/new"],
        "out: cannot write to /proc/new: ",
    ),
}


@pytest.mark.parametrize(("damage", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_the_command_line(damage, arguments, message, place, capsys):
    damage()
    before = contents(place)
    assert cli.main(arguments) == 2
    printed, errors = capsys.readouterr()
    (line,) = errors.splitlines()
    assert re.match(f"error: .*{message}", line), line
    assert printed == ""
    assert contents(place) == before


# What the parser refuses takes several lines: the message stands in a frame, with a hint.
USAGE = {
    "nothing": ([], "train"),
    "no rule": (["train"], "sarsa"),
    "no out": (["train", "sarsa"], "--out"),
    "unknown command": (["test"], "test"),
    "unknown rule": (train(rule="q-learning"), "q-learning"),
    "unknown option": (train("--momentum=1"), "--momentum"),
    "unknown dtype": (train("--dtype=float16"), "float16"),
    "a word for a number": (train("--mdps=many"), "many"),
    "a fraction for a count": (train("--mdps=2.5"), "2.5"),
    "an option of another rule": (train("--beta=0.5"), "--beta"),
    "unknown family": (train("--family=mazes"), "mazes"),
    "an option of another family": (train("--family=chain", "--concentration=2"), "--concentrat"),
    "an option of a family that is not named": (evaluate("--gamma=0.5"), "--gamma"),
    "a rule that is no option": (["verify", "sarsa"], "sarsa"),
    "unknown executor": (["sweep", "spec.toml", "--out=new", "--executor=fork"], "fork"),
    "a word for workers": (["sweep", "spec.toml", "--out=new", "--workers=all"], "all"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_refused_by_the_parser(arguments, message, place, capsys):
    before = contents(place)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    printed, errors = capsys.readouterr()
    assert message in errors
    assert "Traceback" not in errors
    assert printed == ""
    assert contents(place) == before


def test_the_tables_are_long_enough():
    assert len(REFUSED) + len(USAGE) >= 70


# Disks that are full, and directories that cannot be written, whoever asks


def failing(monkeypatch, module, name, code, after=0):
    """From its call number `after` on, a function of the system fails for want of space."""
    right, calls = getattr(module, name), [0]

    @functools.wraps(right)
    def wrong(*arguments, **options):
        calls[0] += 1
        if calls[0] > after:
            raise OSError(code, os.strerror(code))
        return right(*arguments, **options)

    monkeypatch.setattr(module, name, wrong)


COMMANDS = {
    "train": (train(out="empty/new"), "empty/new.safetensors"),
    "evaluate": (evaluate("--out=empty/x.csv"), "empty/x.csv"),
    "sweep": (["sweep", "spec.toml", "--out=empty"], "empty"),
}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("command", COMMANDS)
def test_directory_that_cannot_be_written(command, code, place, monkeypatch, capsys):
    arguments, out = COMMANDS[command]
    before = contents(place)
    failing(monkeypatch, os, "open", code)
    assert cli.main(arguments) == 2
    printed, errors = capsys.readouterr()
    assert re.fullmatch(f"error: out: cannot write to .*{out}: {os.strerror(code)}\n", errors)
    assert printed == ""
    assert contents(place) == before


@pytest.mark.parametrize("name", ["fsync", "open"])
def test_disk_that_is_full_after_training(name, place, monkeypatch, capsys):
    """One file, and its directory, have been written before: the probe."""
    before = contents(place)
    failing(monkeypatch, os, name, errno.ENOSPC, after=2)
    assert cli.main(train()) == 2
    printed, errors = capsys.readouterr()
    assert errors.splitlines()[-1] == (
        "error: out: cannot write to new.safetensors: No space left on device"
    )
    assert "Traceback" not in errors
    assert printed == ""
    monkeypatch.undo()
    assert contents(place) == before


@contextlib.contextmanager
def room(size):
    """Limits how long any file may grow, as a full disk does, in the middle of a write.

    Only inside the block: the file that holds what pytest prints may be longer already.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_file_that_does_not_fit(place):
    read = load("run")
    before = contents(place)
    other = dataclasses.replace(read, losses=read.losses + 1)
    size = (place / "run.safetensors").stat().st_size
    with room(size - 100), pytest.raises(OSError, match="File too large"):
        save(other, "run")
    assert contents(place) == before
    with room(size + 100):
        save(other, "run")
    np.testing.assert_array_equal(load("run").losses, other.losses)


def test_standard_output_that_is_full(place):
    """Python itself would try again at its end, and exit with 120."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *train()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: standard output: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert load("new").losses.size == 6


def test_training_that_diverges(place, capsys):
    """It stops with the step, and keeps the last block that was good."""
    assert cli.main(train("--learning-rate=1e30", "--mdps=300")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        r"error: training stopped: the loss is not finite at update [1-5]; new.safetensors holds",
        line,
    )
    kept = load("new")
    assert np.isfinite(kept.P).all()
    assert np.isfinite(kept.V).all()
    assert kept.P.any()
    assert kept.mdps == 0


def test_training_whose_last_step_diverges(place, capsys):
    """No loss has seen the weights after it: of its two factors each fits, their product not."""
    huge = ["--optimizer=sgd", "--gain=1e8", "--learning-rate=1e20"]
    assert cli.main(train(*huge, "--mdps=1", "--windows=1")) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == (
        "error: training stopped: the weights are not finite after update 0; "
        "new.safetensors holds the block before it"
    )
    assert captured.out == ""
    assert np.isfinite(load("new").P).all()
