"""`python -m icrl_flax sweep`: many runs, one table."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from icrl_flax._files import OutputError
from icrl_flax.cli.console import (
    INTERRUPTED,
    TERMINATED,
    Terminated,
    complain,
    say,
    terminable,
    usage,
)
from icrl_flax.experiments import finished_cells, named, read_spec, sweep


def command(
    spec: tyro.conf.Positional[Path],
    out: Path,
    executor: Literal["threads", "dask", "slurm"] = "threads",
    workers: int | None = None,
) -> Callable[[], int]:
    """Run every combination of settings and seeds in a TOML file; finish it if it was stopped.

    Args:
        spec: the file; the documentation of icrl_flax.experiments.Spec shows one.
        out: directory for the tables: new, empty, or that of the same sweep.
        executor: where batches run: threads of this process, processes of Dask, or jobs of Slurm.
        workers: batches that run at the same time; one for each core or GPU, if not given.
    """
    return lambda: run(spec, out, executor, workers)


def run(spec: Path, out: Path, executor: str, workers: int | None) -> int:
    """Print what the finished table says in short."""
    began = time.perf_counter()
    try:
        with terminable(), contextlib.ExitStack() as stack:
            with usage():
                try:
                    read_spec(spec)
                except OSError as error:
                    raise ValueError(f"spec: cannot read {spec}: {error.strerror}") from error
                used = stack.enter_context(named(executor, workers))
            with usage(OutputError):
                table = sweep(spec, out, executor=used, progress=True).table
    except KeyboardInterrupt as stop:
        done, cells = finished_cells(out, spec)
        complain(
            f"interrupted: {out} holds {done} of {cells} cells; the same command finishes the rest"
        )
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    lines = {
        "cells": f"{table['cell'].size}",
        "cells that diverged": f"{np.isfinite(table['diverged_at']).sum()}",
        "median final loss": f"{np.nanmedian(table['final_loss']):.2e}",
        "largest final loss": f"{np.nanmax(table['final_loss']):.2e}",
    }
    for label, value in lines.items():
        say(f"{label:<42} {value}")
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0
