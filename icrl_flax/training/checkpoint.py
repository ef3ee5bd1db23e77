"""One run in one file: weights, optimiser, losses, and all that is needed to repeat it.

A safetensors file whose metadata hold the record, as JSON under the key "record". Any
reader of that format finds the tensors `theta/P12` and `theta/V21` (or `theta/P` and
`theta/V`) and `losses` in it.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from icrl_flax import _ambient, _checks, _files, _registry
from icrl_flax.training.blocks import initial_block
from icrl_flax.training.result import Run, State, TrainingResult, mean_loss

FORMAT = 1
SUFFIX = ".safetensors"
_PACKAGES = ("icrl-flax", "jax", "jaxlib", "flax", "optax", "equinox", "numpy")


def provenance() -> dict[str, Any]:
    """What a result depends on beside its configuration: versions, commit, device, PRNG."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    device = jax.local_devices()[0]
    return {
        "versions": versions,
        "commit": commit(),
        "python": platform.python_version(),
        "device": {"platform": device.platform, "kind": device.device_kind},
        "prng": _ambient.PRNG,
    }


@functools.cache
def commit() -> str:
    """The library's commit; "uncommitted" if its files differ from it, "unknown" without one."""
    package = Path(__file__).parents[1]
    if not (package.parent / ".git").exists():
        return "unknown"

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return "uncommitted" if git("status", "--porcelain", ".") else git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


Tensors = dict[str, np.ndarray]


def _encode(value: Any, name: str, tensors: Tensors) -> Any:
    """A value as JSON that `_decode` turns into one of the same type; arrays go to `tensors`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        tensors[name] = np.asarray(value)
        kind = "jax" if isinstance(value, jax.Array) else "numpy"
        return {kind: name, "scalar": isinstance(value, np.generic)}
    if type(value) in (list, tuple):
        items = [_encode(item, f"{name}/{k}", tensors) for k, item in enumerate(value)]
        return {type(value).__name__: items}
    kind = type(value)
    if dataclasses.is_dataclass(kind) and _find(_path(kind)) is kind:
        fields = {
            field.name: _encode(getattr(value, field.name), f"{name}/{field.name}", tensors)
            for field in dataclasses.fields(kind)
            if field.init
        }
        return {"kind": _path(kind), "fields": fields}
    raise ValueError(
        f"{name} cannot be read back from a file, got {value!r}: numbers, text, arrays, lists "
        "and tuples of them can, and rules and families that are registered"
    )


def _decode(code: Any, name: str, tensors: Tensors) -> Any:
    if not isinstance(code, dict):
        return code
    if "numpy" in code or "jax" in code:
        array = tensors[code.get("numpy") or code["jax"]]
        if "jax" in code:
            return jax.device_put(array)
        return array[()] if code["scalar"] else array
    for sequence in (list, tuple):
        if sequence.__name__ in code:
            return sequence(
                _decode(item, f"{name}/{k}", tensors)
                for k, item in enumerate(code[sequence.__name__])
            )
    kind = _find(code["kind"])
    if kind is None:
        raise ValueError(
            f"{name} is of the kind {code['kind']!r}, which is not known here; "
            "import the file that it was registered in first"
        )
    fields = {
        field: _decode(value, f"{name}/{field}", tensors)
        for field, value in code["fields"].items()
    }
    return kind(**fields)


def encoded(run: Run, tensors: Tensors) -> dict[str, Any]:
    """A run as JSON, its arrays put into `tensors`.

    Raises:
        ValueError: if a setting could not be read back.
    """
    return {name: _encode(getattr(run, name), name, tensors) for name in Run._fields}


def _path(kind: type) -> str:
    """The name under which a class is found again."""
    for room, known in (("rule", _registry.rules()), ("family", _registry.families())):
        for name, candidate in known.items():
            if candidate is kind:
                return f"{room} {name}"
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(path: str) -> Any:
    """The class of a name that `_path` gave, None if there is none: no other code is run."""
    room, _, name = path.partition(" ")
    if name:
        known = {"rule": _registry.rules, "family": _registry.families}
        return known[room]().get(name) if room in known else None
    module, _, name = path.partition(":")
    if module.partition(".")[0] != "icrl_flax":
        return None
    return getattr(importlib.import_module(module), name, None)


def checkpoint_path(path: Path | str) -> Path:
    """The file of a checkpoint: the path itself, with the suffix if it lacks one."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def save(result: TrainingResult, path: Path | str, *, weights_only: bool = False) -> Path:
    """Write one run into one file, whole or not at all; `load` gives back the same.

    A file that is there is replaced.

    Args:
        result: of one run.
        path: where; the suffix .safetensors is added if it lacks one, and the
            directory is made.
        weights_only: leave out the losses, but for the mean of the last thousand in the record,
            and the optimiser's state: 22 kB instead of 2 MB at the paper's sizes. Training
            cannot go on from such a file.

    Returns:
        The file.

    Raises:
        ValueError: if there are several runs, or a setting could not be read back.
        OSError: if the file cannot be written; one that was there is kept.
    """
    if result.several:
        raise ValueError(f"result must be one run, got {len(result)}: save result[i]")
    path = checkpoint_path(path)
    rule, family, _ = result.runs[0]
    tensors: Tensors = {"losses": result.losses[:0] if weights_only else result.losses}
    state = result.rows(1)
    if weights_only:
        state = state._replace(optimizer_state=())
    for name, leaf in state.theta._asdict().items():
        tensors[f"theta/{name}"] = leaf[0]
    for k, leaf in enumerate(jax.tree.leaves(state.optimizer_state)):
        tensors[f"optimizer/{k}"] = leaf[0]
    record = {
        "format": FORMAT,
        **encoded(result.runs[0], tensors),
        "sources": {
            name: _registry.source(type(value))
            for name, value in (("rule", rule), ("family", family))
        },
        "completed_mdps": result.mdps,
        "diverged_at": result.diverged_at,
        "final_loss": mean_loss(result.losses[-1000:]) if result.losses.size else None,
        "generation_seconds": round(result.generation_seconds, 3),
        "update_seconds": round(result.update_seconds, 3),
        **provenance(),
    }
    # Safetensors writes what memory holds: rows in order, one after the other.
    tensors = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    # By Rust's own writer a full disk is no OSError.
    content = safetensors.numpy.save(tensors, {"record": json.dumps(record)})
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return path


def load(path: Path | str) -> TrainingResult:
    """Read what `save` wrote: equal in every bit and type.

    Args:
        path: the file, with or without its suffix.

    Raises:
        ValueError: if there is no such file, it is damaged or foreign, it was written under
            another kind of random numbers, or its rule or family is not known.
    """
    path = Path(path)
    if (path / "config.json").exists():
        raise ValueError(
            f"{path} is a checkpoint of an older version, a directory; this one reads single "
            f"{SUFFIX} files: train again"
        )
    path = checkpoint_path(path)
    try:
        with safetensors.safe_open(path, "numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
            record = json.loads((file.metadata() or {})["record"])
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']!r} is not known, only {FORMAT}")
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist") from error
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} is not a checkpoint, or damaged: {error!r}") from error
    if record["prng"] != _ambient.PRNG:
        raise ValueError(f"{path} was made with the PRNG {record['prng']}, not {_ambient.PRNG}")
    try:
        with _ambient.settled(x64=True):
            parts = (_decode(record[name], name, tensors) for name in Run._fields)
            run = Run(*parts)
        return _result(path, run, record, tensors)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _result(path: Path, run: Run, record: dict[str, Any], tensors: Tensors) -> TrainingResult:
    """The run's result, its tensors checked."""
    rule, _, config = run
    with _ambient.settled(config.dtype == "float64"):
        wanted = jax.eval_shape(
            lambda key: initial_block(key, rule, config).theta, jax.random.key(0)
        )
    kind, shapes = type(wanted), [leaf.shape for leaf in wanted]
    theta: Any = [tensors[f"theta/{name}"] for name in kind._fields]
    losses, diverged = tensors["losses"], record["diverged_at"] >= 0
    if losses.ndim != 1:
        raise ValueError(f"losses must have one axis, got shape {losses.shape}")
    for name, leaf, shape in zip(kind._fields, theta, shapes, strict=True):
        _checks.shape(f"theta/{name}", leaf, shape)
    for name, leaf in (*zip(kind._fields, theta, strict=True), ("losses", losses)):
        if leaf.dtype != config.dtype:
            raise ValueError(f"{name} must be {config.dtype}, got {leaf.dtype}")
        if not diverged:
            _checks.finite(name, leaf)
    count = sum(name.startswith("optimizer/") for name in tensors)
    optimizer_state = [tensors[f"optimizer/{k}"] for k in range(count)]
    return TrainingResult(
        runs=(run,),
        several=False,
        state=jax.tree.map(lambda leaf: leaf[None], State(kind(*theta), optimizer_state)),
        losses=losses,
        diverged_at=record["diverged_at"],
        mdps=record["completed_mdps"],
        generation_seconds=record["generation_seconds"],
        update_seconds=record["update_seconds"],
        record=record,
    )
