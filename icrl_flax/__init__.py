"""Transformers that implement in-context reinforcement learning, in Flax.

A companion to Liang and Lai, *Transformers Provably Implement In-Context
Reinforcement Learning with Policy Improvement* (arXiv:2605.05755). Numbers of
equations, theorems and figures in docstrings are the paper's.
"""

from typing import TYPE_CHECKING, Any

from icrl_flax._registry import import_file, register
from icrl_flax.attention import (
    Effective,
    align,
    augment,
    build_prompt,
    decompose,
    embed,
    linear_attention,
    readout,
    rescale,
    split,
)
from icrl_flax.attention.block import Block, EffectiveBlock
from icrl_flax.control import BlockAgent, EvaluationConfig, Task, draw_task, evaluate
from icrl_flax.experience import Window, rollout
from icrl_flax.experiments import read_sweep, sweep
from icrl_flax.mdps import (
    Fixed,
    RandomMDPs,
    TabularMDP,
    expected_return,
    from_gymnasium,
    optimal_action_values,
)
from icrl_flax.rules import Rule, construct
from icrl_flax.rules.actor_critic import ActorCritic
from icrl_flax.rules.sarsa import Sarsa
from icrl_flax.training import (
    Examples,
    TrainingConfig,
    TrainingResult,
    fit,
    load,
    save,
    stream,
    train,
    train_iter,
)
from icrl_flax.verification import random_case, verify

if TYPE_CHECKING:
    from icrl_flax.attention.module import LinearAttentionBlock

__all__ = [
    "ActorCritic",
    "Block",
    "BlockAgent",
    "Effective",
    "EffectiveBlock",
    "EvaluationConfig",
    "Examples",
    "Fixed",
    "LinearAttentionBlock",
    "RandomMDPs",
    "Rule",
    "Sarsa",
    "TabularMDP",
    "Task",
    "TrainingConfig",
    "TrainingResult",
    "Window",
    "align",
    "augment",
    "build_prompt",
    "construct",
    "decompose",
    "draw_task",
    "embed",
    "evaluate",
    "expected_return",
    "fit",
    "from_gymnasium",
    "import_file",
    "linear_attention",
    "load",
    "optimal_action_values",
    "random_case",
    "read_sweep",
    "readout",
    "register",
    "rescale",
    "rollout",
    "save",
    "split",
    "stream",
    "sweep",
    "train",
    "train_iter",
    "verify",
]


def __getattr__(name: str) -> Any:
    """The Flax module, when it is first asked for (see `icrl_flax.attention.module`)."""
    if name == "LinearAttentionBlock":
        from icrl_flax.attention.module import LinearAttentionBlock

        return LinearAttentionBlock
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
