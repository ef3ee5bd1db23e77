"""Progress goes to standard error, which may be full, or have no reader any more."""

import os
import subprocess

import pytest
from own_process import COMMAND, environment

from icrl_flax import load
from icrl_flax.experiments.progress import Progress
from icrl_flax.experiments.run import finished_cells

GRID = """
seeds = 2
batch = 1
[rule]
name = "sarsa"
d = 2
[family]
n_states = 3
n_actions = 2
[training]
mdps = 300
window_length = 2
"""


def full():
    return os.open("/dev/full", os.O_WRONLY)


def unread():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def run(*arguments, errors):
    end = errors()
    try:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=end,
            env=environment(),
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(end)


@pytest.mark.parametrize("errors", [full, unread])
def test_training_goes_on_without_it(errors, tmp_path):
    small = ["--d=2", "--n-states=3", "--n-actions=2", "--mdps=300", "--window-length=2"]
    done = run("train", "sarsa", "--out", tmp_path / "run", *small, errors=errors)
    assert done.returncode == 0
    assert "wrote" in done.stdout
    assert load(tmp_path / "run").record["completed_mdps"] == 300


@pytest.mark.parametrize("errors", [full, unread])
def test_a_sweep_goes_on_without_it(errors, tmp_path):
    """Its bar is moved by several threads: none may wait for another that is gone."""
    spec, out = tmp_path / "grid.toml", tmp_path / "out"
    spec.write_text(GRID)
    done = run("sweep", spec, "--out", out, errors=errors)
    assert done.returncode == 0
    assert "wrote" in done.stdout
    assert finished_cells(out, spec) == (2, 2)


@pytest.mark.parametrize("errors", [full, unread])
def test_errors_have_their_exit_code_without_it(errors, tmp_path):
    done = run("train", "sarsa", "--out", tmp_path / "run", "--gamma=1", errors=errors)
    assert done.returncode == 2
    assert not done.stdout


def test_bar(capsys):
    with Progress(4000, done=1000) as bar:
        bar.update(3000)
    printed = capsys.readouterr().err
    assert "1.00k/4.00k" in printed
    assert "4.00k/4.00k" in printed
    with Progress(4000, disable=True) as bar:
        bar.update(3000)
    assert capsys.readouterr().err == ""
    assert Progress.monitor is None, "no thread that could wait for the bar"
