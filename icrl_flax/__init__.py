"""Transformers that implement in-context reinforcement learning, in Flax.

A companion to Liang and Lai, *Transformers Provably Implement In-Context
Reinforcement Learning with Policy Improvement* (arXiv:2605.05755). Numbers of
equations, theorems and figures in docstrings are the paper's.
"""

from icrl_flax.algorithm import Algorithm
from icrl_flax.algorithms import discover
from icrl_flax.algorithms.actor_critic import ActorCritic
from icrl_flax.algorithms.sarsa import Sarsa
from icrl_flax.alignment import Alignment, align
from icrl_flax.batched import (
    BatchReport,
    Run,
    summarise_batch,
    train_batch,
    training_batch,
)
from icrl_flax.block import LinearAttentionBlock, attention, initial_effective
from icrl_flax.checkpoint import Checkpoint, load, save
from icrl_flax.construction import construct, rescale
from icrl_flax.control import BlockLearner, EvaluationConfig, evaluate, oracle, uniform
from icrl_flax.evaluation import (
    action_values,
    average_reward,
    expected_return,
    expected_rewards,
    monte_carlo_return,
    optimal_action_values,
    policy_value,
)
from icrl_flax.families import FAMILIES, ChainMDPs, DeterministicMDPs, SparseMDPs
from icrl_flax.gymnasium_mdp import episode_returns, from_gymnasium
from icrl_flax.interaction import Learner, World, draw_world, interact
from icrl_flax.lemma_c1 import Decomposition, bilinear_term, decompose
from icrl_flax.mdp import MDPFamily, RandomMDPs, TabularMDP
from icrl_flax.policy import explore, greedy, softmax
from icrl_flax.prompt import Blocks, Effective, augment, build_prompt, embed, readout, split
from icrl_flax.softmax_block import softmax_attention, softmax_term
from icrl_flax.stream import Examples, life, lives
from icrl_flax.sweep import Tables, read_sweep, sweep
from icrl_flax.sweep_spec import Spec, read_spec
from icrl_flax.training import Report, TrainingConfig, summarise, train, training_run
from icrl_flax.verification import Verdict, verify
from icrl_flax.windows import Window, rollout

__all__ = [
    "FAMILIES",
    "ActorCritic",
    "Algorithm",
    "Alignment",
    "BatchReport",
    "BlockLearner",
    "Blocks",
    "ChainMDPs",
    "Checkpoint",
    "Decomposition",
    "DeterministicMDPs",
    "Effective",
    "EvaluationConfig",
    "Examples",
    "Learner",
    "LinearAttentionBlock",
    "MDPFamily",
    "RandomMDPs",
    "Report",
    "Run",
    "Sarsa",
    "SparseMDPs",
    "Spec",
    "Tables",
    "TabularMDP",
    "TrainingConfig",
    "Verdict",
    "Window",
    "World",
    "action_values",
    "align",
    "attention",
    "augment",
    "average_reward",
    "bilinear_term",
    "build_prompt",
    "construct",
    "decompose",
    "discover",
    "draw_world",
    "embed",
    "episode_returns",
    "evaluate",
    "expected_return",
    "expected_rewards",
    "explore",
    "from_gymnasium",
    "greedy",
    "initial_effective",
    "interact",
    "life",
    "lives",
    "load",
    "monte_carlo_return",
    "optimal_action_values",
    "oracle",
    "policy_value",
    "read_spec",
    "read_sweep",
    "readout",
    "rescale",
    "rollout",
    "save",
    "softmax",
    "softmax_attention",
    "softmax_term",
    "split",
    "summarise",
    "summarise_batch",
    "sweep",
    "train",
    "train_batch",
    "training_batch",
    "training_run",
    "uniform",
    "verify",
]
