"""Logged transitions from a file or a data frame. Needs pandas; for Parquet the extra `data`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from icrl_flax.experience.logged import column, continuing, flags
from icrl_flax.experience.window import Window

NAMES = {
    "states": "state",
    "actions": "action",
    "rewards": "reward",
    "terminated": "terminated",
    "truncated": "truncated",
    "episodes": "episode",
    "next_states": "next_state",
    "next_actions": "next_action",
}
"""The columns that are looked for, by the arguments of `Window.from_arrays` that they are."""
_NEEDED = ("actions", "rewards")


class Log(NamedTuple):
    """What a table of transitions says.

    Attributes:
        window: all of it, as one window.
        observations: what was seen in each state, indexed `[s]`, if the table has columns of
            observations in place of states; every row is a state of its own then.
    """

    window: Window
    observations: Float[np.ndarray, "S k"] | None


def read_transitions(
    source: Any,
    gamma: float,
    *,
    observations: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    n_states: int | None = None,
    n_actions: int | None = None,
    need_next_action: bool = True,
) -> Log:
    """A table of logged transitions, one a row, as one window.

    Its columns are state, action and reward, and, if it has them, terminated, truncated,
    episode, next_state and next_action; `Window.from_arrays` says what they mean. In place of
    states it may have observations, one column for each number. With columns `next_…` of the
    same names it also says what was seen after each row, which counts where an episode was
    cut short.

    Args:
        source: a data frame; or the path of a Parquet file (`.parquet` or `.pq`), which needs the
            extra `data`, or else of a CSV file.
        gamma: discount γ in [0, 1).
        observations: columns to take as observations.
        names: other names of columns, by the names in NAMES.
        n_states: see `Window.from_arrays`.
        n_actions: likewise.
        need_next_action: likewise.

    Raises:
        ValueError: if the file cannot be read, a column is missing, or a row is wrong, which the
            message names; rows are counted from 0, the header apart.
    """
    table = _frame(source)
    columns = {**NAMES, **(names or {})}
    if unknown := sorted(set(columns) - set(NAMES)):
        raise ValueError(f"names must be of {sorted(NAMES)}, got {unknown[0]!r}")
    needed = list(_NEEDED) if observations else ["states", *_NEEDED]
    wanted = [*(observations or ()), *(columns[name] for name in (*needed, *(names or ())))]
    for name in wanted:
        if name not in table.columns:
            raise ValueError(f"source must have a column {name!r}, got {list(table.columns)}")
    found = {
        name: table[label].to_numpy() for name, label in columns.items() if label in table.columns
    }
    sizes = {"n_states": n_states, "n_actions": n_actions, "need_next_action": need_next_action}
    if not observations:
        return Log(Window.from_arrays(gamma=gamma, **found, **sizes), None)
    rows = len(table)
    if rows == 0:
        raise ValueError("a log must have at least one row, got none")
    seen = _numbers(table, observations, np.ones(rows, bool))
    found |= {"states": np.arange(rows)}
    found.pop("next_states", None)
    after = [f"next_{name}" for name in observations]
    if set(after) <= set(table.columns):
        ended = flags("terminated", found.get("terminated"), rows)
        over = ended | flags("truncated", found.get("truncated"), rows)
        goes_on = continuing(found.get("episodes"), over)
        then = _numbers(table, after, ~ended)
        other = (then[:-1] != seen[1:]) & goes_on[:-1, None]
        if other.any():
            row, place = map(int, np.argwhere(other)[0])
            raise ValueError(
                f"row {row}: {after[place]} must be {observations[place]} of row {row + 1}, "
                f"{seen[row + 1, place]}, got {then[row, place]}"
            )
        following = np.minimum(np.arange(rows) + 1, rows - 1)
        found["next_states"] = np.where(goes_on | ended, following, np.arange(rows) + rows)
        seen = np.concatenate([seen, then])
    return Log(Window.from_arrays(gamma=gamma, **found, **sizes), seen)


def _numbers(table: Any, names: Sequence[str], rows: np.ndarray) -> Float[np.ndarray, "rows k"]:
    """Columns of reals; what a row that is not asked for holds is 0."""
    parts = [column(name, np.where(rows, table[name].to_numpy(), 0)) for name in names]
    return np.stack(parts, axis=1).astype(np.float64)


def _frame(source: Any) -> Any:
    """A data frame, read from its file if it is none yet."""
    if hasattr(source, "columns"):
        return source
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"source must be a path or a data frame, got {type(source).__name__}")
    import pandas  # an extra

    path = Path(source)
    try:
        if path.suffix in (".parquet", ".pq"):
            return pandas.read_parquet(path)
        return pandas.read_csv(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"source: cannot read {path}: {reason}") from error
    except ImportError as error:  # pandas reads Parquet by another package
        raise ValueError(f"source: cannot read {path}: install the extra 'data'") from error
