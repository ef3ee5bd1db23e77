"""Logged transitions: columns that somebody recorded, checked row by row."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class LoggedColumns(NamedTuple):
    """What a log says of each row; what it does not say is None. See `Window.from_arrays`."""

    states: Any
    actions: Any
    rewards: Any
    terminated: Any = None
    truncated: Any = None
    episodes: Any = None
    next_states: Any = None
    next_actions: Any = None


class LoggedRows(NamedTuple):
    """The fields of a `Window` that a log gives."""

    states: Int[np.ndarray, " times"]
    actions: Int[np.ndarray, " times"]
    rewards: Float[np.ndarray, " n"]
    terminated: Bool[np.ndarray, " n"]
    truncated: Bool[np.ndarray, " n"]
    successors: Int[np.ndarray, " n"]
    next_actions: Int[np.ndarray, " n"]


def refuse(name: str, values: np.ndarray, wrong: np.ndarray, wanted: str) -> None:
    """Name the first row that is wrong.

    Raises:
        ValueError: if there is one.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"row {row}: {name} must {wanted}, got {values[row]}")


def column(name: str, values: Any, rows: int | None = None) -> np.ndarray:
    """A column of plain numbers, as long as the others.

    Raises:
        ValueError: naming the row, if there is one to name.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (rows is not None and len(array) != rows):
        wanted = "one value for each row" if rows is None else f"one value for each of {rows} rows"
        raise ValueError(f"{name} must hold {wanted}, got shape {array.shape}")
    if array.dtype.kind not in "iufb":
        numbers = np.full(len(array), np.nan)
        for row, value in enumerate(array):
            try:
                numbers[row] = float(value)
            except (TypeError, ValueError):
                raise ValueError(f"row {row}: {name} must be a number, got {value!r}") from None
        array = numbers
    if array.dtype.kind == "f":
        refuse(name, array, ~np.isfinite(array), "be finite")
    return array


def integers(name: str, values: Any, rows: int | None, bound: int | None) -> np.ndarray:
    """A column of integers in [0, bound); whole numbers that a file holds as floats will do.

    Raises:
        ValueError: naming the row.
    """
    array = column(name, values, rows)
    refuse(name, array, array != np.floor(array), "be an integer")
    outside = (array < 0) | (array >= (np.inf if bound is None else bound))
    refuse(name, array, outside, f"lie in [0, {'∞' if bound is None else bound})")
    return array.astype(np.int64)


def flags(name: str, values: Any, rows: int) -> np.ndarray:
    """A column of booleans, or of 0 and 1; not given, all are false.

    Raises:
        ValueError: naming the row.
    """
    if values is None:
        return np.zeros(rows, bool)
    array = np.asarray(values)
    if array.dtype.kind in "OUS" and array.ndim == 1:
        words = {"true": 1, "false": 0, "1": 1, "0": 0}
        array = np.array([words.get(str(each).strip().lower(), each) for each in array], object)
    array = column(name, array, rows)
    refuse(name, array, (array != 0) & (array != 1), "be true or false, 1 or 0")
    return array == 1


def logged_rows(
    log: LoggedColumns,
    n_states: int | None,
    n_actions: int | None,
    need_next_action: bool,
) -> LoggedRows:
    """The transitions of a log, and what follows each; see `Window.from_arrays`.

    Raises:
        ValueError: naming the row.
    """
    states = integers("state", log.states, None, n_states)
    rows = len(states)
    if rows == 0:
        raise ValueError("a log must have at least one row, got none")
    actions = integers("action", log.actions, rows, n_actions)
    rewards = column("reward", log.rewards, rows)
    rewards = rewards if rewards.dtype.kind == "f" else rewards.astype(np.float64)
    ended = flags("terminated", log.terminated, rows)
    cut = flags("truncated", log.truncated, rows) & ~ended
    goes_on = continuing(log.episodes, ended | cut)

    def successor(name: str, given: Any, own: np.ndarray, bound: int | None):
        """What follows each row, and whether that is known."""
        following = np.append(own[1:], own[-1])
        if given is None:
            return following, goes_on.copy()
        numbers = np.asarray(given)
        if numbers.shape == ended.shape:  # where an episode has ended files leave the place empty
            numbers = np.where(ended, following, numbers)
        found = integers(name, numbers, rows, bound)
        other = goes_on & (found != following)
        if other.any():
            row = int(np.argmax(other))
            raise ValueError(
                f"row {row}: {name} must be that of row {row + 1}, {following[row]}, "
                f"got {found[row]}"
            )
        return found, np.ones(rows, bool)

    next_states, state_known = successor("next_state", log.next_states, states, n_states)
    next_actions, action_known = successor("next_action", log.next_actions, actions, n_actions)
    known = ended | (state_known & (action_known if need_next_action else True))
    if not known.any():
        raise ValueError("a log must hold a transition whose successor is known, got none")
    kept = np.flatnonzero(known)
    linked = goes_on[kept] & np.append(np.diff(kept) == 1, True)  # the next row may be left out
    # Beyond the last transition only its own successor is left to be the window's end.
    last = kept[-1]
    end = (
        (states[last + 1], actions[last + 1])
        if last + 1 < rows
        else (next_states[last], next_actions[last])
    )
    return LoggedRows(
        states=np.append(states[kept], end[0]),
        actions=np.append(actions[kept], end[1]),
        rewards=rewards[kept],
        terminated=ended[kept],
        truncated=~(ended[kept] | linked),
        successors=next_states[kept],
        next_actions=next_actions[kept],
    )


def continuing(episodes: Any, over: np.ndarray) -> np.ndarray:
    """Whether the next row goes on with the episode of each row.

    Args:
        episodes: the column, or None.
        over: which rows end their episode, or cut it short.

    Raises:
        ValueError: naming the row.
    """
    goes_on = ~over
    if episodes is not None:
        goes_on &= _same_episode(column("episode", episodes, len(over)), over)
    goes_on[-1] = False  # whatever the log says, it ends here
    return goes_on


def _same_episode(episodes: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Whether the next row is of the same episode.

    Raises:
        ValueError: naming the row that goes on with an episode which was over.
    """
    same = np.append(episodes[1:] == episodes[:-1], False)
    begins = np.append(True, ~same[:-1])
    wrong = np.append(False, (same & over)[:-1])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"row {row}: episode must be another than that of row {row - 1}, which ended it, "
            f"got {episodes[row]}"
        )
    starts = np.flatnonzero(begins)
    _, first = np.unique(episodes[starts], return_index=True)
    again = np.setdiff1d(np.arange(len(starts)), first)
    if len(again):
        row = int(starts[again[0]])
        raise ValueError(f"row {row}: episode must not begin again, got {episodes[row]}")
    return same
