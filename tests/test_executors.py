"""A sweep on other people's executors, a worker of which is killed: the table is the same."""

import contextlib
import os
import pathlib
import pickle
import signal
import sys

import pytest
import submitit
from own_process import ROOT

from icrl_flax import _registry, sweep
from icrl_flax.experiments import named, read_spec, run, run_batch

SPEC = {
    "seeds": 3,
    "batch": 1,
    "rule": {"name": "sarsa", "d": 2},
    "family": {"name": "own", "size": 2},
    "training": {"mdps": 4, "windows": 5, "window_length": 3, "decay_every": 1},
}
OWN = """
import equinox as eqx
from icrl_flax import RandomMDPs

class OwnMDPs(eqx.Module):
    size: int = eqx.field(static=True)

    def sample(self, key, dtype):
        return RandomMDPs(self.size, 2).sample(key, dtype)
"""
FILES = ("table.csv", "curves.csv", "weights.safetensors")


def made(out):
    return [(out / name).read_bytes() for name in FILES]


@pytest.fixture(scope="module", autouse=True)
def _own(tmp_path_factory):
    """A family of MDPs that no worker knows unless it imports a file."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        for known in ("_own", "_files"):
            patch.setattr(_registry, known, dict(getattr(_registry, known)))
        _registry.import_file(path)
        yield


@pytest.fixture(scope="module")
def alone(_own, tmp_path_factory):
    """What this process makes of it, in one thread."""
    out = tmp_path_factory.mktemp("alone")
    with named("threads", 1) as executor:
        sweep(SPEC, out, executor=executor)
    return made(out)


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Workers must find the library and this file."""
    path = os.pathsep.join([ROOT, str(pathlib.Path(__file__).parent)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


def mortal(function, record, number, out, killed):
    """`function`, unless it is the first time for batch 2: then its process dies on the way."""
    if number == 2 and not killed.exists():
        real = run.train_iter

        def train_iter(*runs, **options):
            results = real(*runs, **options)
            yield next(results)
            next(results)
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

        run.train_iter = train_iter
    return function(record, number, out)


class Mortal:
    """Hands all work on to an executor, one of whose workers it lets die in the middle."""

    def __init__(self, executor, folder):
        self.executor, self.killed = executor, folder / "killed"

    def batch(self):
        return getattr(self.executor, "batch", contextlib.nullcontext)()

    def submit(self, function, record, number, out):
        return self.executor.submit(mortal, function, record, number, out, self.killed)


def test_dask(alone, tmp_path):
    with named("dask", 2) as executor:
        mortal = Mortal(executor, tmp_path)
        sweep(SPEC, tmp_path / "out", executor=mortal)
    assert mortal.killed.exists()
    assert made(tmp_path / "out") == alone


def test_submitit(alone, tmp_path):
    """Its jobs, each in a process of its own; on a cluster Slurm would start them."""
    mortal = Mortal(submitit.LocalExecutor(tmp_path / "jobs"), tmp_path)
    sweep(SPEC, tmp_path / "out", executor=mortal)
    assert mortal.killed.exists()
    assert made(tmp_path / "out") == alone


class Lost:
    """An executor whose workers all die."""

    submitted = 0

    def submit(self, *_):
        self.submitted += 1
        return self

    def done(self):
        return True

    def result(self):
        raise RuntimeError("the worker is gone")

    def cancel(self):
        return False


def test_workers_that_all_die(tmp_path):
    """There is an end to it."""
    executor = Lost()
    with pytest.raises(RuntimeError, match="the worker is gone"):
        sweep(SPEC | {"seeds": 1}, tmp_path / "out", executor=executor)
    assert executor.submitted == run.ATTEMPTS


def test_what_goes_wrong_elsewhere_says_where(tmp_path, monkeypatch):
    """The exception comes back with its traceback."""
    (tmp_path / "cells").mkdir()
    spec = read_spec(SPEC)
    record = {**spec.record, "prng": {"implementation": "rbg"}, "imports": []}
    error = pickle.loads(pickle.dumps(run_batch(record, 0, tmp_path)))
    assert isinstance(error, ValueError)
    assert str(error).startswith("prng must be the sweep's")
    assert "in _planned" in error.__notes__[0]

    record |= {"prng": run._ambient.PRNG}
    monkeypatch.setattr(run, "train_iter", lambda *_, **__: iter([1 / 0]))
    error = run_batch(record, 0, tmp_path)
    assert isinstance(error, ZeroDivisionError)


def test_names(monkeypatch, tmp_path):
    wrong = {
        ("thread", None): "executor must be one of .*threads.*, got 'thread'",
        ("threads", 0): "workers must be an integer of at least 1, got 0",
        ("slurm", None): "executor 'slurm' finds no Slurm on this machine",
    }
    monkeypatch.setenv("PATH", str(tmp_path))
    for (name, workers), message in wrong.items():
        with pytest.raises(ValueError, match=message), named(name, workers, tmp_path / "jobs"):
            pass
    for package, name in (("distributed", "dask"), ("submitit", "slurm")):
        monkeypatch.setitem(sys.modules, package, None)
        message = (
            rf"executor '{name}' needs the package {package}: pip install 'icrl-flax\[{name}\]'"
        )
        with pytest.raises(ValueError, match=message), named(name):
            pass
