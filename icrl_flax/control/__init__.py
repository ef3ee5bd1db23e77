"""Agents in control of MDPs: tasks, the closed loop, returns, and the evaluation of Figure 3."""

from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import Agent, closed_loop, interact
from icrl_flax.control.evaluation import (
    POLICY_KINDS,
    Evaluation,
    EvaluationConfig,
    draw_tasks,
    evaluate,
    exact_returns,
    oracle_policy,
    policies_of,
    uniform_policy,
)
from icrl_flax.control.live import LiveControl, live_control, rule_features
from icrl_flax.control.prediction import (
    PredictionErrors,
    errors_by_context,
    evaluate_prediction,
)
from icrl_flax.control.returns import Returns, monte_carlo_return, returns_of
from icrl_flax.control.tasks import Task, draw_task
from icrl_flax.control.tracking import Departure, Tracking, track

__all__ = [
    "POLICY_KINDS",
    "Agent",
    "BlockAgent",
    "Departure",
    "Evaluation",
    "EvaluationConfig",
    "LiveControl",
    "PredictionErrors",
    "Returns",
    "Task",
    "Tracking",
    "closed_loop",
    "draw_task",
    "draw_tasks",
    "errors_by_context",
    "evaluate",
    "evaluate_prediction",
    "exact_returns",
    "interact",
    "live_control",
    "monte_carlo_return",
    "oracle_policy",
    "policies_of",
    "returns_of",
    "rule_features",
    "track",
    "uniform_policy",
]
