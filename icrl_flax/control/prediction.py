"""Blocks that predict: how far their values are from the exact ones, and why no nearer.

The error is Σ_s d(s) (v(s) − v_π(s))², d the stationary distribution of what acts. Two
references say what could be had: least squares on the same transitions (LSTD, with whose
solution no step of TD(0) changes anything), and the nearest values that the features hold.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _ambient, _checks
from icrl_flax._ambient import full_precision
from icrl_flax.attention.block import Block
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import Agent, interact
from icrl_flax.control.evaluation import EvaluationConfig, draw_tasks
from icrl_flax.control.tasks import Task
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.window import Window
from icrl_flax.mdps.families import MDPFamily
from icrl_flax.mdps.values import differential_value, policy_value, stationary_distribution
from icrl_flax.rules.base import Rule
from icrl_flax.rules.prediction import PredictionRule


class PredictionErrors(NamedTuple):
    """Mean squared value errors of what predicts, and of what it is compared with.

    Attributes:
        points: after how many windows; or, of `errors_by_context`, the lengths of the window.
        errors: by name, axes point (then depth, of `errors_by_context`) and task. `block` and
            `teacher`; `difference` is the mean squared difference of these two's values;
            `lstd` is least squares on all transitions so far; `features` the least error that
            the features allow, and `zero` that of values 0: these two have one point.
    """

    points: Int[np.ndarray, " points"]
    errors: dict[str, Float[np.ndarray, "..."]]


class Target(NamedTuple):
    """What is to be predicted in one task."""

    share: Float[Array, " S"]
    value: Float[Array, " S"]
    phi: Float[Array, "S d"]

    def error(self, w: Float[Array, " d"]) -> Float[Array, ""]:
        return self.share @ (self.phi @ w - self.value) ** 2


@full_precision
def target(rule: PredictionRule, task: Task) -> Target:
    """Exact values, and the features that predict them; of both the mean is 0 without discount."""
    behaviour = rule.behaviour(task.features, task.u)
    policy = rule.predicted_policy(task.features)
    share, phi = stationary_distribution(task.mdp, behaviour), task.features.phi
    if rule.discounted:
        return Target(share, policy_value(task.mdp, policy), phi)
    return Target(share, differential_value(task.mdp, policy), phi - share @ phi)


@full_precision
def least_squares(rule: PredictionRule, task: Task, windows: Window) -> Float[Array, "groups d"]:
    """LSTD's w after each group of windows, from all transitions so far.

    The shortest solution of Σ ρφ(φ − γφ⁺)ᵀ w = Σ ρφr; without discount γ = 1 and r is less
    the mean reward so far.

    Args:
        rule: says whether there is a discount, and weights ρ.
        task: features and policies.
        windows: with two leading axes, the group and the window in it.
    """

    def sums(window: Window) -> tuple[Array, Array, Array, Array]:
        now, then = rule.along(task.features, window)
        weights = discounts = jnp.ones_like(window.rewards)
        if rule.off_policy:
            weights = rule.importance_ratios(task.features, task.u, window)
        if rule.discounted:
            discounts = window.discounts
        weighted = weights[:, None] * now
        matrix = weighted.T @ (now - discounts[:, None] * then)
        return matrix, weighted.T @ window.rewards, weighted.sum(0), window.rewards.mean()

    def of_a_group(group: Window) -> tuple[Array, Array, Array, Array]:
        return jax.tree.map(lambda x: x.sum(0), jax.vmap(sums)(group))

    found = jax.lax.map(of_a_group, windows)  # group after group: matrices of all are many
    matrix, earned, visits, reward = jax.tree.map(lambda x: jnp.cumsum(x, 0), found)
    if not rule.discounted:
        groups, each = windows.rewards.shape[:2]
        count = each * jnp.arange(1, groups + 1)
        earned = earned - (reward / count)[:, None] * visits
    return jnp.einsum("kij,kj->ki", jnp.linalg.pinv(matrix), earned)


@full_precision
def nearest(target: Target) -> Float[Array, " d"]:
    """The w with which the features come nearest to the values, weighted by the share of time."""
    root = jnp.sqrt(jnp.maximum(target.share, 0))
    return jnp.linalg.pinv(root[:, None] * target.phi) @ (root * target.value)


@eqx.filter_jit
@full_precision
def _closed_loop_errors(
    keys: Key[Array, " tasks"],
    tasks: Task,
    rule: PredictionRule,
    agents: dict[str, Agent],
    groups: int,
    every: int,
    n: int,
) -> dict[str, Array]:
    """Errors after each group of windows, from before the first one on; axes task and point."""

    def one(key: Key[Array, ""], task: Task) -> dict[str, Array]:
        wanted, parameters, windows = target(rule, task), {}, None
        for name, agent in agents.items():
            # The policy does not change, so that all agents see the same windows.
            before, windows, after = interact(key, task, rule, agent, groups * every, n)
            parameters[name] = jnp.concatenate([before[:1], after])[::every, : rule.d]
        grouped = jax.tree.map(lambda x: x.reshape(groups, every, *x.shape[1:]), windows)
        solved = least_squares(rule, task, grouped)
        parameters["lstd"] = jnp.concatenate([jnp.zeros_like(solved[:1]), solved])
        return _errors(wanted, parameters)

    return jax.vmap(one)(keys, tasks)


def _errors(wanted: Target, parameters: dict[str, Array]) -> dict[str, Array]:
    """The errors of parameters by name, of any leading axes, and the references that have none."""
    errors = {
        name: ((w @ wanted.phi.T - wanted.value) ** 2) @ wanted.share
        for name, w in parameters.items()
    }
    apart = (parameters["block"] - parameters["teacher"]) @ wanted.phi.T
    errors["difference"] = apart**2 @ wanted.share
    errors["features"] = wanted.error(nearest(wanted))[None]
    errors["zero"] = wanted.error(jnp.zeros(wanted.phi.shape[1], wanted.phi.dtype))[None]
    return errors


def _checked(rule: Rule) -> PredictionRule:
    if not isinstance(rule, PredictionRule):
        raise ValueError(f"rule must be one that predicts, got {rule.name()!r}")
    return rule


@_ambient.settled(x64=False)
def evaluate_prediction(
    rule: Rule,
    block: Block,
    family: MDPFamily | None = None,
    config: EvaluationConfig | None = None,
) -> PredictionErrors:
    """How well block and teacher predict in closed loop, window after window, in float32.

    Args:
        rule: the rule that the block was trained on, one that predicts.
        block: the block.
        family: where the MDPs come from; the paper's if not given.
        config: the protocol; returns are exact here, so its trajectories are not used.

    Raises:
        ValueError: if the rule predicts nothing, or the block does not have its size.
    """
    rule = _checked(rule)
    config = EvaluationConfig() if config is None else config
    agents = {"block": BlockAgent.single(rule, block), "teacher": rule.teacher}
    tasks, keys = draw_tasks(rule, family, config)
    groups, every = len(config.points) - 1, config.every
    if groups == 0:
        raise ValueError(f"every must be at most steps = {config.steps}, got {every}")
    errors = _closed_loop_errors(keys, tasks, rule, agents, groups, every, config.window_length)
    return PredictionErrors(config.points, {k: np.asarray(x).T for k, x in errors.items()})


def errors_by_context(
    rule: Rule,
    block: Block,
    lengths: Sequence[int],
    layers: int,
    family: MDPFamily | None = None,
    config: EvaluationConfig | None = None,
) -> PredictionErrors:
    """How the error falls with the length of one window, and with depth on that window.

    Args:
        rule: the rule that the block was trained on, one that predicts.
        block: the block; layer after layer it answers the same tokens.
        lengths: transitions of the window, one value for each point.
        layers: the depth axis has 0, 1, …, so many blocks; the teacher's axis as many updates.
        family: where the MDPs come from; the paper's if not given.
        config: seed and number of MDPs.

    Raises:
        ValueError: as `evaluate_prediction`, or if a length or depth is not a positive integer.
    """
    rule = _checked(rule)
    config = EvaluationConfig() if config is None else config
    _checks.positive_integer("layers", layers)
    for length in lengths:
        _checks.positive_integer("lengths", length)
    agents = {"block": BlockAgent.single(rule, block), "teacher": rule.teacher}
    with _ambient.settled(x64=False):
        tasks, keys = draw_tasks(rule, family, config)
        found = [
            _context_errors(keys, tasks, rule, agents, int(length), layers) for length in lengths
        ]
    joined = {
        name: np.stack([np.asarray(each[name]).T for each in found])
        for name in ("block", "teacher", "difference")
    }
    joined["lstd"] = np.stack([np.asarray(each["lstd"])[:, 0] for each in found])
    joined |= {name: np.asarray(found[0][name]).T for name in ("features", "zero")}
    return PredictionErrors(np.asarray(lengths), joined)


@eqx.filter_jit
@full_precision
def _context_errors(
    keys: Key[Array, " tasks"],
    tasks: Task,
    rule: PredictionRule,
    agents: dict[str, Agent],
    n: int,
    layers: int,
) -> dict[str, Array]:
    """Errors after 0, 1, …, `layers` answers to one window; axes task and depth."""

    def one(key: Key[Array, ""], task: Task) -> dict[str, Array]:
        behaviour = rule.behaviour(task.features, task.u)
        window = rollout(key, task.mdp, behaviour, task.state, n)
        parameters = {}
        for name, agent in agents.items():

            def answer(u, _, agent=agent):
                return agent(task.features, u, window), u

            last, before = jax.lax.scan(answer, task.u, None, length=layers)
            parameters[name] = jnp.concatenate([before, last[None]])[:, : rule.d]
        alone = jax.tree.map(lambda x: x[None, None], window)
        parameters["lstd"] = least_squares(rule, task, alone)
        return _errors(target(rule, task), parameters)

    return jax.vmap(one)(keys, tasks)


PREDICTION_COLUMNS = ("agent", "step", "mdp", "mean_squared_value_error")


def prediction_rows(found: PredictionErrors) -> Iterator[tuple[str, int, int, float]]:
    """An evaluation as a tidy table: one row per PREDICTION_COLUMNS.

    What does not change with the step has one, 0. Of `difference` the number is the mean
    squared difference of block and teacher.
    """
    for agent, errors in found.errors.items():
        for point, values in zip(found.points, errors, strict=False):
            for mdp, value in enumerate(values):
                yield agent, int(point), mdp, float(value)
