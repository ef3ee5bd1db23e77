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
from icrl_flax import Report, RandomMDPs, Sarsa, TrainingConfig, load
from icrl_flax.training import checkpoint as checkpoint

folder, manner, trials = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rule, rng = Sarsa(), np.random.default_rng(0)
checkpoint.provenance = dict

def in_place(files):
    for path, write in files.items():
        write(path)

if manner == "in place":
    checkpoint.write_together = in_place

def save(number):
    matrix = np.full((rule.D, rule.D), number, np.float32)
    report = Report(matrix, matrix, np.full(100_000, number, np.float32), number, 0.0, 0.0)
    checkpoint.save(folder, report, rule, RandomMDPs(), TrainingConfig())

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
        read = load(folder)
        numbers = [read.record["completed_mdps"]]
        for array in (read.losses, read.P, read.V):
            assert array.size in (100_000, rule.D**2), "short"
            assert (array == array.flat[0]).all(), "mixed"
            numbers.append(int(array.flat[0]))
    except (ValueError, AssertionError) as error:
        numbers = str(error)
    temporary = [path for path in folder.iterdir() if path.name.startswith(".")]
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
    for trial in found:  # written one before the other, renamed in a row
        config, losses, P, V = trial["numbers"]
        assert P == V
        assert config >= losses >= P >= config - 1
    # The kill came before, in and after saves.
    assert any(max(trial["numbers"]) > 0 for trial in found)
    assert any(trial["temporary"] for trial in found)


def test_the_trial_finds_torn_files(tmp_path):
    """Written in place, some are."""
    found = killed(tmp_path, "in place")
    assert any(isinstance(trial["numbers"], str) for trial in found)
