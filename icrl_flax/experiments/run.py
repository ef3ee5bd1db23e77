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
from collections.abc import Callable, Iterator, Mapping
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
        KeyboardInterrupt: on Ctrl-C, with all finished batches kept; the command line
            treats SIGTERM so, too.
    """
    name = "SPEC" if isinstance(spec, Mapping) else Path(spec).name
    out = Path(out).absolute()
    planned = read_spec(spec, _usual)  # which may refuse it, before anything is written
    with store.claimed(out):
        planned = _as_begun(planned, spec, out)
        kinds = {type(part) for cell in planned.cells for part in cell.run[:2]}
        sources = sorted(filter(None, map(_registry.source, kinds)), key=str)
        record = {"spec": planned.record, "prng": _ambient.PRNG, "sources": sources}
        store.begin(out, record)
        began = time.perf_counter()
        with executors.threads() if executor is None else contextlib.nullcontext(executor) as used:
            _run_rest(planned, out, used, progress)
        batches, weights = store.read_batches(out, planned.batches, len(tables.RESULTS))
        table, curves = tables.as_csv(planned, batches)
        command = f"python -m icrl_flax sweep {name} --out {out.name}"
        files = {
            store.CURVES: curves,
            store.WEIGHTS: weights,
            store.PROVENANCE: _provenance(command, record, batches, time.perf_counter() - began),
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


_here: dict[Path, tuple[Spec, Callable[[int, int], None]]] = {}
"""The sweeps of this process, by directory, and what their batches tell them: their number, and
how many updates more are done. Where no more are wanted they hear `_Stopped`."""


def _run_rest(planned: Spec, out: Path, executor: Any, progress: bool) -> None:
    """Run what is not done."""
    updates = [sum(planned.cells[k].run.config.updates for k in b) for b in planned.batches]
    rest = [k for k in range(len(updates)) if not store.batch_file(out, k).exists()]
    imports = [str(path) for path in _registry.imported_files()]
    record = {**planned.record, "prng": _ambient.PRNG, "imports": imports}
    stop, counting = threading.Event(), threading.Lock()
    attempts: Counter[int] = Counter()
    waiting: dict[Any, int] = {}
    left = {k: updates[k] for k in rest}
    bar = Progress(sum(updates), sum(updates) - sum(left.values()), disable=not progress)

    def tell(number: int, count: int) -> None:
        if stop.is_set():
            raise _Stopped
        with counting:
            left[number] -= count
            bar.update(count)

    def submit(numbers: list[int]) -> None:
        attempts.update(numbers)
        # One job array instead of many jobs, where there is such a thing.
        with getattr(executor, "batch", contextlib.nullcontext)():
            futures = [executor.submit(run_batch, record, number, out) for number in numbers]
        waiting.update(zip(futures, numbers, strict=True))

    _here[out] = planned, tell
    try:
        with bar:
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
                    tell(number, left[number])
                time.sleep(_PAUSE if waiting else 0)
    except BaseException:
        stop.set()
        for future in waiting:
            future.cancel()
        raise
    finally:
        del _here[out]


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
    try:
        if not store.batch_file(out, number).exists():
            store.write_batch(out, number, *_computed(record, number, out))
    except Exception as error:
        if out not in _here:  # the traceback stays behind when an exception goes elsewhere
            error.add_note(f"in batch {number} of {out.name}:\n{traceback.format_exc()}")
        return error
    return None


def _computed(
    record: Mapping[str, Any], number: int, out: Path
) -> tuple[dict[str, Any], store.Tensors]:
    """What the file of a batch holds."""
    planned, tell = _here.get(out) or (_planned(json.dumps(record)), lambda *_: None)
    cells, began = planned.batches[number], time.perf_counter()
    runs, device = [planned.cells[cell].run for cell in cells], executors.own_device()

    def watched() -> Iterator[TrainingResult]:
        for result in train_iter(*zip(*runs, strict=True), devices=[device]):
            tell(number, result.losses.size)
            yield result

    result = joined(watched())
    found = [tables.found(result[row]) for row in range(len(cells))]
    made = {
        "cells": list(cells),
        "rows": [row for row, _ in found],
        "curves": [curve for _, curve in found],
        "seconds": {
            "generation": round(result.generation_seconds, 3),
            "updates": round(result.update_seconds, 3),
            "wall": round(time.perf_counter() - began, 3),
        },
        "device": device.id,
        "environment": environment(),
    }
    weights = {
        name: leaf[row]
        for part, leaf in enumerate(map(np.asarray, result.effective))
        for row, cell in enumerate(cells)
        for name in [tables.tensor_names(cell)[part]]
    }
    return made, weights


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
    command: str, record: dict[str, Any], batches: list[dict[str, Any]], seconds: float
) -> str:
    """What made the tables, and how long it took."""
    environments = {json.dumps(batch["environment"]): batch["environment"] for batch in batches}
    made = {
        "command": command,
        **record,
        "environments": list(environments.values()),
        "seconds_of_the_last_call": round(seconds, 3),
        "batches": [{key: b[key] for key in ("cells", "seconds", "device")} for b in batches],
    }
    return json.dumps(made, indent=2) + "\n"
