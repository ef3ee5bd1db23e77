"""What a sweep runs, read from a small TOML file: a base, axes around it, seeds.

    seeds = 32                      # 0 … 31, or a list of them
    design = "one-at-a-time"        # or "grid", the default
    batch = 8                       # runs under one vmap, at most; see icrl_flax.sweep

    [rule]
    name = "sarsa"
    [training]
    mdps = 10_000
    [axes]
    "training.window_length" = [5, 20, 80]
    "rule.epsilon" = [0.0, 0.1, 1.0]
    size = [{ "family.n_states" = 4, "rule.d" = 16 }, { … }]

An axis is one setting with its values, or a free name with tables of settings
that change together. What is not set has the library's default, the paper's.
"""

import dataclasses
import itertools
import json
import tomllib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from icrl_flax.control.tasks import check_fit
from icrl_flax.mdps.families import FAMILIES
from icrl_flax.rules import discover
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.loop import program
from icrl_flax.training.result import Run

SECTIONS = ("rule", "family", "training")
DESIGNS = ("grid", "one-at-a-time")
BASE = "base"
BATCH = 8
"""Runs under one vmap: on a processor more gain nothing, and less is lost if it is stopped."""
_TOP = ("seeds", "design", "batch", *SECTIONS, "axes")

Settings = dict[str, Any]
"""Values by dotted key: `{"rule.name": "sarsa", "training.mdps": 100}`."""


class Cell(NamedTuple):
    """One run of a sweep, one row of its table.

    Attributes:
        axis: which axis it lies on if they vary one at a time, or "base"; ""
            in a grid.
        settings: values of the specification's columns, "" where its rule
            or family has no such setting.
        run: everything that is to be run.
    """

    axis: str
    settings: tuple[Any, ...]
    run: Run


class Spec(NamedTuple):
    """A sweep.

    Attributes:
        record: the specification itself, equal for equal sweeps.
        columns: dotted keys of the settings that make up the table.
        cells: the runs, in the order of the table's rows.
        batches: numbers of the cells that run under one vmap. They follow from
            the record alone.
    """

    record: dict[str, Any]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    batches: tuple[tuple[int, ...], ...]


class _Axis(NamedTuple):
    name: str
    points: list[Settings]


def read_spec(
    source: Path | str | Mapping[str, Any], usual: Callable[[int], int] = lambda _: BATCH
) -> Spec:
    """Read and check a specification.

    Args:
        source: a TOML file, or what one would hold.
        usual: the largest batch for so many cells, of a source that names none.

    Raises:
        ValueError: naming the file, the key and the value, on anything wrong.
        OSError: if the file cannot be read.
    """
    if isinstance(source, Mapping):
        return _parse("spec", source, usual)
    try:
        table = tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} is not a TOML file: {error}") from error
    try:
        return _parse(str(source), table, usual)
    except RecursionError as error:
        raise ValueError(f"{source} is nested too deeply") from error


def _parse(file: str, table: Mapping[str, Any], usual: Callable[[int], int]) -> Spec:
    for key, value in table.items():
        if key not in _TOP:
            raise ValueError(f"{file}: {key} is unknown, got {value!r}; known: {', '.join(_TOP)}")
    seeds = _seeds(file, table.get("seeds", 1))
    design = _choice(file, "design", DESIGNS, table.get("design", "grid"))
    batch = _count(file, "batch", table.get("batch", BATCH))
    base: Settings = {}
    for section in SECTIONS:
        for key, value in _table(file, section, table.get(section, {})).items():
            base[f"{section}.{key}"] = value
    axes = [_axis(file, name, values) for name, values in _leaves(file, table.get("axes", {}))]
    varied = [key for axis in axes for key in axis.points[0]]
    for key in varied:
        if varied.count(key) > 1:
            raise ValueError(f"{file}: axes must set {key} once, got it in two axes")
    if "rule.name" not in base and "rule.name" not in varied:
        raise ValueError(f"{file}: rule.name must be given, got none")
    columns = ("rule.name", *(key for key in varied if key != "rule.name"))

    cells = []
    for axis, settings in _points(file, design, base, axes):
        run = _run(file, settings)
        row = tuple(_effective(key, run) for key in columns)
        for seed in seeds:
            config = dataclasses.replace(run.config, seed=seed)
            cells.append(Cell(axis, row, run._replace(config=config)))
    batch = batch if "batch" in table else usual(len(cells))
    record = {
        "seeds": seeds,
        "design": design,
        "batch": batch,
        "base": base,
        "axes": [[axis.name, axis.points] for axis in axes],
    }
    record = json.loads(json.dumps(record))  # as it comes back from a file
    return Spec(record, columns, tuple(cells), _batches(cells, batch))


def _count(file: str, key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{file}: {key} must be an integer of at least 1, got {value!r}")
    return value


def _choice(file: str, key: str, choices: tuple[str, ...], value: Any) -> str:
    if value not in choices:
        raise ValueError(f"{file}: {key} must be one of {', '.join(choices)}, got {value!r}")
    return value


def _table(file: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{file}: {key} must be a table, got {value!r}")
    return value


def _seeds(file: str, value: Any) -> list[int]:
    if not isinstance(value, list):
        return list(range(_count(file, "seeds", value)))
    wrong = [seed for seed in value if type(seed) is not int or seed < 0]
    if wrong or not value or len(set(value)) < len(value):
        raise ValueError(
            f"{file}: seeds must be a number or a list of different integers of at least 0, "
            f"got {value!r}"
        )
    return value


def _leaves(file: str, table: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and values: TOML reads `a.b = 1` as a table in a table."""
    found = []
    for key, value in _table(file, prefix.rstrip(".") or "axes", table).items():
        if isinstance(value, Mapping):
            found += _leaves(file, value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found


def _axis(file: str, name: str, values: Any) -> _Axis:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{file}: axes: {name} must be a list of values, got {values!r}")
    if all(isinstance(value, Mapping) for value in values):
        points = [dict(_leaves(file, value, "")) for value in values]
        if not points[0] or any(set(point) != set(points[0]) for point in points):
            raise ValueError(
                f"{file}: axes: the tables of {name} must set the same keys, got {values!r}"
            )
    else:
        points = [{name: value} for value in values]
    for number, point in enumerate(points):
        if point in points[:number]:
            raise ValueError(f"{file}: axes: {name} must not repeat a value, got {values!r}")
    return _Axis(name, points)


def _points(
    file: str, design: str, base: Settings, axes: list[_Axis]
) -> list[tuple[str, Settings]]:
    """Each combination of settings once, with the axis it lies on."""
    if design == "grid":
        combinations = itertools.product(*(axis.points for axis in axes))
        return [("", dict(base, **_merged(points))) for points in combinations]
    points = [(BASE, base)]
    centre = _run(file, base)
    for axis in axes:
        for point in axis.points:
            settings = {**base, **point}
            if _run(file, settings) != centre:
                points.append((axis.name, settings))
    return points


def _merged(points: tuple[Settings, ...]) -> Settings:
    return {key: value for point in points for key, value in point.items()}


def _kind(file: str, key: str, settings: Settings) -> type:
    """The class that a dotted key belongs to."""
    section = key.partition(".")[0]
    if section == "training":
        return TrainingConfig
    known = discover() if section == "rule" else FAMILIES
    name = settings.get(f"{section}.name", "random" if section == "family" else None)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{file}: {section}.name must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def _value(file: str, key: str, settings: Settings) -> Any:
    """The value of a dotted key, refused unless it has the type of its field."""
    value = settings[key]
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name:
        raise ValueError(
            f"{file}: {key} must be a setting of {', '.join(SECTIONS)} (section.name), "
            f"got {value!r}"
        )
    if key == "training.seed":
        raise ValueError(f"{file}: {key} is set by the key seeds, got {value!r}")
    owner = _kind(file, key, settings)
    if name == "name" and section != "training":
        return value
    hints = get_type_hints(owner)
    known = [field.name for field in dataclasses.fields(owner) if field.name != "seed"]
    if name not in known:
        raise ValueError(
            f"{file}: {key} is unknown, got {value!r}; {owner.__name__} has {', '.join(known)}"
        )
    kind = hints[name]
    if get_origin(kind) is Literal:
        return _choice(file, key, get_args(kind), value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is not int or type(value) is not int:
        wanted = {int: "an integer", float: "a number"}.get(kind, "left alone")
        raise ValueError(f"{file}: {key} must be {wanted}, got {value!r}")
    return value


def _run(file: str, settings: Settings) -> Run:
    """The run that the settings describe, seed 0."""
    values = {key: _value(file, key, settings) for key in settings}
    parts = []
    for section in SECTIONS:
        fields = {
            key.partition(".")[2]: value
            for key, value in values.items()
            if key.startswith(f"{section}.") and key not in ("rule.name", "family.name")
        }
        try:
            parts.append(_kind(file, f"{section}.", settings)(**fields))
        except ValueError as error:
            if str(error).startswith(f"{file}: "):
                raise
            raise ValueError(f"{file}: {section}.{error}") from error
    rule, family, config = parts
    try:
        check_fit(rule, family)
    except ValueError as error:
        raise ValueError(f"{file}: rule.{error}") from error
    return Run(rule, family, config)


def _effective(key: str, run: Run) -> Any:
    """The value that a run has for a dotted key, set or default; "" if it has none."""
    section, _, name = key.partition(".")
    part = {"rule": run.rule, "family": run.family, "training": run.config}[section]
    if key == "rule.name":
        return run.rule.name()
    if key == "family.name":
        return next(name for name, kind in FAMILIES.items() if type(part) is kind)
    return getattr(part, name, "")


def _batches(cells: list[Cell], largest: int) -> tuple[tuple[int, ...], ...]:
    """Cells of one program together, in as few batches as may be, of nearly one size."""
    groups: dict[Hashable, list[int]] = {}
    for number, cell in enumerate(cells):
        groups.setdefault(program(cell.run), []).append(number)
    batches = []
    for group in groups.values():
        count = -(-len(group) // largest)
        size, longer = divmod(len(group), count)
        rest = iter(group)
        for number in range(count):
            batches.append(tuple(itertools.islice(rest, size + (number < longer))))
    return tuple(batches)
