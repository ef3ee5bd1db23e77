"""Many runs from one specification, that survive being killed, and one tidy table.

The runs are dealt out in batches, and an executor runs the batches wherever its workers
are. A batch does not spread over devices, since XLA compiles a program for several of
them otherwise than for one, and the last digits would depend on how many there are. A
finished batch is one file, which any process may write, and any process may collect.
"""

import contextlib
import functools
import json
import os
import platform
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from icrl_flax import _ambient, _registry
from icrl_flax.experiments import executors, store, tables
from icrl_flax.experiments.progress import Progress
from icrl_flax.experiments.spec import BATCH, Spec, plan, read_spec
from icrl_flax.experiments.tables import Tables, read_sweep
from icrl_flax.training.checkpoint import provenance
from icrl_flax.training.loop import train_iter
from icrl_flax.training.result import TrainingResult, joined

CARD = 1024
"""Runs of one batch that fill a graphics card."""
ATTEMPTS = 3
"""How often a batch is given to an executor that loses its workers."""
_PAUSE = 0.02
"""Seconds between two looks at what the executor has done."""


def sweep(
    spec: Path | str | Mapping[str, Any],
    out: Path | str,
    *,
    executor: Any = None,
    progress: bool = False,
) -> Tables:
    """Run what is not yet done of a sweep, and write its tables.

    Killed at any moment and called again, it finishes the rest; the tables are
    those of an uninterrupted sweep, byte for byte. They do not depend on the executor
    either, if its workers are machines of one kind.

    Args:
        spec: a TOML file, or what one would hold; see `icrl_flax.experiments.spec`.
        out: directory for spec.json, cells/, table.csv, curves.csv,
            weights.safetensors and provenance.json: new, empty, or that of the same
            sweep. The executor's workers must see it, too.
        executor: runs the batches: any object with a method `submit` like that of
            `concurrent.futures.Executor`, such as Dask's `client.get_executor()` or
            one of submitit. If not given, threads of this process, one for each core
            that it may use or each of its GPUs.
        progress: show a bar on standard error.

    Raises:
        ValueError: if the specification is wrong, `out` holds something else, is
            in use or cannot be written, or a finished batch on disk is damaged.
        KeyboardInterrupt: on Ctrl-C, with all finished batches kept.
    """
    name = "SPEC" if isinstance(spec, Mapping) else Path(spec).name
    out = Path(out).absolute()
    planned = read_spec(spec, _usual)  # which may refuse it, before anything is written
    with store.claimed(out):
        planned = _as_begun(planned, spec, out)
        kinds = {type(part) for cell in planned.cells for part in cell.run[:2]}
        sources = [_registry.source(kind) for kind in kinds]
        record = {
            "spec": planned.record,
            "prng": _ambient.PRNG,
            "sources": sorted(filter(None, sources), key=str),
        }
        store.begin(out, record)
        began = time.perf_counter()
        with executors.threads() if executor is None else contextlib.nullcontext(executor) as used:
            _run_rest(planned, out, used, progress)
        batches = [
            store.read_batch(out, number, cells, len(tables.RESULTS))
            for number, cells in enumerate(planned.batches)
        ]
        table, curves = tables.as_csv(planned, batches)
        made = _provenance(out, name, record, batches, time.perf_counter() - began)
        files = {
            store.CURVES: curves,
            store.WEIGHTS: store.collected(batches),
            store.PROVENANCE: json.dumps(made, indent=2) + "\n",
            store.TABLE: table,  # the last: with it the sweep is finished
        }
        store.write(out, files)
    return read_sweep(out)


def finished_cells(out: Path | str, spec: Path | str | Mapping[str, Any]) -> tuple[int, int]:
    """How many cells of a sweep are done, and how many there are."""
    out = Path(out)
    planned = _as_begun(read_spec(spec, _usual), spec, out)
    done = [len(b) for k, b in enumerate(planned.batches) if store.batch_file(out, k).exists()]
    return sum(done), len(planned.cells)


def _as_begun(planned: Spec, spec: Path | str | Mapping[str, Any], out: Path) -> Spec:
    """The sweep, in batches as large as those that it was begun with, if it names no size."""
    begun = store.begun_record(out)
    size = begun["spec"]["batch"] if begun else planned.record["batch"]
    return planned if size == planned.record["batch"] else read_spec(spec, lambda _: size)


def _usual(cells: int) -> int:
    devices = jax.local_devices()
    return usual_batch(cells, devices[0].platform, len(devices))


def usual_batch(cells: int, platform: str, devices: int) -> int:
    """The largest batch of a sweep that names none, for the devices of this process.

    On a GPU the time of an update hardly depends on how many runs share it until
    they fill the card, so a batch is an equal share of all cells, if that fits.
    """
    if platform == "cpu":
        return BATCH
    return max(BATCH, min(CARD, -(-cells // devices)))


class _Stopped(Exception):
    """Another batch failed, or Ctrl-C."""


class _Watch:
    """What a sweep and the batches that run in its own process tell each other."""

    def __init__(self, planned: Spec, bar: Progress) -> None:
        self.planned, self.bar = planned, bar
        self.stop, self.counting = threading.Event(), threading.Lock()
        self.counted: Counter[int] = Counter()

    def updates(self, number: int) -> int:
        """Of all runs of a batch."""
        cells = self.planned.batches[number]
        return sum(self.planned.cells[cell].run.config.updates for cell in cells)

    def count(self, number: int, updates: int) -> None:
        """Move the bar."""
        with self.counting:
            self.counted[number] += updates
            self.bar.update(updates)


_watches: dict[Path, _Watch] = {}
"""The sweeps of this process, by their directories. Each has its own to itself."""


def _run_rest(planned: Spec, out: Path, executor: Any, progress: bool) -> None:
    """Run what is not done."""
    numbers = range(len(planned.batches))
    rest = [number for number in numbers if not store.batch_file(out, number).exists()]
    record = {
        **planned.record,
        "prng": _ambient.PRNG,
        "imports": list(map(str, _registry.imported_files())),
    }
    attempts: Counter[int] = Counter()
    waiting: dict[Any, int] = {}

    def submit(numbers: list[int]) -> None:
        attempts.update(numbers)
        # One job array instead of many jobs, where there is such a thing.
        with getattr(executor, "batch", contextlib.nullcontext)():
            futures = [executor.submit(run_batch, record, number, out) for number in numbers]
        waiting.update(zip(futures, numbers, strict=True))

    with Progress(0, disable=not progress) as bar:
        watch = _watches[out] = _Watch(planned, bar)
        bar.total = sum(map(watch.updates, numbers))
        watch.count(-1, bar.total - sum(map(watch.updates, rest)))
        try:
            submit(rest)
            while waiting:
                # Not `concurrent.futures.wait`, which takes none but its own futures.
                for future in [future for future in waiting if future.done()]:
                    number = waiting.pop(future)
                    try:
                        failure = future.result()
                    except Exception:
                        if attempts[number] == ATTEMPTS:
                            raise
                        submit([number])
                        continue
                    if failure is not None:
                        raise failure
                    watch.count(number, watch.updates(number) - watch.counted[number])
                time.sleep(_PAUSE if waiting else 0)
        except BaseException:
            watch.stop.set()
            for future in waiting:
                future.cancel()
            raise
        finally:
            del _watches[out]


def run_batch(record: Mapping[str, Any], number: int, out: Path) -> Exception | None:
    """Run one batch of a sweep and write its file, unless it is there.

    Any process may do so, at any time, more than one of them too.

    Args:
        record: a specification's, the PRNG settings, and Python files to import.
        number: of the batch.
        out: the sweep's directory.

    Returns:
        What went wrong, if anything. What is raised instead, by whatever the caller
        has between itself and this function, means that a worker was lost.
    """
    watch = _watches.get(out)
    try:
        _run_batch(record, number, out, watch)
    except Exception as error:
        if watch is None:  # the traceback stays behind when an exception goes to another process
            error.add_note(f"in batch {number} of {out.name}:\n{traceback.format_exc()}")
        return error
    return None


def _run_batch(record: Mapping[str, Any], number: int, out: Path, watch: _Watch | None) -> None:
    if store.batch_file(out, number).exists():
        return
    planned = watch.planned if watch else _planned(json.dumps(record))
    cells, began = planned.batches[number], time.perf_counter()
    runs, device = [planned.cells[cell].run for cell in cells], executors.own_device()

    def watched() -> Iterator[TrainingResult]:
        for result in train_iter(*zip(*runs, strict=True), devices=[device]):
            if watch and watch.stop.is_set():
                raise _Stopped
            if watch:
                watch.count(number, result.losses.size)
            yield result

    try:
        result = joined(watched())
    except ValueError as error:  # the specification has been checked, so this is a bug
        raise RuntimeError(f"batch {number} failed: {error}") from error
    each = [result[row] for row in range(len(cells))]
    made = {
        "cells": list(cells),
        "rows": [tables.results(run) for run in each],
        "curves": [tables.curve(tables.all_losses(run)) for run in each],
        "seconds": {
            "generation": round(result.generation_seconds, 3),
            "updates": round(result.update_seconds, 3),
            "wall": round(time.perf_counter() - began, 3),
        },
        "device": device.id,
        "environment": environment(),
    }
    weights = [np.asarray(leaf) for leaf in result.effective]
    tensors = {
        name: leaf[row]
        for row, cell in enumerate(cells)
        for name, leaf in zip(tables.tensor_names(cell), weights, strict=True)
    }
    store.write_batch(out, number, store.Batch(made, tensors))


@functools.lru_cache(1)
def _planned(record: str) -> Spec:
    """The sweep, in a process that did not read it from a file."""
    spec = json.loads(record)
    if spec.pop("prng") != _ambient.PRNG:
        raise ValueError(f"prng must be the sweep's, got {_ambient.PRNG}")
    for path in spec.pop("imports"):
        _registry.import_file(path)
    return plan("spec", spec)


@functools.cache
def environment() -> dict[str, Any]:
    """What made a result: packages, device and processor."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {**provenance(), "processor": processor, "cores": os.cpu_count()}


def _provenance(
    out: Path, name: str, record: dict[str, Any], batches: list[store.Batch], seconds: float
) -> dict[str, Any]:
    """What made the tables, and how long it took."""
    environments = []
    for batch in batches:
        if batch.record["environment"] not in environments:
            environments.append(batch.record["environment"])
    return {
        "command": f"python -m icrl_flax sweep {name} --out {out.name}",
        **record,
        "environments": environments,
        "seconds_of_the_last_call": round(seconds, 3),
        "batches": [
            {key: batch.record[key] for key in ("cells", "seconds", "device")} for batch in batches
        ],
    }
