"""Two processes on this machine make the table of one, and one that is lost costs nothing."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from own_process import STRICT, environment

from icrl_flax import cli, read_sweep, sweep
from icrl_flax.cluster import turns

SPEC = """
seeds = 6
batch = 1
[algorithm]
name = "sarsa"
d = 2
[family]
n_states = 2
n_actions = 2
[training]
mdps = 2000
window_length = 3
"""
LIMIT = 300
"""Seconds after which a process is ended, whatever it waits for."""


def free_port(candidates=(0,)):
    """A port on which nobody listens; 0 stands for any."""
    for port in candidates:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
    raise OSError("no port is free")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "spec.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def one(spec, tmp_path_factory):
    """The directory of a sweep by this process alone."""
    out = tmp_path_factory.mktemp("one")
    sweep(spec, out, workers=1)
    return out


@pytest.fixture
def start():
    """Start a sweep's process; none outlives the test."""
    started = []

    def start(spec, out, *options, **variables):
        command = [sys.executable, *STRICT, "-m", "icrl_flax", "sweep"]
        process = subprocess.Popen(
            [*command, str(spec), "--out", str(out), "--workers", "1", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(JAX_PLATFORMS="cpu") | variables,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def start_two(start, spec, out):
    meeting = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2")
    return [start(spec, out, *meeting, "--process", str(k)) for k in (0, 1)]


def tables(out):
    return [(out / name).read_bytes() for name in ("table.csv", "curves.csv")]


def test_two_processes_that_a_launcher_started(start, spec, one, tmp_path):
    """With the variables that Slurm sets; its port follows from the number of the job."""
    out = tmp_path / "out"
    port = free_port(range(61441, 65536))  # where JAX looks for one
    job = {
        "SLURM_JOB_ID": str(port - 61440),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
    }
    both = [
        start(spec, out, "--launched", **job, SLURM_PROCID=str(k), SLURM_LOCALID=str(k))
        for k in (0, 1)
    ]
    for process, said in zip(both, ("median final loss", "process 0 writes"), strict=True):
        output, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
        assert said in output
    assert tables(out) == tables(one)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_lost(start, spec, one, tmp_path, victim):
    """The other does its work too; the table is process 0's, or that of the next call."""
    out = tmp_path / "out"
    both = start_two(start, spec, out)
    deadline = time.monotonic() + LIMIT
    while not list(out.glob("cells/batch-*")):
        assert both[victim].poll() is None, both[victim].stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    both[victim].send_signal(signal.SIGKILL)
    assert both[victim].wait(LIMIT) == -signal.SIGKILL
    other = both[1 - victim]
    _, errors = other.communicate(timeout=LIMIT)
    assert other.returncode == 0, errors
    assert len(list(out.glob("cells/batch-*"))) == 6
    if victim == 0:
        with pytest.raises(ValueError, match="holds no finished sweep"):
            read_sweep(out)
        sweep(spec, out)
    assert tables(out) == tables(one)


WRONG = {
    "--coordinator localhost:1": r"processes must be given.*'localhost:1'.*processes=None",
    "--processes 2 --process 0": r"coordinator must be given.*processes=2, process=0",
    "--coordinator here --processes 2 --process 0": "coordinator must be host:port.*'here'",
    "--coordinator here:0 --processes 2 --process 0": "coordinator must be .*'here:0'",
    "--coordinator :80 --processes 2 --process 0": "coordinator must be .*':80'",
    "--coordinator here:80 --processes 0 --process 0": "processes must be .* at least 1, got 0",
    "--coordinator here:80 --processes 2 --process 2": r"process must lie in \[0, 2\).*got 2",
    "--coordinator here:80 --processes 2 --process -1": r"process must lie in \[0, 2\).*got -1",
    "--launched --process 1": "launched: the launcher sets process itself",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_options(options, spec, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["sweep", str(spec), "--out", str(out), *options.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(WRONG[options], line), line
    assert not out.exists()


def test_no_launcher(start, spec, tmp_path):
    process = start(spec, tmp_path / "out", "--launched")
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert "launched: JAX found no launcher that it knows" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_turns(processes):
    """Each piece is one process's own, and each process comes to each piece."""
    work = [3, 1, 4, 15, 9, 2, 6]
    owned = []
    for process in range(processes):
        order = list(turns(work, process, processes))
        assert sorted(piece for piece, _ in order) == sorted(work)
        owned += [piece for piece, own in order if own]
    assert sorted(owned) == sorted(work)
    # Helpers begin with different pieces, and at the end.
    last = [next((p for p, own in turns(work, k, 3) if not own), None) for k in range(3)]
    assert last == [9, 2, 6]
