"""Processes ended at random moments, by SIGTERM or SIGKILL, and started again: the same bits.

`--moments=20` ends each command at so many; few, if it is not given. Where in a run a moment
lies is a matter of the clock, so that each run of these tests tries others.
"""

import random
import signal
import subprocess
import time

import pytest
import safetensors.numpy
from own_process import COMMAND, environment

SIGNALS = (signal.SIGTERM, signal.SIGKILL)
TRAIN = ["train", "sarsa", "--resume", "--save-every=500", "--d=2", "--n-states=3"]
TRAIN += ["--n-actions=2", "--window-length=4", "--windows=5", "--mdps=40000"]
SPEC = """
seeds = 6
batch = 2
[rule]
name = "sarsa"
d = 2
[family]
n_states = 3
n_actions = 2
[training]
mdps = 8000
windows = 5
window_length = 4
"""


def started(arguments):
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def tensors(file):
    return {name: x.tobytes() for name, x in safetensors.numpy.load_file(file).items()}


def trained(out):
    return tensors(out.with_suffix(".safetensors"))


def swept(out):
    assert (out / "provenance.json").exists()
    return [(out / name).read_bytes() for name in ("table.csv", "curves.csv")], tensors(
        out / "weights.safetensors"
    )


@pytest.fixture
def commands(tmp_path):
    """Each with what it leaves behind."""
    (tmp_path / "spec.toml").write_text(SPEC)
    return {
        "train": (TRAIN, trained),
        "sweep": (["sweep", str(tmp_path / "spec.toml"), "--executor=threads"], swept),
    }


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_ended_and_started_again(name, commands, tmp_path, pytestconfig):
    command, read = commands[name]
    began = time.monotonic()
    whole = started([*command, "--out", str(tmp_path / "whole")])
    errors = whole.communicate(timeout=120)[1].decode()
    assert whole.returncode == 0, errors
    seconds = time.monotonic() - began  # of which most is the start

    rng, ended, runs = random.Random(), 0, 0
    while ended < pytestconfig.getoption("moments"):
        out, code = tmp_path / f"run {runs}", None
        while code != 0:
            began, number = time.monotonic(), rng.choice(SIGNALS)
            process = started([*command, "--out", str(out)])
            try:
                if ended < pytestconfig.getoption("moments"):
                    process.wait(rng.uniform(0.3, 1) * seconds)
                    seconds = min(seconds, time.monotonic() - began)  # the first one compiled
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                ended += 1
            errors = process.communicate(timeout=120)[1].decode()
            code = process.returncode
            # Before the command listens, SIGTERM ends the process as any other.
            assert code in (0, -number, 128 + number), errors
            assert "Traceback" not in errors
        runs += 1
        assert read(out) == read(tmp_path / "whole")
    print(f"{name}: {ended} moments in {runs} runs")
