"""Blocks in charge of MDPs that they have never seen (§4.2, Figure 3).

In closed loop the block's own answer is the next parameter vector, and sets the
behaviour policy for the next window. An *agent* is whatever turns a window into
new parameters: a block, or the textbook rule itself.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _ambient, _checks
from icrl_flax.attention.block import Block
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import Agent, closed_loop
from icrl_flax.control.returns import Returns, returns_of
from icrl_flax.control.tasks import Task, draw_task
from icrl_flax.experience.policies import greedy
from icrl_flax.mdps.families import MDPFamily, RandomMDPs
from icrl_flax.mdps.tabular import TabularMDP
from icrl_flax.mdps.values import expected_return, optimal_action_values
from icrl_flax.rules.base import Features, Rule


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How to evaluate in closed loop: the paper's protocol (§4), run until the curves are flat.

    Args:
        seed: seed of all randomness.
        n_mdps: number of MDPs that training has not seen.
        steps: windows in closed loop on each MDP.
        every: freeze and evaluate the iterate every so many windows.
        window_length: transitions n per window.
        trajectories: Monte Carlo trajectories for each estimate.
        length: transitions of each trajectory.

    Raises:
        ValueError: if a value is out of range.
    """

    seed: int = 0
    n_mdps: int = 100
    steps: int = 1500
    every: int = 10
    window_length: int = 20
    trajectories: int = 32
    length: int = 50

    def __post_init__(self) -> None:
        _checks.seed("seed", self.seed)
        for field in dataclasses.fields(self):
            if field.name != "seed":
                _checks.positive_integer(field.name, getattr(self, field.name))
        if self.trajectories < 2:
            raise ValueError(f"trajectories must be at least 2, got {self.trajectories}")

    @property
    def points(self) -> np.ndarray:
        """The steps at which the iterate is evaluated, from 0."""
        return np.arange(0, self.steps + 1, self.every)


@_ambient.settled(x64=False)
def draw_tasks(
    rule: Rule, family: MDPFamily | None = None, config: EvaluationConfig | None = None
) -> tuple[Task, Key[Array, " n_mdps"]]:
    """Fresh MDPs with their features, first parameters and states, and a key for each.

    The keys differ from any that training derives from a seed.
    """
    family = RandomMDPs() if family is None else family
    config = EvaluationConfig() if config is None else config
    keys = jax.random.split(jax.random.fold_in(_ambient.key(config.seed), 0x4E1D), 2)
    draws = jax.random.split(keys[0], config.n_mdps)
    tasks = jax.vmap(lambda key: draw_task(key, rule, family, jnp.float32))(draws)
    return tasks, jax.random.split(keys[1], config.n_mdps)


POLICY_KINDS: Mapping[str, Callable] = {
    "policy": lambda rule, features, u: rule.policy(features, u),
    "behaviour": lambda rule, features, u: rule.behaviour(features, u),
}
"""What a frozen iterate may mean: the policy that it stands for, or with its exploration."""


class Evaluation(NamedTuple):
    """Closed-loop returns of one checkpoint and of what it is compared with.

    Attributes:
        points: steps at which iterates were evaluated.
        returns: by (agent, policy kind). Agents are `block`, `teacher`,
            `oracle` and `uniform`; the last two have one point.
    """

    points: Int[np.ndarray, " points"]
    returns: dict[tuple[str, str], Returns]


@_ambient.settled(x64=False)
def evaluate(
    rule: Rule,
    block: Block,
    family: MDPFamily | None = None,
    config: EvaluationConfig | None = None,
) -> Evaluation:
    """Figure 3: block and teacher in closed loop on shared random numbers, in float32.

    Args:
        rule: the rule that the block was trained on.
        block: the block.
        family: where the MDPs come from; the paper's if not given.
        config: the protocol.

    Raises:
        ValueError: if the block does not have the rule's size.
    """
    config = EvaluationConfig() if config is None else config
    agents = {"block": BlockAgent.single(rule, block), "teacher": rule.teacher}
    tasks, keys = draw_tasks(rule, family, config)
    tables, names = [], []
    for name, agent in agents.items():
        history = closed_loop(keys, tasks, rule, agent, config.steps, config.window_length)
        frozen = history[:, config.points].swapaxes(0, 1)
        for policy_kind, table in POLICY_KINDS.items():
            tables.append(policies_of(rule, table, tasks.features, frozen))
            names.append((name, policy_kind))
    for name, table in (("oracle", oracle_policy), ("uniform", uniform_policy)):
        tables.append(jax.vmap(table)(tasks.mdp)[None])
        names.append((name, "policy"))
    # All in one call, so that it is compiled once.
    key = jax.random.fold_in(_ambient.key(config.seed), 0x5EED)
    returns = jax.tree.map(
        np.asarray,
        returns_of(key, tasks.mdp, jnp.concatenate(tables), config.trajectories, config.length),
    )
    ends = np.cumsum([len(table) for table in tables])[:-1]
    parts = zip(*(np.split(leaf, ends) for leaf in returns), strict=True)
    return Evaluation(
        config.points,
        {name: Returns(*part) for name, part in zip(names, parts, strict=True)},
    )


@eqx.filter_jit
def policies_of(
    rule: Rule,
    policy_kind: Callable[[Rule, Features, Array], Array],
    features: Features,
    u: Float[Array, "points tasks q"],
) -> Float[Array, "points tasks S A"]:
    """The table that each frozen iterate stands for, in one of the POLICY_KINDS."""
    per_task = jax.vmap(lambda features, u: policy_kind(rule, features, u))
    return jax.vmap(per_task, in_axes=(None, 0))(features, u)


def exact_returns(
    keys: Key[Array, " tasks"], tasks: Task, rule: Rule, agent: Agent, config: EvaluationConfig
) -> Float[np.ndarray, "points tasks"]:
    """Exact returns of the policies that an agent's iterates stand for in closed loop.

    Args:
        keys: randomness of each task, as `draw_tasks` gives it.
        tasks: what it acts in.
        rule: says how parameters act.
        agent: makes new parameters of a window.
        config: says after how many windows an iterate is frozen.
    """
    history = closed_loop(keys, tasks, rule, agent, config.steps, config.window_length)
    frozen = history[:, config.points].swapaxes(0, 1)
    policies = policies_of(rule, POLICY_KINDS["policy"], tasks.features, frozen)
    of_one_point = jax.vmap(expected_return)
    return np.asarray(jax.vmap(of_one_point, in_axes=(None, 0))(tasks.mdp, policies))


def oracle_policy(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The greedy policy of Q⋆."""
    return greedy(optimal_action_values(mdp))


def uniform_policy(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The policy that takes every action with the same probability."""
    return jnp.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions, mdp.transition.dtype)


CSV_COLUMNS = ("agent", "policy_kind", "estimator", "step", "mdp", "return")


def rows(evaluation: Evaluation) -> Iterator[tuple[str, str, str, int, int, float]]:
    """The evaluation as a tidy table: one row per CSV_COLUMNS.

    Oracle and uniform policy do not change with the step; theirs is 0.
    """
    for (agent, policy_kind), returns in evaluation.returns.items():
        for estimator in ("exact", "monte_carlo"):
            for point, values in zip(evaluation.points, getattr(returns, estimator), strict=False):
                for mdp, value in enumerate(values):
                    yield agent, policy_kind, estimator, int(point), mdp, float(value)
