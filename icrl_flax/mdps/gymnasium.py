"""Gymnasium's tabular environments as MDPs. Needs the `gym` extra."""

from typing import Any

import jax.numpy as jnp
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
        ValueError: if the environment has no such table, or a state ends an
            episode by one transition and not by another.
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
    n_states, n_actions = len(table), len(table[0])
    transition = np.zeros((n_states, n_actions, n_states))
    weighted_reward = np.zeros_like(transition)
    ends, goes_on = np.zeros(n_states, bool), np.zeros(n_states, bool)
    reached = _reached(table, initial)
    for state, actions in table.items():
        for action, outcomes in actions.items():
            for probability, successor, reward, terminated in outcomes:
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
    return TabularMDP(
        transition=jnp.asarray(transition),
        reward=jnp.asarray(reward),
        initial=jnp.asarray(initial),
        gamma=jnp.asarray(gamma),
        terminal=jnp.asarray(ends),
    )


def _reached(table, initial) -> np.ndarray:
    """Which states an episode can be in and go on from.

    A table may also say what follows after the end, as Taxi's does.
    """
    reached = np.asarray(initial) > 0
    frontier = list(np.flatnonzero(reached))
    while frontier:
        for outcomes in table[frontier.pop()].values():
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
