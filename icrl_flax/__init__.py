"""Transformers that implement in-context reinforcement learning, in Flax.

A companion to Liang and Lai, *Transformers Provably Implement In-Context
Reinforcement Learning with Policy Improvement* (arXiv:2605.05755). Numbers of
equations, theorems and figures in docstrings are the paper's.
"""

from icrl_flax.attention import (
    Effective,
    LinearAttentionBlock,
    align,
    augment,
    build_prompt,
    decompose,
    embed,
    initial_effective,
    linear_attention,
    readout,
    rescale,
    split,
)
from icrl_flax.control import BlockAgent, EvaluationConfig, Task, draw_task, evaluate, interact
from icrl_flax.experience import Window, rollout
from icrl_flax.experiments.run import Tables, read_sweep, sweep
from icrl_flax.experiments.spec import Spec, read_spec
from icrl_flax.mdps import (
    MDPFamily,
    RandomMDPs,
    TabularMDP,
    expected_return,
    from_gymnasium,
    optimal_action_values,
    policy_value,
)
from icrl_flax.rules import Rule, construct, discover
from icrl_flax.rules.actor_critic import ActorCritic
from icrl_flax.rules.sarsa import Sarsa
from icrl_flax.training.batched import (
    BatchReport,
    Run,
    summarise_batch,
    train_batch,
    training_batch,
)
from icrl_flax.training.checkpoint import Checkpoint, load, save
from icrl_flax.training.single import Report, TrainingConfig, summarise, train, training_run
from icrl_flax.training.stream import Examples, stream, stream_one
from icrl_flax.verification import Verdict, random_case, verify

__all__ = [
    "ActorCritic",
    "BatchReport",
    "BlockAgent",
    "Checkpoint",
    "Effective",
    "EvaluationConfig",
    "Examples",
    "LinearAttentionBlock",
    "MDPFamily",
    "RandomMDPs",
    "Report",
    "Rule",
    "Run",
    "Sarsa",
    "Spec",
    "Tables",
    "TabularMDP",
    "Task",
    "TrainingConfig",
    "Verdict",
    "Window",
    "align",
    "augment",
    "build_prompt",
    "construct",
    "decompose",
    "discover",
    "draw_task",
    "embed",
    "evaluate",
    "expected_return",
    "from_gymnasium",
    "initial_effective",
    "interact",
    "linear_attention",
    "load",
    "optimal_action_values",
    "policy_value",
    "random_case",
    "read_spec",
    "read_sweep",
    "readout",
    "rescale",
    "rollout",
    "save",
    "split",
    "stream",
    "stream_one",
    "summarise",
    "summarise_batch",
    "sweep",
    "train",
    "train_batch",
    "training_batch",
    "training_run",
    "verify",
]
