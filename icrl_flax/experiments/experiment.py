"""A finished sweep beside the file that specifies it."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from icrl_flax.experiments.spec import Cell, read_spec
from icrl_flax.experiments.store import PROVENANCE
from icrl_flax.experiments.tables import Column, read_sweep

Name = TypeVar("Name")
Found = TypeVar("Found")


class Experiment(NamedTuple):
    """What a sweep ran and what it found.

    Attributes:
        cells: the runs, in the order of the table's rows.
        table: its columns; see `Tables`.
        updates: done at the end of each bin of the curves.
        curves: loss of each cell in each bin; NaN where it was not finite.
        record: who made it, with what.
    """

    cells: tuple[Cell, ...]
    table: dict[str, Column]
    updates: np.ndarray
    curves: Float[np.ndarray, "cells bins"]
    record: dict[str, Any]


def read_experiment(spec: Path | str, out: Path | str) -> Experiment:
    """Read a finished sweep whose runs all have the same number of updates.

    Args:
        spec: its specification, a TOML file.
        out: its directory.

    Raises:
        ValueError: if the directory holds no finished sweep, or one of another
            specification.
    """
    plan, tables = read_spec(spec), read_sweep(out)
    record = json.loads((Path(out) / PROVENANCE).read_text(encoding="utf-8"))
    if record["spec"] != plan.record:
        raise ValueError(f"out: {out} holds another sweep than {spec}")
    curves = tables.curves["loss"].reshape(len(plan.cells), -1)
    updates = tables.curves["update"][: curves.shape[1]]
    return Experiment(plan.cells, tables.table, updates, curves, record)


def for_each(
    function: Callable[[Name], Found], names: Iterable[Name], workers: int = 2
) -> dict[Name, Found]:
    """function(name) by name, several at a time: compiling keeps one core busy, not two."""
    names = list(names)
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(names, pool.map(function, names), strict=True))
