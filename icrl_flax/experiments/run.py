"""Many runs from one specification, that survive being killed, and one tidy table.

The runs are dealt out in batches, and the batches to devices: as many run at the same
time as there are workers, and each worker has its device. A batch does not spread over
devices, since XLA compiles a program for several of them otherwise than for one, and
the last digits would depend on how many there are. Several processes that have met
(`cluster.meet`) share the batches of one directory. A finished batch is one file,
and the files are all that the processes know of each other: whoever has done its
own share takes up what is not there yet, and leaves it again once it is.
"""

import concurrent.futures
import contextlib
import csv
import errno
import functools
import io
import json
import math
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from icrl_flax import _checks, _files
from icrl_flax._progress import Progress
from icrl_flax.experiments import cluster as cluster
from icrl_flax.experiments.spec import BATCH, Spec, read_spec
from icrl_flax.training import checkpoint as checkpoint
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.loop import Device, train_iter
from icrl_flax.training.result import TrainingResult, joined

SPEC, CELLS, TABLE, CURVES, PROVENANCE = (
    "spec.json",
    "cells",
    "table.csv",
    "curves.csv",
    "provenance.json",
)
TAIL = 1000
"""Updates whose mean loss is the final one."""
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of all updates: where the table gives the loss."""
THRESHOLDS = ("1e-4", "1e-6", "1e-8")
"""Losses: the table says how many updates each took."""
BINS = 100
"""Points of each loss curve."""
CARD = 1024
"""Runs of one batch that fill a graphics card."""
RESULTS = (
    "updates",
    "final_loss",
    *(f"loss_at_{fraction}" for fraction in FRACTIONS),
    *(f"updates_to_{threshold}" for threshold in THRESHOLDS),
    "c",
    "cosine",
    "off_pattern",
    "diverged_at",
)
"""Columns of the table that hold results."""

Column = np.ndarray


class Tables(NamedTuple):
    """What a finished sweep found, as columns; `pandas.DataFrame` takes either.

    Attributes:
        table: one row per cell: `cell`, `axis`, the settings, `seed`, and
            `RESULTS`. Losses are means over `TAIL` updates (the final one) or
            over one stage of the learning rate (`loss_at_…`, the share of all
            updates; `updates_to_…`, updates done when the mean of a stage is
            first that small, NaN if never). `c`, `cosine` and `off_pattern` are
            those of `Alignment`, NaN for softmax attention. `diverged_at` is the
            first update whose loss was not finite, the number of updates if only the
            last weights are not, NaN if there was none.
        curves: `cell`, `update` (done at the end of the bin) and `loss`, the
            geometric mean of the bin.
    """

    table: dict[str, Column]
    curves: dict[str, Column]


def sweep(
    spec: Path | str | Mapping[str, Any],
    out: Path | str,
    workers: int | None = None,
    progress: bool = False,
) -> Tables:
    """Run what is not yet done of a sweep, and write its tables.

    Killed at any moment and called again, it finishes the rest; the tables are
    those of an uninterrupted sweep, byte for byte. So are those of several
    processes on machines of one kind, which all give the same arguments, with a
    directory that they share; process 0 writes them.

    Args:
        spec: a TOML file, or what one would hold; see `sweep_spec`.
        out: directory for spec.json, cells/, table.csv, curves.csv and
            provenance.json: new, empty, or that of the same sweep.
        workers: batches that this process runs at the same time; if not given,
            one for each core that it may use, or for each GPU. The devices
            are dealt to them in turn. Results do not depend on it.
        progress: show a bar on standard error.

    Raises:
        ValueError: if the specification is wrong, `out` holds something else or
            is in use, or a finished batch on disk is damaged.
        KeyboardInterrupt: on Ctrl-C, with all finished batches kept.
    """
    name = "SPEC" if isinstance(spec, Mapping) else Path(spec).name
    out = Path(out)
    plan = _plan(spec, out)
    workers = _default_workers() if workers is None else workers
    _checks.positive_integer("workers", workers)
    with _claimed(out, plan):
        files = [_file(out, number) for number in range(len(plan.batches))]
        began = time.perf_counter()
        _run_rest(plan, files, workers, progress)
        results = [
            _read_batch(file, batch) for file, batch in zip(files, plan.batches, strict=True)
        ]
        texts = dict(zip((TABLE, CURVES), _tables(plan, results), strict=True))
        if jax.process_index() == 0:
            for file in reversed(texts):  # the table last: with it the sweep is finished
                _write_text(out / file, texts[file])
            _write_provenance(out, name, plan, results, workers, time.perf_counter() - began)
    return Tables(*map(_columns, texts.values()))


def read_sweep(out: Path | str) -> Tables:
    """The tables of a finished sweep.

    Raises:
        ValueError: if the directory holds none.
    """
    try:
        texts = [(Path(out) / name).read_text(encoding="utf-8") for name in (TABLE, CURVES)]
    except FileNotFoundError as error:
        raise ValueError(f"{out} holds no finished sweep: it has no {TABLE}") from error
    return Tables(*map(_columns, texts))


def finished_cells(out: Path | str, spec: Path | str | Mapping[str, Any]) -> tuple[int, int]:
    """How many cells of a sweep are done, and how many there are."""
    plan = _plan(spec, Path(out))
    done = [len(b) for k, b in enumerate(plan.batches) if _file(Path(out), k).exists()]
    return sum(done), len(plan.cells)


def _plan(spec: Path | str | Mapping[str, Any], out: Path) -> Spec:
    """The sweep, in the batches that it was begun with, or in those that suit the devices."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        begun = json.loads((out / SPEC).read_text(encoding="utf-8"))["batch"]
        if type(begun) is int and begun > 0:
            return read_spec(spec, lambda _: begun)
    devices = jax.devices()  # those of all processes, which must decide alike
    return read_spec(spec, lambda cells: usual_batch(cells, devices[0].platform, len(devices)))


def usual_batch(cells: int, platform: str, devices: int) -> int:
    """The largest batch of a sweep that names none.

    On a GPU the time of an update hardly depends on how many runs share it until
    they fill the card, so a batch is an equal share of all cells, if that fits.
    """
    if platform == "cpu":
        return BATCH
    return max(BATCH, min(CARD, -(-cells // devices)))


def _default_workers() -> int:
    if jax.default_backend() != "cpu":
        return jax.local_device_count()
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _file(out: Path, number: int) -> Path:
    return out / CELLS / f"batch-{number:05d}.json"


def _updates(plan: Spec, batch: tuple[int, ...]) -> int:
    return sum(plan.cells[cell].run.config.updates for cell in batch)


@contextlib.contextmanager
def _claimed(out: Path, plan: Spec) -> Iterator[None]:
    """The directory, made or found to be this sweep's, locked while it is in use."""
    record = out / SPEC
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not record.exists():
            # A sweep killed at its very beginning leaves a temporary file at most.
            foreign = any(not path.name.startswith(f".{SPEC}.") for path in out.iterdir())
            if foreign and not record.exists():  # another process may have come first
                raise ValueError(f"out: {out} exists and is not empty; nothing was changed")
            if not foreign:
                _write_text(record, json.dumps(plan.record, indent=2) + "\n")
        try:
            same = json.loads(record.read_text(encoding="utf-8")) == plan.record
        except ValueError as error:
            raise ValueError(f"out: {record} is damaged: {error}") from error
        if not same:
            raise ValueError(f"out: {out} holds another sweep; nothing was changed")
        with _locked(out) as alone:
            (out / CELLS).mkdir(exist_ok=True)
            for name in (SPEC, TABLE, CURVES, PROVENANCE, f"{CELLS}/batch-") if alone else ():
                folder, _, start = f"{out}/{name}".rpartition("/")
                for path in Path(folder).glob(f".{start}*"):
                    path.unlink(missing_ok=True)  # what was being written when it was killed
            yield
    except OSError as error:
        raise ValueError(f"out: cannot write to {out}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[bool]:
    """No second sweep in this directory; the lock dies with the process.

    Processes that share a sweep share the lock.

    Yields:
        Whether this process has the directory to itself.
    """
    try:
        import fcntl
    except ImportError:  # not a Unix system
        yield jax.process_count() == 1
        return
    shared = jax.process_count() > 1
    # A file, open for writing: network file systems lock nothing else.
    with (out / SPEC).open("r+b") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"out: another sweep is writing to {out}") from error
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            # A file system without locks: two sweeps would do work twice, and no harm.
            shared = True
        yield not shared


class _Stopped(Exception):
    """Another batch failed, or Ctrl-C, or another process was faster."""


def _run_rest(plan: Spec, files: list[Path], workers: int, progress: bool) -> None:
    """Run what is not done, on all devices of this process, and help the other processes."""
    stop, taking, counting = threading.Event(), threading.Lock(), threading.Lock()
    sizes = [_updates(plan, batch) for batch in plan.batches]
    done = [file.exists() for file in files]
    rest = [number for number, is_done in enumerate(done) if not is_done]
    process, processes = jax.process_index(), jax.process_count()
    turns = cluster.turns(rest, process, processes)
    devices = jax.local_devices()
    share = sum(sizes[number] for number in rest[process::processes])
    total = share if processes > 1 else sum(sizes)
    bar = Progress(total, done=total - share, disable=not progress)

    def run(number: int, own: bool, device: Device) -> None:
        batch, file = plan.batches[number], files[number]
        runs = [plan.cells[cell].run for cell in batch]
        began = time.perf_counter()

        def watched() -> Iterator[TrainingResult]:
            for report in train_iter(*map(list, zip(*runs, strict=True)), devices=[device]):
                if stop.is_set() or (processes > 1 and file.exists()):
                    raise _Stopped
                if own:
                    with counting:
                        bar.update(report.losses.size)
                yield report

        # The mode belongs to the thread, and so do the results, whatever the caller's is.
        with jax.enable_x64(runs[0].config.dtype == "float64"):
            report = joined(watched())
        record = {
            "cells": list(batch),
            "rows": [_results(plan, cell, report, row) for row, cell in enumerate(batch)],
            "curves": [_curve(report.losses[row]) for row in range(len(batch))],
            "seconds": {
                "generation": round(report.generation_seconds, 3),
                "updates": round(report.update_seconds, 3),
                "wall": round(time.perf_counter() - began, 3),
            },
            "place": {"process": process, "device": device.id},
            "environment": environment(),
        }
        if not file.exists():
            _write_text(file, json.dumps(record, allow_nan=False) + "\n")

    def work(device: Device) -> None:
        while not stop.is_set():
            with taking:
                number, own = next(turns, (None, False))
            if number is None:
                return
            if not files[number].exists():
                try:
                    run(number, own, device)
                except _Stopped:
                    continue  # … if there is any left, and nothing has failed

    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, devices[k % len(devices)]) for k in range(workers)]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            raise


def _text(value: Any) -> str:
    """A value so that it reads back as itself."""
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    return str(value)


def _results(plan: Spec, cell: int, report: TrainingResult, row: int) -> list[str]:
    """The result columns of one cell."""
    config = plan.cells[cell].run.config
    losses = report.losses[row].astype(np.float64)
    stages = stage_means(losses, config)
    at = [stages[max(1, math.ceil(share * stages.size)) - 1] for share in FRACTIONS]
    stage = min(config.stage, losses.size)
    reached = [np.flatnonzero(stages <= float(threshold)) for threshold in THRESHOLDS]
    to = [(int(found[0]) + 1) * stage if found.size else "" for found in reached]
    closeness = ["", "", ""]
    if config.attention == "linear":
        with jax.enable_x64(True):
            alignment = report[row].alignment()
            # Several heads have a matrix for c.
            c = alignment.c if alignment.c.ndim == 0 else jnp.linalg.det(alignment.c)
            closeness = [float(value) for value in (c, alignment.cosine, alignment.off_pattern)]
    diverged_at = int(report.diverged_at[row])
    values = [losses.size, losses[-TAIL:].mean(), *at, *to, *closeness]
    return [*map(_text, values), "" if diverged_at < 0 else str(diverged_at)]


def stage_means(
    losses: Float[np.ndarray, " updates"], config: TrainingConfig
) -> Float[np.ndarray, " stages"]:
    """Mean loss of each whole stage of the learning rate; of everything if there is none."""
    stage = min(config.stage, losses.size)
    whole = losses.size // stage * stage
    return losses[:whole].reshape(-1, stage).mean(axis=1)


def _curve(losses: Float[np.ndarray, " updates"]) -> list[list[str]]:
    """Updates done and geometric mean of the loss for each of at most `BINS` bins."""
    count = min(BINS, losses.size)
    ends = [losses.size * (k + 1) // count for k in range(count)]
    # A loss of exactly 0 must not take its whole bin with it.
    logs = np.log(np.maximum(losses.astype(np.float64), np.finfo(np.float32).tiny))
    means = [logs[begin:end].mean() for begin, end in zip([0, *ends], ends, strict=False)]
    return [[str(end), _text(np.exp(mean))] for end, mean in zip(ends, means, strict=True)]


def _read_batch(file: Path, batch: tuple[int, ...]) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        fits = record["cells"] == list(batch) and len(record["rows"]) == len(record["curves"])
        fits &= all(len(row) == len(RESULTS) for row in record["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged; delete it to run its cells again") from error
    if not fits or len(record["rows"]) != len(batch):
        raise ValueError(f"{file} is of another sweep; delete it to run its cells again")
    return record


def _write_text(path: Path, text: str) -> None:
    _files.write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def _tables(plan: Spec, results: list[dict[str, Any]]) -> tuple[str, str]:
    """The table and the curves, as CSV."""
    found, curves = {}, {}
    for result in results:
        found |= zip(result["cells"], result["rows"], strict=True)
        curves |= zip(result["cells"], result["curves"], strict=True)
    header = ["cell", "axis", *plan.columns, "seed", *RESULTS]
    rows = [
        [number, cell.axis, *map(_text, cell.settings), cell.run.config.seed, *found[number]]
        for number, cell in enumerate(plan.cells)
    ]
    points = [[number, *point] for number in range(len(plan.cells)) for point in curves[number]]

    def text(table: list[list[Any]]) -> str:
        file = io.StringIO(newline="")
        csv.writer(file, lineterminator="\n").writerows(table)
        return file.getvalue()

    return text([header, *rows]), text([["cell", "update", "loss"], *points])


@functools.cache
def environment() -> dict[str, Any]:
    """What made a result: packages, device and processor."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {**checkpoint.provenance(), "processor": processor, "cores": os.cpu_count()}


def _write_provenance(
    out: Path, name: str, plan: Spec, results: list[dict[str, Any]], workers: int, seconds: float
) -> None:
    environments = []
    for result in results:
        if result["environment"] not in environments:
            environments.append(result["environment"])
    record = {
        "command": f"python -m icrl_flax sweep {name} --out {out.absolute().name}",
        "spec": plan.record,
        "environments": environments,
        "workers": workers,
        "seconds_of_the_last_call": round(seconds, 3),
        "batches": [
            {key: result[key] for key in ("cells", "seconds", "place") if key in result}
            for result in results
        ],
    }
    _write_text(out / PROVENANCE, json.dumps(record, indent=2) + "\n")


def _columns(text: str) -> dict[str, Column]:
    """CSV as columns: integers, floating-point numbers (NaN if empty) or text."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    columns = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        for convert in (int, lambda cell: float(cell or "nan"), str):
            try:
                columns[name] = np.array([convert(cell) for cell in cells])
                break
            except ValueError:
                continue
    return columns
