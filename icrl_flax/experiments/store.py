"""The directory of a sweep.

    .lock                          of the sweep that writes here; never replaced or deleted
    spec.json                      what is run, and what random numbers are made with
    cells/batch-00000.safetensors  rows, curves and weights of each batch that is done
    curves.csv, weights.safetensors, provenance.json, table.csv, in this order, at the end

The file of a batch is there or not, and is the same whoever writes it: that is all
that the processes of a sweep know of each other.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import safetensors
import safetensors.numpy

from icrl_flax._files import OutputError, write_together, writing

LOCK, SPEC, CELLS = ".lock", "spec.json", "cells"
TABLE, CURVES, WEIGHTS = "table.csv", "curves.csv", "weights.safetensors"
PROVENANCE = "provenance.json"
_BATCH = "batch-"

Tensors = dict[str, np.ndarray]


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """The directory to oneself. Before that nothing in it is read or written.

    The lock dies with its process.

    Raises:
        OutputError: if another sweep has it, it is somebody else's, or it cannot be written.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        # Whoever has begun a sweep made the lock first, so it is seen where anything else is.
        if any(out.iterdir()) and not (out / LOCK).exists() and not (out / SPEC).exists():
            raise _foreign(out)
        lock = filelock.FileLock(out / LOCK)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OutputError(f"out: another sweep is writing to {out}") from error
    try:
        yield
    finally:
        lock.release()


def begin(out: Path, record: Mapping[str, Any]) -> None:
    """Write down what is to be run in a claimed directory, or see that it is what was begun.

    Args:
        out: the directory.
        record: JSON. "spec" is the specification; with the other entries, too, the batches
            that are done were made.

    Raises:
        OutputError: if the directory holds something else, of which nothing is changed.
    """
    begun = begun_record(out)
    if begun is None:
        with writing(out):
            if any(path.name != LOCK and not _is_temporary(path) for path in out.iterdir()):
                raise _foreign(out)
            write(out, {SPEC: json.dumps(record, indent=2) + "\n"})
    elif begun.get("spec") != record["spec"]:
        raise OutputError(f"out: {out} holds another sweep; nothing was changed")
    for name, value in record.items():
        if begun is not None and begun.get(name) != value:
            raise OutputError(
                f"out: {out} was begun with {name} = {begun.get(name)}, which is {value} now; "
                "nothing was changed"
            )
    with writing(out):
        (out / CELLS).mkdir(exist_ok=True)
        for path in (*out.iterdir(), *(out / CELLS).iterdir()):
            if _is_temporary(path):  # what was being written when a sweep was killed
                path.unlink(missing_ok=True)


def begun_record(out: Path) -> dict[str, Any] | None:
    """What `begin` wrote; None if nothing was begun.

    Raises:
        OutputError: if the file is damaged.
    """
    try:
        record = json.loads((out / SPEC).read_text(encoding="utf-8"))
        if record["spec"]["batch"] < 1:
            raise ValueError("no batch")
        return record
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"out: {out / SPEC} is damaged, or of an older version") from error


def _foreign(out: Path) -> OutputError:
    return OutputError(f"out: {out} exists and is not empty; nothing was changed")


def _is_temporary(path: Path) -> bool:
    """Whether it is what `write_together` leaves when it is killed."""
    ours = (SPEC, TABLE, CURVES, WEIGHTS, PROVENANCE, _BATCH)
    return path.name.startswith(tuple(f".{name}" for name in ours))


def write(out: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, none before all are sure, and renamed in this order."""

    def filling(content: str | bytes) -> Callable[[Path], int]:
        data = content.encode() if isinstance(content, str) else content
        return lambda path: path.write_bytes(data)

    with writing(out):
        write_together({out / name: filling(content) for name, content in files.items()})


def batch_file(out: Path, number: int) -> Path:
    """Where a finished batch is."""
    return out / CELLS / f"{_BATCH}{number:05d}.safetensors"


def write_batch(out: Path, number: int, record: Mapping[str, Any], weights: Tensors) -> None:
    """Keep a batch, as one file. It is whole, or not there.

    Args:
        out: the directory.
        number: which one.
        record: JSON: its cells, their rows and curves, and what made them.
        weights: tensors by cell and name, as `3.P12`.
    """
    metadata = {"record": json.dumps(record, allow_nan=False)}
    file = batch_file(out, number).relative_to(out)
    write(out, {str(file): safetensors.numpy.save(weights, metadata)})


def read_batches(
    out: Path, batches: Iterable[tuple[int, ...]], columns: int
) -> tuple[list[dict[str, Any]], bytes]:
    """The records of all batches, and one file of all their weights.

    Args:
        out: the directory.
        batches: the cells that each must hold.
        columns: results that each row must hold.

    Raises:
        OutputError: if one is missing, damaged, or of other cells.
    """
    records, weights = [], {}
    for number, cells in enumerate(batches):
        file = batch_file(out, number)
        try:
            with safetensors.safe_open(file, "numpy") as tensors:
                record = json.loads((tensors.metadata() or {})["record"])
                weights |= {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
            rows, curves = record["rows"], record["curves"]
            fits = record["cells"] == list(cells) and len(rows) == len(curves) == len(cells)
            fits &= all(len(row) == columns for row in rows)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise OutputError(f"{file} is damaged; delete it to run its cells again") from error
        if not fits:
            raise OutputError(f"{file} is of another sweep; delete it to run its cells again")
        records.append(record)
    return records, safetensors.numpy.save(weights)


def read_weights(out: Path, names: list[str]) -> list[np.ndarray]:
    """Some of the weights that a finished sweep keeps, and no others.

    Raises:
        ValueError: if it keeps none, or none of these names.
    """
    try:
        with safetensors.safe_open(out / WEIGHTS, "numpy") as tensors:
            return [tensors.get_tensor(name) for name in names]
    except FileNotFoundError as error:
        raise ValueError(f"{out} keeps no weights: it has no {WEIGHTS}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{out / WEIGHTS} is damaged, or has no {names[0]}: {error}") from error
