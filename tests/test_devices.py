"""Eight devices do what one does: a second interpreter is told to have eight."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import icrl_flax
from icrl_flax import RandomMDPs, Run, Sarsa, TrainingConfig, sweep, training_batch
from icrl_flax.batched import layout
from icrl_flax.sweep import usual_batch

ROOT = str(pathlib.Path(icrl_flax.__file__).parents[1])
SPEC = {
    "seeds": 8,
    "batch": 1,
    "algorithm": {"name": "sarsa", "d": 2},
    "family": {"n_states": 2, "n_actions": 2},
    "training": {"mdps": 4, "windows": 5, "window_length": 3, "decay_every": 1},
}
CONFIG = TrainingConfig(mdps=4, windows=5, window_length=3, decay_every=1, dtype="float64")
RUNS = [
    Run(Sarsa(d=2), TrainingConfig(**vars(CONFIG) | {"seed": seed}), RandomMDPs(2, 2))
    for seed in range(9)
]

SCRIPT = """
import json, sys
import jax, numpy as np
from icrl_flax import sweep, train_batch
from test_devices import RUNS, SPEC

jax.config.update("jax_enable_x64", True)
assert jax.local_device_count() == 8
sweep(SPEC, sys.argv[1] + "/sweep", workers=8)
batch = train_batch(RUNS)
np.savez(sys.argv[1] + "/batch.npz", P=batch.P, V=batch.V, losses=batch.losses)
print(len(jax.tree.leaves(batch.P)[0].sharding.device_set))
"""


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """What eight devices made of a sweep and of a batch."""
    folder = tmp_path_factory.mktemp("eight")
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([ROOT, str(pathlib.Path(__file__).parent)]),
    }
    subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(folder)],
        env=environment,
        check=True,
        timeout=600,
    )
    return folder


def test_sweep_is_that_of_one_device(eight, tmp_path):
    sweep(SPEC, tmp_path / "one", workers=1)
    for name in ("table.csv", "curves.csv"):
        assert (eight / "sweep" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    record = json.loads((eight / "sweep" / "provenance.json").read_text())
    assert {batch["place"]["device"] for batch in record["batches"]} == set(range(8))


def test_batch_is_that_of_one_device(eight):
    """Nine runs: two on each of five devices, but for the last, which has a copy."""
    found = np.load(eight / "batch.npz")
    one = icrl_flax.train_batch(RUNS, jax.local_devices()[:1])
    assert found["losses"].shape == (9, CONFIG.updates)
    for name in ("P", "V", "losses"):
        np.testing.assert_allclose(found[name], getattr(one, name), rtol=1e-12, atol=1e-13)
    assert len(np.unique(found["losses"][:, -1])) == 9


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
        next(training_batch(RUNS, []))


def test_usual_batch():
    """On a card as many as there are to each, within bounds; on a processor a few."""
    assert usual_batch(64, "cpu", 8) == 8
    assert usual_batch(64, "gpu", 1) == 64
    assert usual_batch(640, "gpu", 8) == 80
    assert usual_batch(3, "gpu", 8) == 8
    assert usual_batch(10_000, "gpu", 4) == 1024
