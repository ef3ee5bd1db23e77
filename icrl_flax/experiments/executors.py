"""Where the batches of a sweep run: executors by their names on the command line.

None is needed for `sweep(executor=)`, which takes any object with a method `submit` as
`concurrent.futures.Executor` has it.
"""

import concurrent.futures
import contextlib
import importlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from icrl_flax import _checks

NAMES = ("threads", "dask", "slurm")
_here = threading.local()


@contextlib.contextmanager
def named(name: str, workers: int | None = None, logs: Path | str = "slurm-jobs") -> Iterator[Any]:
    """An executor, closed at the end.

    Args:
        name: "threads" of this process, each with one of its devices; "dask", on the
            scheduler that DASK_SCHEDULER_ADDRESS (or Dask's configuration) names, or else
            on processes of this machine; or "slurm", a job for each batch.
        workers: batches that run at the same time; if not given, one for each core that
            this process may use, or each of its GPUs. Jobs of Slurm have no limit then. A
            scheduler that is there has the workers that it has.
        logs: directory for what the jobs of Slurm write, which they must see too.

    Raises:
        ValueError: if there is no such executor, or a package or Slurm itself is missing.
    """
    _checks.one_of("executor", name, NAMES)
    if workers is not None:
        _checks.positive_integer("workers", workers)
    if name == "threads":
        with threads(workers) as executor:
            yield executor
    elif name == "dask":
        distributed, dask = _package("distributed", name), _package("dask", name)
        local = {
            "n_workers": workers or usual_workers(),
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "dashboard_address": None,
        }
        options = {} if dask.config.get("scheduler-address", None) else local
        with distributed.Client(**options) as client:
            yield client.get_executor(pure=False)
    else:
        submitit = _package("submitit", name)
        try:
            executor = submitit.SlurmExecutor(folder=Path(logs).absolute())
        except RuntimeError as error:
            raise ValueError(
                f"executor 'slurm' finds no Slurm on this machine: {error}"
            ) from error
        # Variables such as SBATCH_TIMELIMIT overrule these.
        executor.update_parameters(time=24 * 60, cpus_per_task=2, array_parallelism=workers or 256)
        yield executor


def threads(workers: int | None = None) -> concurrent.futures.ThreadPoolExecutor:
    """Threads to which the devices of this process are dealt in turn."""
    dealt, dealing = itertools.cycle(jax.local_devices()), threading.Lock()

    def take() -> None:
        with dealing:
            _here.device = next(dealt)

    return concurrent.futures.ThreadPoolExecutor(workers or usual_workers(), initializer=take)


def own_device() -> jax.Device:  # pyright: ignore[reportInvalidTypeForm]  JAX names it at run time
    """The device of this thread."""
    return getattr(_here, "device", None) or jax.local_devices()[0]


def usual_workers() -> int:
    """Cores that this process may use, or its GPUs."""
    if jax.default_backend() != "cpu":
        return jax.local_device_count()
    with contextlib.suppress(AttributeError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"executor {extra!r} needs the package {name}: pip install 'icrl-flax[{extra}]'"
        ) from error
