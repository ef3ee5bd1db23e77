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
import functools
import itertools
import json
import operator
import tomllib
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from icrl_flax import _registry
from icrl_flax.control.tasks import check_fit
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.loop import program
from icrl_flax.training.result import Run

SECTIONS = ("rule", "family", "training")
DESIGNS = ("grid", "one-at-a-time")
BASE = "base"
BATCH = 8
"""Runs under one vmap: on a processor more gain nothing, and less is lost if it is stopped."""
_TOP = ("seeds", "design", "batch", *SECTIONS, "axes")
_RENAMED = {"algorithm": "rule", "training.method": "training.optimizer"}
"""Keys of older versions."""

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
        record: the specification itself, as JSON, equal for equal sweeps.
        columns: dotted keys of the settings that make up the table.
        cells: the runs, in the order of the table's rows.
        batches: numbers of the cells that run under one vmap. They follow from
            the record alone.
    """

    record: dict[str, Any]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    batches: tuple[tuple[int, ...], ...]


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
        return plan("spec", _record("spec", source), usual)
    try:
        table = tomllib.loads(Path(source).read_text(encoding="utf-8"))
        return plan(str(source), _record(str(source), table), usual)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source} is not a TOML file: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{source} is nested too deeply") from error


def _record(file: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """What a specification says, in its one form."""
    for key, value in table.items():
        _refuse_renamed(file, key)
        if key not in _TOP:
            raise ValueError(f"{file}: {key} is unknown, got {value!r}; known: {', '.join(_TOP)}")
    base = {
        f"{section}.{key}": value
        for section in SECTIONS
        for key, value in _table(file, section, table.get(section, {})).items()
    }
    axes = _leaves(file, table.get("axes", {}))
    return {
        "seeds": _seeds(file, table.get("seeds", 1)),
        "design": _choice(file, "design", DESIGNS, table.get("design", "grid")),
        "batch": _count(file, "batch", table["batch"]) if "batch" in table else None,
        "base": base,
        "axes": [[name, _axis(file, name, values)] for name, values in axes],
    }


def plan(
    file: str, record: Mapping[str, Any], usual: Callable[[int], int] = lambda _: BATCH
) -> Spec:
    """The runs that a record describes.

    Args:
        file: where it is from, for messages.
        record: a specification's, or one whose batch is None.
        usual: the largest batch for so many cells, of a record that has none.
    """
    base, axes = record["base"], record["axes"]
    varied = [key for _, points in axes for key in points[0]]
    for key in varied:
        if varied.count(key) > 1:
            raise ValueError(f"{file}: axes must set {key} once, got it in two axes")
    if "rule.name" not in base and "rule.name" not in varied:
        raise ValueError(f"{file}: rule.name must be given, got none")
    columns = ("rule.name", *(key for key in varied if key != "rule.name"))
    cells = []
    for axis, run in _points(file, record["design"], base, axes):
        row = tuple(_effective(key, run) for key in columns)
        for seed in record["seeds"]:
            config = dataclasses.replace(run.config, seed=seed)
            cells.append(Cell(axis, row, run._replace(config=config)))
    batch = usual(len(cells)) if record["batch"] is None else record["batch"]
    plain = json.loads(json.dumps({**record, "batch": batch}))  # as it comes back from a file
    return Spec(plain, columns, tuple(cells), _batches(cells, batch))


def _refuse_renamed(file: str, key: str) -> None:
    for old, new in _RENAMED.items():
        if f"{key}.".startswith(f"{old}."):
            raise ValueError(f"{file}: {key} is now called {new}{key[len(old) :]}")


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


def _axis(file: str, name: str, values: Any) -> list[Settings]:
    """The settings at each point of an axis."""
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
    return points


def _points(
    file: str, design: str, base: Settings, axes: list[list[Any]]
) -> list[tuple[str, Run]]:
    """The run of each combination of settings, once, with the axis it lies on; seed 0."""
    if design == "grid":
        combinations = itertools.product(*(points for _, points in axes))
        return [("", _run(file, functools.reduce(operator.or_, c, base))) for c in combinations]
    centre = _run(file, base)
    others = [(name, _run(file, base | point)) for name, points in axes for point in points]
    return [(BASE, centre), *((name, run) for name, run in others if run != centre)]


def _kind(file: str, section: str, settings: Settings) -> type:
    """The class whose fields a section sets."""
    if section == "training":
        return TrainingConfig
    known = _registry.rules() if section == "rule" else _registry.families()
    name = settings.get(f"{section}.name", "random" if section == "family" else None)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{file}: {section}.name must be one of {', '.join(known)}, got {name!r}")
    return known[name]


_WANTED = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
"""Types that a setting may have, beside choices."""


def _value(file: str, key: str, settings: Settings) -> Any:
    """The value of a dotted key, refused unless it has the type of its field."""
    value = settings[key]
    section, _, name = key.partition(".")
    _refuse_renamed(file, key)
    if section not in SECTIONS or not name:
        raise ValueError(
            f"{file}: {key} must be a setting of {', '.join(SECTIONS)} (section.name), "
            f"got {value!r}"
        )
    if key == "training.seed":
        raise ValueError(f"{file}: {key} is set by the key seeds, got {value!r}")
    owner = _kind(file, section, settings)
    if name == "name" and section != "training":
        return value
    known = [field.name for field in dataclasses.fields(owner) if field.name != "seed"]
    if name not in known:
        raise ValueError(
            f"{file}: {key} is unknown, got {value!r}; {owner.__name__} has {', '.join(known)}"
        )
    kind = get_type_hints(owner)[name]
    if get_origin(kind) is Literal:
        return _choice(file, key, get_args(kind), value)
    if kind not in _WANTED:
        raise ValueError(
            f"{file}: {key} cannot be set here, got {value!r}: its type is {kind}, and a "
            "specification sets numbers, texts and truth values"
        )
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{file}: {key} must be {_WANTED[kind]}, got {value!r}")
    return value


def _run(file: str, settings: Settings) -> Run:
    """The run that the settings describe, seed 0."""
    values = {key: _value(file, key, settings) for key in settings}
    parts = []
    for section in SECTIONS:
        kind = _kind(file, section, settings)
        fields = {
            key.partition(".")[2]: value
            for key, value in values.items()
            if key.startswith(f"{section}.") and key not in ("rule.name", "family.name")
        }
        for field in dataclasses.fields(kind):
            missing = dataclasses.MISSING
            needed = field.init and field.default is missing and field.default_factory is missing
            if needed and field.name not in fields:
                raise ValueError(f"{file}: {section}.{field.name} must be given, got none")
        try:
            parts.append(kind(**fields))
        except ValueError as error:
            raise ValueError(f"{file}: {section}.{error}") from error
    run = Run(*parts)
    if run.config.prompt == "query":
        raise ValueError(f"{file}: training.prompt must be 'parameters': sweeps keep θ_eff")
    try:
        check_fit(run.rule, run.family)
    except ValueError as error:
        raise ValueError(f"{file}: rule.{error}") from error
    return run


def _effective(key: str, run: Run) -> Any:
    """The value that a run has for a dotted key, set or default; "" if it has none."""
    section, _, name = key.partition(".")
    part = run[SECTIONS.index(section)]
    return _registry.name_of(type(part)) if name == "name" else getattr(part, name, "")


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
