"""Finished runs, kept: where the environment names a folder for them, `train` looks there first.

The same run by the same code on the same machine gives the same bits, so nobody has to wait for
it twice: the book's chapters share their runs in this way. A run counts as the same if its rule,
family and configuration are, and the library's files, the versions, the kind of device, the
number of processors and the random numbers.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import jax

from icrl_flax import _registry
from icrl_flax.training.checkpoint import SUFFIX, Tensors, encoded, load, provenance, save
from icrl_flax.training.result import Run, TrainingResult

FOLDER = "ICRL_RUNS"
"""The environment variable that names the folder."""


def kept(run: Run, train: Callable[[], TrainingResult]) -> TrainingResult:
    """What `train` makes of a run, or has made of it before.

    Args:
        run: of which nothing is kept if its rule or family is defined in no file.
        train: makes it.
    """
    folder = os.environ.get(FOLDER)
    name = name_of(run) if folder else None
    if folder is None or name is None:
        return train()
    path = Path(folder) / f"{name}{SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):  # who comes second waits, and then reads
        if path.exists():
            return load(path)
        result = train()
        save(result, path)
        return result


def name_of(run: Run) -> str | None:
    """A name that no other run has; None for one that cannot be told from another."""
    own = [_registry.source(type(part)) for part in (run.rule, run.family)]
    if any(source is not None and source["sha256"] is None for source in own):
        return None
    tensors: Tensors = {}
    try:
        parts = encoded(run, tensors)
    except ValueError:
        return None
    arrays = {name: [str(x.dtype), x.shape, x.tobytes().hex()] for name, x in tensors.items()}
    record: dict[str, Any] = {
        **parts,
        "arrays": arrays,
        "own": own,
        "code": _code(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "default_device": str(jax.config.jax_default_device),  # pyright: ignore[reportAttributeAccessIssue]
        **provenance(),
    }
    del record["commit"]  # most of which is not code that trains
    text = json.dumps(record, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _code() -> str:
    """A hash of all that training runs: the package without what looks at its results."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.split("/")[0] not in ("cli", "experiments", "plots", "theory"):
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
