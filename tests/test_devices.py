"""Eight devices do what one does: a second interpreter is told to have eight."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from own_process import ROOT, STRICT

from icrl_flax import RandomMDPs, Sarsa, TrainingConfig, train_iter
from icrl_flax.experiments.run import usual_batch
from icrl_flax.training.loop import layout

SPEC = {
    "seeds": 8,
    "batch": 1,
    "rule": {"name": "sarsa", "d": 2},
    "family": {"n_states": 2, "n_actions": 2},
    "training": {"mdps": 4, "windows": 5, "window_length": 3, "decay_every": 1},
}
CONFIG = TrainingConfig(mdps=4, windows=5, window_length=3, decay_every=1, dtype="float64")
RUNS = (
    Sarsa(d=2),
    RandomMDPs(2, 2),
    [TrainingConfig(**vars(CONFIG) | {"seed": seed}) for seed in range(9)],
)

SCRIPT = """
import sys
import jax, numpy as np
from icrl_flax import sweep, train
from icrl_flax.experiments import named
from test_devices import RUNS, SPEC

with named("threads", 8) as executor:
    sweep(SPEC, sys.argv[1] + "/sweep", executor=executor)
batch = train(*RUNS)
P, V = map(np.asarray, batch.matrices)
places = len(batch.state.theta.P12.sharding.device_set)
np.savez(sys.argv[1] + "/batch.npz", P=P, V=V, losses=batch.losses, places=places)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one device and eight devices make of a sweep and of a batch."""
    folders, started = {}, []
    for devices in (1, 8):
        folders[devices] = folder = tmp_path_factory.mktemp("devices")
        flags = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join([ROOT, str(pathlib.Path(__file__).parent)]),
        }
        command = [sys.executable, *STRICT, "-c", SCRIPT, str(folder)]
        started.append(subprocess.Popen(command, env=environment))
    try:
        for process in started:
            assert process.wait(timeout=600) == 0
    finally:
        for process in started:
            process.kill()
    return folders


def test_sweep_is_that_of_one_device(found):
    for name in ("table.csv", "curves.csv", "weights.safetensors"):
        one, eight = ((found[devices] / "sweep" / name).read_bytes() for devices in (1, 8))
        assert one == eight
    for devices in (1, 8):
        record = json.loads((found[devices] / "sweep" / "provenance.json").read_text())
        assert {b["device"] for b in record["batches"]} == set(range(devices))


def test_batch_is_that_of_one_device(found):
    """Nine runs: two on each of five devices, but for the last, which has a copy."""
    one, eight = (np.load(found[devices] / "batch.npz") for devices in (1, 8))
    assert (one["places"], eight["places"]) == (1, 5)
    assert eight["losses"].shape == (9, CONFIG.updates)
    for name in ("P", "V", "losses"):
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-12, atol=1e-13)
    assert len(np.unique(eight["losses"][:, -1])) == 9


@pytest.mark.parametrize("runs", range(1, 18))
def test_layout(runs):
    """No run without a place, no device without a run, and none fuller than need be."""
    devices = jax.local_devices() * 8
    mesh, each = layout(runs, devices)
    assert each == -(-runs // 8)
    assert each * (mesh.size - 1) < runs <= each * mesh.size
    assert mesh.size <= 8


def test_no_devices():
    with pytest.raises(ValueError, match=r"^devices must hold at least one device"):
        next(train_iter(*RUNS, devices=[]))


def test_usual_batch():
    """On a card as many as there are to each, within bounds; on a processor a few."""
    assert usual_batch(64, "cpu", 8) == 8
    assert usual_batch(64, "gpu", 1) == 64
    assert usual_batch(640, "gpu", 8) == 80
    assert usual_batch(3, "gpu", 8) == 8
    assert usual_batch(10_000, "gpu", 4) == 1024
