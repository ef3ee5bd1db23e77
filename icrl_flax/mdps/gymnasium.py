"""Gymnasium's tabular environments as MDPs. Needs the `gym` extra."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.mdps.outcomes import mdp_of_outcomes
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
    return mdp_of_outcomes(table, initial, gamma, "env", f"in {name} ", f"of {name} ")


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
