"""Markov decision processes: one as tables, families of them, and the exact values of policies."""

from icrl_flax.mdps.families import (
    FAMILIES,
    ChainMDPs,
    DeterministicMDPs,
    Fixed,
    MDPFamily,
    RandomMDPs,
    SparseMDPs,
    checked_sample,
)
from icrl_flax.mdps.gymnasium import episode_returns, from_gymnasium
from icrl_flax.mdps.tabular import TabularMDP
from icrl_flax.mdps.values import (
    action_values,
    average_reward,
    expected_return,
    expected_rewards,
    optimal_action_values,
    policy_value,
)

__all__ = [
    "FAMILIES",
    "ChainMDPs",
    "DeterministicMDPs",
    "Fixed",
    "MDPFamily",
    "RandomMDPs",
    "SparseMDPs",
    "TabularMDP",
    "action_values",
    "average_reward",
    "checked_sample",
    "episode_returns",
    "expected_return",
    "expected_rewards",
    "from_gymnasium",
    "optimal_action_values",
    "policy_value",
]
