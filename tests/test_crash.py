"""Killed at any moment, a save leaves each file old or new, and whole."""

import json
import subprocess
import sys

from own_process import environment

TRIALS = 30

# One process that never starts JAX, so that it can fork: a child saves one checkpoint
# after the other, all of whose numbers are its own, until it is killed.
SCRIPT = """
import json, os, pathlib, signal, sys, time
import numpy as np
from icrl_flax import RandomMDPs, Sarsa, TrainingConfig, TrainingResult, _ambient, _files, load
from icrl_flax.attention import Effective
from icrl_flax.training import Run, checkpoint
from icrl_flax.training.result import State

file, manner, trials = pathlib.Path(sys.argv[1]) / "run", sys.argv[2], int(sys.argv[3])
rule, rng = Sarsa(), np.random.default_rng(0)
checkpoint.provenance = lambda: {"prng": _ambient.PRNG}

def in_place(path, write):
    write(path)

if manner == "in place":
    _files.write_atomically = in_place

def save(number):
    def full(*shape):
        return np.full(shape, number, np.float32)

    theta = Effective(full(1, rule.p, rule.q + 1), full(1, rule.q, rule.p))
    run = Run(rule, RandomMDPs(), TrainingConfig())
    state = State(theta, (full(1, 300_000),))
    TrainingResult((run,), False, state, full(100_000), -1, number, 0.0, 0.0).save(file)

def start_again():
    "Seconds that one save takes, on a machine that may be busy."
    began = time.perf_counter()
    save(0)
    return time.perf_counter() - began

start_again()
seconds, found = start_again(), []
for _ in range(trials):
    child = os.fork()
    if child == 0:
        number = 0
        while True:
            number += 1
            save(number)
    time.sleep(rng.uniform(0, 4) * seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        read = load(file)
        numbers = [read.mdps]
        for array in (read.losses, *read.state.theta, *read.state.optimizer_state):
            assert (array == array.flat[0]).all(), "mixed"
            numbers.append(int(array.flat[0]))
    except (ValueError, AssertionError) as error:
        numbers = str(error)
    temporary = [path for path in file.parent.iterdir() if path.name.startswith(".")]
    found.append({"numbers": numbers, "temporary": len(temporary)})
    for path in temporary:
        path.unlink()
    seconds = start_again()
print(json.dumps(found))
"""


def killed(folder, manner):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), manner, str(TRIALS)],
        env=environment(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def test_old_or_new(tmp_path):
    found = killed(tmp_path, "atomically")
    assert [trial for trial in found if isinstance(trial["numbers"], str)] == []
    for trial in found:  # all of one save
        assert len(set(trial["numbers"])) == 1
    # The kill came before, in and after saves.
    assert any(max(trial["numbers"]) > 0 for trial in found)
    assert any(trial["temporary"] for trial in found)


def test_the_trial_finds_torn_files(tmp_path):
    """Written in place, some are."""
    found = killed(tmp_path, "in place")
    assert any(isinstance(trial["numbers"], str) for trial in found)
