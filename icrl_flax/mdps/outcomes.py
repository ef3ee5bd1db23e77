"""Other people's MDPs: tables of outcomes, and arrays whose axes stand in another order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from icrl_flax.mdps.tabular import TabularMDP

Outcomes = list[tuple[float, int, float, bool]]


def from_outcomes(outcomes: Any, gamma: float, initial: Any = None) -> TabularMDP:
    """A table of outcomes as a `TabularMDP`: what Gymnasium calls P.

    Args:
        outcomes: `outcomes[s][a]` is a list of (probability, successor, reward, terminated);
            lists, tuples, or dictionaries with keys 0, 1, …
        gamma: discount γ in [0, 1).
        initial: distribution of s₀; by default an episode starts anywhere but in a state that
            ends one.

    Raises:
        ValueError: naming state and action, if something is missing, out of range or no number,
            or probabilities do not sum to 1; or if a state ends an episode by one transition
            and not by another.
    """
    return mdp_of_outcomes(outcomes, initial, gamma, "outcomes", "", "")


def from_arrays(
    transition: Any,
    reward: Any,
    gamma: float,
    *,
    transition_axes: str,
    reward_axes: str,
    initial: Any = None,
    terminal: Any = None,
) -> TabularMDP:
    """Arrays with named axes as a `TabularMDP`: S state, A action, T successor.

    pymdptoolbox has transitions "AST" and rewards "SA", "AST" or "S"; QuantEcon has transitions
    "SAT" and rewards "SA".

    Args:
        transition: probabilities, indexed as `transition_axes` says; nested sequences, an array,
            or a sequence of sparse matrices.
        reward: rewards, indexed as `reward_axes` says.
        gamma: discount γ in [0, 1).
        transition_axes: the letters S, A and T in the order of the axes.
        reward_axes: some of these letters, each once, in the order of the axes.
        initial: distribution of s₀; by default an episode starts anywhere but in a state that
            ends one.
        terminal: states that end an episode, if there are any.

    Raises:
        ValueError: naming state and action, if an entry is missing, negative or no number, or
            probabilities do not sum to 1; or the axes, if the arrays do not fit them.
    """
    if sorted(transition_axes) != ["A", "S", "T"]:
        raise ValueError(
            f"transition_axes must be the letters S, A and T in some order, "
            f"got {transition_axes!r}"
        )
    if (
        not reward_axes
        or len(set(reward_axes)) < len(reward_axes)
        or set(reward_axes) - set("SAT")
    ):
        raise ValueError(
            f"reward_axes must be some of the letters S, A and T, each once, got {reward_axes!r}"
        )
    moves = _numbers("transition", transition, transition_axes)
    moves = np.transpose(moves, [transition_axes.index(letter) for letter in "SAT"])
    n_states, _, successors = moves.shape
    if successors != n_states:
        raise ValueError(
            f"transition must have as many successors as states, got {successors} of {n_states}: "
            f"its axes are {transition_axes!r} of lengths {np.shape(transition)}"
        )
    wrong = ~(moves >= 0) | ~np.isfinite(moves)
    if wrong.any():
        state, action, successor = map(int, np.argwhere(wrong)[0])
        raise ValueError(
            f"transition: state {state}, action {action}: the probability of successor "
            f"{successor} must be finite and not negative, got {moves[state, action, successor]}"
        )
    totals = moves.sum(axis=-1)
    wrong = np.abs(totals - 1) > 1e-5
    if wrong.any():
        state, action = map(int, np.argwhere(wrong)[0])
        raise ValueError(
            f"transition: state {state}, action {action}: probabilities must sum to 1, "
            f"got {totals[state, action]:.6g}"
        )
    sizes = dict(zip("SAT", moves.shape, strict=True))
    earned = _numbers("reward", reward, reward_axes)
    wanted = tuple(sizes[letter] for letter in reward_axes)
    if earned.shape != wanted:
        raise ValueError(
            f"reward must have shape {wanted} for axes {reward_axes!r}, got {earned.shape}"
        )
    there = [letter for letter in "SAT" if letter in reward_axes]
    earned = np.transpose(earned, [reward_axes.index(letter) for letter in there])
    earned = earned.reshape([sizes[letter] if letter in there else 1 for letter in "SAT"])
    earned = np.broadcast_to(earned, moves.shape)
    if not np.isfinite(earned).all():
        state, action, successor = map(int, np.argwhere(~np.isfinite(earned))[0])
        raise ValueError(
            f"reward: state {state}, action {action}: the reward must be finite, "
            f"got {earned[state, action, successor]}"
        )
    ends = np.zeros(n_states, bool) if terminal is None else np.asarray(terminal)
    if initial is None and ends.shape == (n_states,):
        initial = _anywhere(ends == 1)
    return TabularMDP(moves, earned, initial, gamma, None if terminal is None else ends)


def _anywhere(ends: np.ndarray) -> np.ndarray:
    start = np.ones(len(ends)) if ends.all() else (~ends).astype(float)
    return start / start.sum()


def _numbers(name: str, value: Any, axes: str) -> np.ndarray:
    """Nested sequences, or sparse matrices, as an array with so many axes.

    Raises:
        ValueError: naming the first entry that is missing or no number.
    """
    if isinstance(value, Sequence):
        value = [part.toarray() if hasattr(part, "toarray") else part for part in value]
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: {_culprit(value, axes)}") from None
    if array.ndim != len(axes) or array.size == 0:
        raise ValueError(
            f"{name} must have {len(axes)} axes, {axes!r}, none of them empty, "
            f"got shape {array.shape}"
        )
    return array


_WORDS = {"S": "state", "A": "action", "T": "successor"}


def _culprit(value: Any, axes: str, where: tuple[int, ...] = ()) -> str:
    """Where nested sequences differ in length, or hold what is no number."""
    place = ", ".join(f"{_WORDS[axes[k]]} {index}" for k, index in enumerate(where))
    if len(where) == len(axes):
        try:
            float(value)
        except (TypeError, ValueError):
            return f"{place}: want a number, got {value!r}"
        return ""
    try:
        parts = list(value)
    except TypeError:
        return f"{place}: want a value for each {_WORDS[axes[len(where)]]}, got {value!r}"
    for index, part in enumerate(parts):
        if found := _culprit(part, axes, (*where, index)):
            return found
    if len(where) + 1 < len(axes):
        sizes = [len(part) for part in parts]
        for index, size in enumerate(sizes):
            if size != sizes[0]:
                at = ", ".join(f"{_WORDS[axes[k]]} {i}" for k, i in enumerate((*where, index)))
                word = _WORDS[axes[len(where) + 1]]
                return f"{at}: want {sizes[0]} {word}s, as the first has, got {size}"
    return ""


def mdp_of_outcomes(
    table: Any, initial: Any, gamma: float, argument: str, inside: str, of: str
) -> TabularMDP:
    """`from_outcomes`, with words for messages: of which argument, and of what it is the table."""
    outcomes = _checked_table(table, argument, inside, of)
    n_states, n_actions = len(outcomes), len(outcomes[0])
    transition = np.zeros((n_states, n_actions, n_states))
    weighted_reward = np.zeros_like(transition)
    ends, goes_on = np.zeros(n_states, bool), np.zeros(n_states, bool)
    starts = np.ones(n_states) if initial is None else np.asarray(initial)
    reached = _reached(outcomes, starts)
    for state, action in np.ndindex(n_states, n_actions):
        for probability, successor, reward, terminated in outcomes[state][action]:
            transition[state, action, successor] += probability
            weighted_reward[state, action, successor] += probability * reward
            if reached[state] and probability > 0:
                (ends if terminated else goes_on)[successor] = True
    if initial is None:  # what a state that ends an episode is said to do does not count
        goes_on &= ~ends | _entered(outcomes, ends)
    if (ends & goes_on).any():
        state = int(np.argmax(ends & goes_on))
        raise ValueError(
            f"{argument}: {inside}state {state} ends an episode only on some transitions"
        )
    reward = np.divide(
        weighted_reward, transition, out=np.zeros_like(transition), where=transition > 0
    )
    initial = _anywhere(ends) if initial is None else initial
    return TabularMDP(transition, reward, initial, gamma, ends)


def _entered(table: list[list[Outcomes]], ends: np.ndarray) -> np.ndarray:
    """Which states can be entered without an end, from states that end no episode."""
    entered = np.zeros(len(table), bool)
    for state in np.flatnonzero(~ends):
        for outcomes in table[state]:
            for probability, successor, _, terminated in outcomes:
                entered[successor] |= probability > 0 and not terminated
    return entered


def _checked_table(table: Any, argument: str, inside: str, of: str) -> list[list[Outcomes]]:
    """The table as lists, by state and action.

    Raises:
        ValueError: naming the state and the action whose outcomes are wrong.
    """
    n_states = _count(table)
    n_actions = _count(table[0]) if n_states else 0
    if n_actions == 0:
        raise ValueError(
            f"{argument}: the table {of}must have states 0, 1, … and actions in them: "
            + ("in state 0 is no action 0, 1, …" if n_states else _missing(table))
        )
    checked: list[list[Outcomes]] = []
    for state in range(n_states):
        if _count(table[state]) != n_actions:
            found = list(table[state]) if hasattr(table[state], "__iter__") else table[state]
            raise ValueError(
                f"{argument}: {inside}state {state} must have actions 0 … {n_actions - 1}, as "
                f"state 0 has, got {found!r}"
            )
        checked.append(
            [
                _checked_outcomes(
                    table[state][action],
                    n_states,
                    f"{argument}: {inside}state {state}, action {action}",
                )
                for action in range(n_actions)
            ]
        )
    return checked


def _checked_outcomes(outcomes: Any, n_states: int, where: str) -> Outcomes:
    rows: Outcomes = []
    if not hasattr(outcomes, "__iter__"):
        raise ValueError(f"{where}: want a list of outcomes, got {outcomes!r}")
    for row in outcomes:
        try:
            probability, successor, reward, terminated = row
            chance, place, earned = float(probability), float(successor), float(reward)
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: want (probability, state, reward, end), got {row!r}"
            ) from None
        if not (place == np.floor(place) and 0 <= place < n_states):
            raise ValueError(
                f"{where}: the successor must lie in [0, {n_states}), got {successor!r}"
            )
        if not chance >= 0 or not np.isfinite(earned):
            raise ValueError(f"{where}: want probability ≥ 0, finite reward, got {row!r}")
        rows.append((chance, int(place), earned, bool(terminated)))
    total = sum(probability for probability, *_ in rows)
    if not abs(total - 1) <= 1e-5:
        raise ValueError(f"{where}: probabilities must sum to 1, got {total:.6g}")
    return rows


def _count(rows: Any) -> int:
    """How many a list holds, or a dictionary with keys 0, 1, …; of anything else 0."""
    try:
        size = len(rows)
    except TypeError:
        return 0
    return size if not hasattr(rows, "keys") or set(rows) == set(range(size)) else 0


def _missing(table: Any) -> str:
    """Which state a table lacks, or has too many."""
    if not hasattr(table, "keys"):
        return f"got {table!r}"
    lacking = next(state for state in range(len(table) + 1) if state not in table)
    return f"state {lacking} is missing, got {list(table)!r}"


def _reached(table: list[list[Outcomes]], initial: np.ndarray) -> np.ndarray:
    """Which states an episode can be in and go on from.

    A table may also say what follows after the end, as Taxi's does.
    """
    reached = initial > 0
    frontier = [int(state) for state in np.flatnonzero(reached)]
    while frontier:
        for outcomes in table[frontier.pop()]:
            for probability, successor, _, terminated in outcomes:
                if probability > 0 and not terminated and not reached[successor]:
                    reached[successor] = True
                    frontier.append(successor)
    return reached
