"""A trained block on disk: weights, losses, and all that is needed to repeat it."""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from icrl_flax import _checks
from icrl_flax.mdps.families import RandomMDPs
from icrl_flax.rules import discover
from icrl_flax.rules.base import Rule
from icrl_flax.training.single import Report, TrainingConfig

WEIGHTS, CONFIG, LOSSES = "params.safetensors", "config.json", "loss.npy"
_PACKAGES = ("icrl-flax", "jax", "jaxlib", "flax", "optax", "equinox", "numpy")


class Checkpoint(NamedTuple):
    """What a checkpoint directory holds.

    Attributes:
        P: the block's D×D matrix P, float32.
        V: the block's D×D matrix V, float32.
        losses: one float32 per update.
        rule: the rule that the block was trained on.
        family: the distribution of MDPs that it was trained on.
        training: how it was trained.
        record: the whole of config.json, with the versions and the device.
    """

    P: Float[np.ndarray, "*heads D D"]
    V: Float[np.ndarray, "*heads D D"]
    losses: Float[np.ndarray, " updates"]
    rule: Rule
    family: RandomMDPs
    training: TrainingConfig
    record: dict[str, Any]


def provenance() -> dict[str, Any]:
    """Package versions, Python and device: what a result depends on beside its configuration."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    device = jax.local_devices()[0]
    return {
        "versions": versions,
        "python": platform.python_version(),
        "device": {"platform": device.platform, "kind": device.device_kind},
    }


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it onto `path`.

    A crash at any moment leaves the old file or the new one.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """`write_atomically` for several files: none is renamed before all of them are written.

    Args:
        files: for each path what fills it; they are renamed in this order.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            temporaries[path] = Path(name)
            os.close(handle)
            write(temporaries[path])
            temporaries[path].chmod(0o644)  # mkstemp's can be read by their owner alone
            with temporaries[path].open("rb+") as file:
                os.fsync(file.fileno())  # the name must not reach the disk before the content
        for path, temporary in temporaries.items():
            temporary.replace(path)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Name the output of which the system says that it cannot be written.

    Raises:
        ValueError: for any OSError inside.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"out: cannot write to {out}: {reason}") from error


def new_directory(directory: Path) -> Path:
    """Create an output directory, or accept an empty one.

    Raises:
        ValueError: if it exists and is not an empty directory, or cannot be written.
    """
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
        if not occupied:
            _probe(directory)
    if occupied:
        raise ValueError(f"out: {directory} exists and is not empty; nothing was changed")
    return directory


def new_file(path: Path) -> None:
    """Refuse a path at which something exists, or beside which nothing can be written.

    Raises:
        ValueError: in either case.
    """
    if os.path.lexists(path):
        raise ValueError(f"out: {path} exists; nothing was changed")
    with writing(path.parent):
        _probe(path.parent)


def _probe(directory: Path) -> None:
    """Write and remove a file, now rather than after minutes of work."""
    write_atomically(directory / ".writable", lambda _: None)
    (directory / ".writable").unlink()


def save(
    directory: Path,
    report: Report,
    rule: Rule,
    family: RandomMDPs,
    training: TrainingConfig,
) -> None:
    """Write params.safetensors, config.json and loss.npy: all of them, or none if one fails.

    Args:
        directory: where; must exist.
        report: the block and its losses.
        rule: the rule that it was trained on.
        family: the distribution of MDPs.
        training: how it was trained.

    Raises:
        OSError: if a file cannot be written; files that were there are kept.
    """
    record = {
        "rule": {"name": rule.name(), **dataclasses.asdict(rule)},
        "family": dataclasses.asdict(family),
        "training": dataclasses.asdict(training),
        "completed_mdps": report.mdps,
        "generation_seconds": round(report.generation_seconds, 3),
        "update_seconds": round(report.update_seconds, 3),
        **provenance(),
    }
    weights = {"P": np.asarray(report.P, np.float32), "V": np.asarray(report.V, np.float32)}
    losses = np.asarray(report.losses, np.float32)

    def write_losses(path: Path) -> None:
        with path.open("wb") as file:  # given a name, NumPy would append a suffix to it
            np.save(file, losses)

    config = json.dumps(record, indent=2, default=lambda scalar: scalar.item()) + "\n"
    tensors = safetensors.numpy.save(weights)  # by Rust's own writer a full disk is no OSError
    write_together(
        {
            directory / CONFIG: lambda path: path.write_text(config, "utf-8"),
            directory / LOSSES: write_losses,
            directory / WEIGHTS: lambda path: path.write_bytes(tensors),
        }
    )


def load(directory: Path) -> Checkpoint:
    """Read what `save` wrote.

    Raises:
        ValueError: if a file is missing, truncated or foreign, or the weights are not
            finite and of the size that the configuration says.
    """
    try:
        record = json.loads((directory / CONFIG).read_text("utf-8"))
        fields = dict(record["rule"])
        rule = discover()[fields.pop("name")](**fields)
        family = RandomMDPs(**record["family"])
        training = TrainingConfig(**record["training"])
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{directory} is not a checkpoint: it has no {CONFIG}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{directory / CONFIG} is not a configuration: {error!r}") from error
    try:
        weights = safetensors.numpy.load_file(directory / WEIGHTS)
        losses = np.load(directory / LOSSES, allow_pickle=False)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"{directory} is not a checkpoint: it lacks a file") from error
    except (safetensors.SafetensorError, ValueError, EOFError, KeyError, MemoryError) as error:
        raise ValueError(f"{directory} holds a damaged file: {error}") from error
    if not isinstance(losses, np.ndarray) or losses.ndim != 1:
        raise ValueError(f"{directory / LOSSES} must hold one array with one axis")
    wanted = rule.weights_shape
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    if shapes != {"P": wanted, "V": wanted}:
        raise ValueError(
            f"{directory / WEIGHTS} must hold P and V of shape {wanted}, got {shapes}"
        )
    for name, array in (*weights.items(), (LOSSES, losses)):
        if array.dtype != np.float32:
            raise ValueError(f"{directory}: {name} must be float32, got {array.dtype}")
        _checks.finite(f"{directory}: {name}", array)
    return Checkpoint(weights["P"], weights["V"], losses, rule, family, training, record)
