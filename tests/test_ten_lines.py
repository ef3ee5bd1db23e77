"""The examples of "Your own environment and data": each runs, in ten lines or fewer."""

import re
from pathlib import Path

import pytest

from icrl_flax import _registry

pytest.importorskip("pandas")
pytest.importorskip("gymnasium")

CHAPTER = Path(__file__).resolve().parents[1] / "notebooks" / "your_own_environment_and_data.md"
CELL = re.compile(r"```\{code-cell\} ipython3\n(.*?)```", flags=re.DOTALL)
THINGS = ("features", "policy", "data", "environment", "family", "checkpoint", "sweep")
PREAMBLE = """
import tempfile
from pathlib import Path
import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import icrl_flax as icrl
from icrl_flax import control, experience, mdps, rules
"""


def examples():
    """The cells whose first line names one of the things."""
    cells = CELL.findall(CHAPTER.read_text(encoding="utf-8"))
    found = {}
    for cell in cells:
        for thing in THINGS:
            if cell.startswith(f"# {thing}: "):
                assert thing not in found
                found[thing] = cell
    return found


def lines(cell):
    """Statements' lines: neither comments nor empty ones, nor ends of brackets."""
    return [line for line in cell.splitlines() if re.search(r"\w", line.partition("#")[0])]


def test_each_thing_has_its_example():
    found = examples()
    assert tuple(found) == THINGS
    for thing, cell in found.items():
        assert 2 <= len(lines(cell)) <= 10, f"{thing}: {len(lines(cell))} lines"


def test_they_run_one_after_the_other(unchecked, monkeypatch):
    monkeypatch.setattr(_registry, "_own", dict(_registry._own))
    names = {"__name__": "own_world"}
    exec(PREAMBLE, names)
    for thing, cell in examples().items():
        exec(compile(cell, thing, "exec"), names)
    assert names["new"].shape == (6,)
    assert names["drive"].u.shape == (1, 27)
    assert len(names["table"]) == 6
    assert type(names["same"].family) is names["Coins"]
