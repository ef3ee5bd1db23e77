"""The same command makes the same files, bit for bit; other threads change rounding at most.

That a sweep's tables do not depend on which process made which row is in test_sweep.py.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors
from own_process import environment

from icrl_flax import load

COMMANDS = [
    ["train", "sarsa", "--out=run", "--d=4", "--n-states=5", "--n-actions=3", "--mdps=20"],
    ["evaluate", "run", "--n-mdps=3", "--steps=4", "--every=2", "--trajectories=4"],
]
SCRIPT = """
import json, os, sys
cores, commands = json.loads(sys.argv[1])
os.sched_setaffinity(0, cores)  # before JAX counts them: XLA has a thread for each
from icrl_flax import cli
for arguments in commands:
    assert cli.main(arguments) == 0, arguments
"""


def process(folder, cores, commands):
    """Run commands in a process of its own, on the given cores."""
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([cores, commands])],
        cwd=folder,
        # JAX's cache would run one program for all, even one compiled for another number of cores.
        env=environment(JAX_ENABLE_COMPILATION_CACHE="false"),
        check=True,
        capture_output=True,
        timeout=1200,
    )
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Training and evaluation twice on all cores, and the training once on one."""
    folder = tmp_path_factory.mktemp("repeats")
    cores = sorted(os.sched_getaffinity(0))
    jobs = {
        "first": (cores, COMMANDS),
        "second": (cores, COMMANDS),
        "one core": (cores[:1], COMMANDS[:1]),
    }
    with ThreadPoolExecutor() as pool:
        runs = {name: pool.submit(process, folder / name, *job) for name, job in jobs.items()}
        return {name: run.result() for name, run in runs.items()}


def opened(folder):
    """The tensors of a checkpoint, byte for byte, and its record."""
    with safetensors.safe_open(folder / "run.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["record"])


def test_two_processes_agree_bit_for_bit(made):
    (tensors, _), (again, _) = opened(made["first"]), opened(made["second"])
    assert tensors == again
    assert {"theta/P12", "theta/V21", "losses", "optimizer/0"} < tensors.keys()
    tables = [(made[run] / "run.evaluation.csv").read_bytes() for run in ("first", "second")]
    assert tables[0]
    assert tables[0] == tables[1]


def timeless(record):
    """A record without its wall times, which alone may differ."""
    if not isinstance(record, dict):
        return record
    return {key: timeless(each) for key, each in record.items() if "seconds" not in key}


def read(name, folder):
    if name == "checkpoint":
        return opened(folder)[1]
    return json.loads((folder / "run.evaluation.provenance.json").read_text())


@pytest.mark.parametrize("name", ["checkpoint", "evaluation"])
def test_records_differ_in_times_alone(name, made):
    record, again = (read(name, made[run]) for run in ("first", "second"))
    assert timeless(record) == timeless(again)
    text = json.dumps(record)
    assert "seconds" in text
    # What made it, and nothing about whose machine it was.
    assert '"jax": "' in text
    assert '"platform": "cpu"' in text
    assert str(made["first"].parent) not in text
    assert os.uname().nodename not in text


def test_weights_of_one_core(made):
    """XLA has one thread there; where this was written the bits agree too."""
    found, expected = load(made["one core"] / "run"), load(made["first"] / "run")
    for name in ("P", "V", "losses"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-6
        )
