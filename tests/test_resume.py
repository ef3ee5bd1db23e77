"""Training that was stopped, or killed, goes on to the same bits."""

import os
import random
import signal
import subprocess
import time

import jax
import numpy as np
import pytest
from own_process import COMMAND, environment

from icrl_flax import _registry, cli, load
from icrl_flax.training import loop

SIZE = ["--d=2", "--n-states=3", "--n-actions=2", "--window-length=4", "--windows=5"]
CHUNKS = 24
RUN = ["sarsa", *SIZE, f"--mdps={CHUNKS}", "--family=chain"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """One MDP each: a run has many moments at which it can stop."""
    monkeypatch.setattr(loop, "_CHUNK_WINDOWS", 5)


def train(out, *options):
    return cli.main(["train", *RUN, "--out", str(out), *options])


def stopping(monkeypatch, after, number):
    """The signal comes once so many chunks are done."""

    def results(*arguments, **options):
        for count, result in enumerate(loop.train_iter(*arguments, **options)):
            if count == after:
                os.kill(os.getpid(), number)
            yield result

    monkeypatch.setattr(cli.train, "train_iter", results)


def assert_same(one, other):
    """All that a further update would depend on, and all that came before."""
    assert one.runs == other.runs
    assert one.mdps == other.mdps
    for a, b in zip(*map(jax.tree.leaves, (one.state, other.state)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert np.asarray(a).dtype == np.asarray(b).dtype
    assert one.losses.tobytes() == other.losses.tobytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert cli.main(["train", *RUN, "--out", str(out)]) == 0
    return load(out)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_at_random_and_resumed(number, seed, unbroken, tmp_path, monkeypatch, capsys):
    rng = random.Random(f"{number} {seed}")
    out, done = tmp_path / "run", 0
    for _ in range(3):
        step = rng.randint(1, 7)
        stopping(monkeypatch, step, number)
        assert train(out, "--resume") == 128 + number
        done += step
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith(f"interrupted: {out}.safetensors holds the block after {done} ")
        assert load(out).mdps == done
    monkeypatch.setattr(cli.train, "train_iter", loop.train_iter)
    assert train(out, "--resume") == 0
    assert_same(load(out), unbroken)
    assert "Traceback" not in capsys.readouterr().err


def test_resume_of_what_is_done_does_nothing(unbroken, tmp_path, capsys):
    out = unbroken.save(tmp_path / "run")
    assert train(out, "--resume") == 0
    assert "cosine" in capsys.readouterr().out
    assert_same(load(out), unbroken)


def test_kept_now_and_then(unbroken, tmp_path, monkeypatch):
    """Whatever happens between two moments at which the block is kept."""

    def results(*arguments, **options):
        for count, result in enumerate(loop.train_iter(*arguments, **options)):
            if count == 11:
                raise RuntimeError("power cut")
            yield result

    monkeypatch.setattr(cli.train, "train_iter", results)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path / "run", "--save-every=4")
    assert load(tmp_path / "run").mdps == 8
    monkeypatch.setattr(cli.train, "train_iter", loop.train_iter)
    assert train(tmp_path / "run", "--resume", "--save-every=100") == 0
    assert_same(load(tmp_path / "run"), unbroken)


OTHERS = {
    "seed": (["--seed=1"], "config.seed was 0, and is 1"),
    "more MDPs": (["--mdps=48"], "config.mdps was 24, and is 48"),
    "γ": (["--gamma=0.25"], "family.gamma was 0.5, and is 0.25"),
    "α": (["--alpha=0.5"], "rule.alpha was 0.2, and is 0.5"),
    "family": (["--family=random"], "the family was ChainMDPs"),
}


@pytest.mark.parametrize(("options", "message"), OTHERS.values(), ids=OTHERS)
def test_another_run_is_refused(options, message, unbroken, tmp_path, capsys):
    out = unbroken.save(tmp_path / "run")
    before = out.read_bytes()
    assert train(out, *options, "--resume") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: out: {out} holds another run: {message}")
    assert out.read_bytes() == before


def test_a_rule_whose_file_has_changed_is_refused(tmp_path, monkeypatch, capsys):
    for name in ("_own", "_files"):
        monkeypatch.setattr(_registry, name, dict(getattr(_registry, name)))
    path = tmp_path / "mine.py"
    path.write_text("from icrl_flax import Sarsa\nclass Mine(Sarsa): ...\n")
    arguments = ["train", "--import", str(path), "mine", *SIZE, "--mdps=2", "--out"]
    assert cli.main([*arguments, str(tmp_path / "run")]) == 0
    path.write_text("from icrl_flax import Sarsa\nclass Mine(Sarsa):\n    '''Other.'''\n")
    assert cli.main([*arguments, str(tmp_path / "run"), "--resume"]) == 2
    assert "the file that defines Mine has changed" in capsys.readouterr().err


def test_without_resume_nothing_is_replaced(unbroken, tmp_path, capsys):
    out = unbroken.save(tmp_path / "run")
    assert train(out) == 2
    assert capsys.readouterr().err == f"error: out: {out} exists; nothing was changed\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended(number, tmp_path):
    """The real thing; its chunks are large ones."""
    arguments = [*RUN[:-2], "--mdps=12000", "--save-every=1000", "--resume", "--out"]
    command = [*COMMAND, "train", *arguments]
    out = tmp_path / "run.safetensors"
    process = subprocess.Popen(
        [*command, str(out)], env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    while not out.exists():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.01)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    assert b"Traceback" not in errors
    assert 0 < load(out).mdps < 12_000
    whole = tmp_path / "whole"
    for path in (out, whole):
        subprocess.run([*command, str(path)], env=environment(), check=True, capture_output=True)
    assert_same(load(out), load(whole))
