"""Gymnasium's tabular environments as MDPs. Needs the `gym` extra."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.mdps.tabular import TabularMDP


def from_gymnasium(env: Any, gamma: float) -> TabularMDP:
    """The environment's own transition table as a `TabularMDP`.

    Args:
        env: an environment whose `unwrapped` has `P[s][a]`, a list of
            (probability, successor, reward, terminated), and
            `initial_state_distrib`.
        gamma: discount γ in [0, 1).

    Raises:
        ValueError: if the environment has no such table, or one that is malformed
            (the message names state and action) or not all that its steps depend on;
            or if a state ends an episode by one transition and not by another.
    """
    inner = env.unwrapped
    name = getattr(getattr(env, "spec", None), "id", type(inner).__name__)
    table = getattr(inner, "P", None)
    initial = getattr(inner, "initial_state_distrib", None)
    if table is None or initial is None:
        raise ValueError(
            f"env: {name} has no transition table (unwrapped.P and "
            "unwrapped.initial_state_distrib); only tabular environments can be read"
        )
    if getattr(inner, "fickle_passenger", False):
        raise ValueError(f"env: {name} is fickle in its steps, which its transition table is not")
    outcomes = _checked_table(name, table)
    n_states, n_actions = len(outcomes), len(outcomes[0])
    transition = np.zeros((n_states, n_actions, n_states))
    weighted_reward = np.zeros_like(transition)
    ends, goes_on = np.zeros(n_states, bool), np.zeros(n_states, bool)
    reached = _reached(outcomes, initial)
    for state, action in np.ndindex(n_states, n_actions):
        for probability, successor, reward, terminated in outcomes[state][action]:
            transition[state, action, successor] += probability
            weighted_reward[state, action, successor] += probability * reward
            if reached[state] and probability > 0:
                (ends if terminated else goes_on)[successor] = True
    if (ends & goes_on).any():
        state = int(np.argmax(ends & goes_on))
        raise ValueError(f"env: in {name} state {state} ends an episode only on some transitions")
    reward = np.divide(
        weighted_reward, transition, out=np.zeros_like(transition), where=transition > 0
    )
    return TabularMDP(transition, reward, initial, gamma, ends)


Outcomes = list[tuple[float, int, float, bool]]


def _checked_table(name: str, table: Any) -> list[list[Outcomes]]:
    """The table as lists, by state and action.

    Raises:
        ValueError: naming the state and the action whose outcomes are wrong.
    """
    n_states = len(table)
    n_actions = len(table[0]) if _numbered(table) else 0
    if n_actions == 0:
        raise ValueError(f"env: the table of {name} must have states 0, 1, … and actions in them")
    checked: list[list[Outcomes]] = []
    for state in range(n_states):
        if not _numbered(table[state]) or len(table[state]) != n_actions:
            raise ValueError(
                f"env: in {name} state {state} must have actions 0 … {n_actions - 1}, as state 0 "
                f"has, got {list(table[state])!r}"
            )
        checked.append([])
        for action in range(n_actions):
            where = f"env: in {name} state {state}, action {action}"
            rows = []
            for row in table[state][action]:
                if len(row) != 4:
                    raise ValueError(
                        f"{where}: want (probability, state, reward, end), got {row!r}"
                    )
                probability, successor, reward, terminated = row
                if int(successor) != successor or not 0 <= successor < n_states:
                    raise ValueError(
                        f"{where}: the successor must lie in [0, {n_states}), got {successor!r}"
                    )
                if not probability >= 0 or not np.isfinite(reward):
                    raise ValueError(f"{where}: want probability ≥ 0, finite reward, got {row!r}")
                rows.append((float(probability), int(successor), float(reward), bool(terminated)))
            total = sum(probability for probability, *_ in rows)
            if not abs(total - 1) <= 1e-5:
                raise ValueError(f"{where}: probabilities must sum to 1, got {total:.6g}")
            checked[-1].append(rows)
    return checked


def _numbered(rows: Any) -> bool:
    """Whether a list, or a dictionary with keys 0, 1, …, holds something."""
    return len(rows) > 0 and (not hasattr(rows, "keys") or set(rows) == set(range(len(rows))))


def _reached(table: list[list[Outcomes]], initial: Any) -> np.ndarray:
    """Which states an episode can be in and go on from.

    A table may also say what follows after the end, as Taxi's does.
    """
    reached = np.asarray(initial) > 0
    frontier = [int(state) for state in np.flatnonzero(reached)]
    while frontier:
        for outcomes in table[frontier.pop()]:
            for probability, successor, _, terminated in outcomes:
                if probability > 0 and not terminated and not reached[successor]:
                    reached[successor] = True
                    frontier.append(successor)
    return reached


def episode_returns(
    env: Any,
    policy: Float[Array | np.ndarray, "S A"],
    gamma: float,
    episodes: int,
    seed: int = 0,
    longest: int = 500,
) -> Float[np.ndarray, " episodes"]:
    """Discounted returns measured by stepping the real environment.

    Args:
        env: the environment itself.
        policy: π(a|s), indexed `[s, a]`.
        gamma: discount γ in [0, 1).
        episodes: how many.
        seed: seed of the environment and of the actions.
        longest: an episode that has not ended is cut after so many steps.

    Raises:
        ValueError: if the policy is not a table for this environment, or a
            number is out of range.
    """
    n_states, n_actions = int(env.observation_space.n), int(env.action_space.n)
    _checks.shape("policy", policy, (n_states, n_actions))
    _checks.distribution("policy", policy)
    _checks.discount("gamma", gamma)
    _checks.positive_integer("episodes", episodes)
    _checks.positive_integer("longest", longest)
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(np.asarray(policy, np.float64), axis=1)
    cumulative /= cumulative[:, -1:]
    returns = np.zeros(episodes)
    for episode in range(episodes):
        # Only the first reset is seeded: the environment's own stream goes on.
        state, _ = env.reset(seed=seed if episode == 0 else None)
        weight = 1.0
        for uniform in rng.random(longest):
            action = int(np.searchsorted(cumulative[state], uniform, side="right"))
            state, reward, terminated, truncated, _ = env.step(action)
            returns[episode] += weight * float(reward)
            weight *= gamma
            if terminated or truncated:
                break
    return returns
