"""Training data whose answers are values of states: without a teacher, or with one.

The behaviour of a rule that predicts does not depend on its parameters, so that a walk
through the MDP is all there is to draw.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from icrl_flax._draws import draw_index
from icrl_flax.control.tasks import Task, draw_task
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.traces import discounted_sums
from icrl_flax.experience.window import Window
from icrl_flax.mdps.families import MDPFamily
from icrl_flax.mdps.values import policy_value
from icrl_flax.rules.base import Rule
from icrl_flax.rules.prediction import PredictionRule
from icrl_flax.training.losses import Walks

MONTE_CARLO_STEPS = 40
"""Transitions of a sampled return, as in Wang et al.; what comes later is left out."""


def check_values(rule: Rule) -> None:
    """Refuse a rule for which a moving window or a value from parameters at 0 has no sense.

    Raises:
        ValueError: unless it predicts discounted values with tokens as TD(0)'s and u = w.
    """
    if not (
        isinstance(rule, PredictionRule)
        and rule.discounted
        and (rule.heads, rule.p, rule.q) == (1, 2 * rule.d + 1, rule.d)
    ):
        raise ValueError(
            "rule must predict discounted values from tokens of one transition each, as 'td' "
            f"does, where values are trained or the prompt holds a query; got {rule.name()!r}"
        )


def repeated(rule: Rule, sweeps: int) -> Any:
    """The rule's teacher, so many times over the same window."""
    if sweeps == 1:
        return rule.teacher

    def teacher(features: Any, u: Float[Array, " q"], window: Window) -> Float[Array, " q"]:
        def sweep(u: Float[Array, " q"], _: None) -> tuple[Float[Array, " q"], None]:
            return rule.teacher(features, u, window), None

        return jax.lax.scan(sweep, u, None, length=sweeps)[0]

    return teacher


def walk_one(
    key: Key[Array, ""], task: Task, rule: Any, n: int, queries: int, objective: str, sweeps: int
) -> Walks:
    """One walk from a first state of its own.

    Args:
        key: randomness.
        task: the MDP and its features.
        rule: as `check_values` asks.
        n: transitions per window.
        queries: k, how many values an update learns from.
        objective: "td", "monte-carlo", "true-values" or "teacher".
        sweeps: of the teacher.
    """
    state_key, walk_key, return_key = jax.random.split(key, 3)
    mdp, features = task.mdp, task.features
    dtype = features.phi.dtype
    start = draw_index(jax.random.uniform(state_key, dtype=dtype), mdp.initial)
    policy = rule.behaviour(features, task.u)
    walk = rollout(walk_key, mdp, policy, start, n + queries + 1)
    tokens = rule.tokens(features, task.u, walk)
    asked = walk.states[n + 1 :]  # each window's query
    discounts = jnp.zeros(queries, dtype)
    target: Any
    if objective == "td":
        target, discounts = walk.rewards[n + 1 :], walk.discounts[n + 1 :]
    elif objective == "true-values":
        values = policy_value(mdp, rule.predicted_policy(features))
        target = values[asked[:-1]]
    elif objective == "monte-carlo":
        target = jax.vmap(lambda key, state: _sampled_return(key, mdp, policy, state))(
            jax.random.split(return_key, queries), asked[:-1]
        )
    else:
        learnt = jax.vmap(lambda k: _taught(task, rule, walk, k, n, sweeps))(jnp.arange(queries))
        target = (features.phi[asked[:-1]] * learnt).sum(axis=1)
    return Walks(tokens[: n + queries], features.phi[asked], target, discounts)


def _sampled_return(
    key: Key[Array, ""], mdp: Any, policy: Float[Array, "S A"], state: Int[Array, ""]
) -> Float[Array, ""]:
    """Σ γ^i r_{i+1} from a state, until the episode ends."""
    window = rollout(key, mdp, policy, state, MONTE_CARLO_STEPS)
    return discounted_sums(window.rewards, window.discounts)[0]


def _taught(
    task: Task, rule: Any, walk: Window, k: Int[Array, ""], n: int, sweeps: int
) -> Float[Array, " q"]:
    """The teacher's parameters after the k-th window, from 0."""

    def part(column: Any, length: int) -> Array:
        return jax.lax.dynamic_slice_in_dim(column, k, length)

    window = Window(
        part(walk.states, n + 1),
        part(walk.actions, n + 1),
        part(walk.rewards, n),
        walk.gamma,
        part(walk.terminated, n),
    )
    return repeated(rule, sweeps)(task.features, jnp.zeros_like(task.u), window)


def walks_one(
    key: Key[Array, ""],
    rule: Rule,
    family: MDPFamily,
    windows: int,
    n: int,
    queries: int,
    objective: str,
    sweeps: int,
    dtype: DTypeLike = jnp.float32,
) -> Walks:
    """One MDP's walks, `windows` of them; its task is that of `stream_one` for the same key."""
    task_key, window_key = jax.random.split(key)
    task = draw_task(task_key, rule, family, dtype)
    return jax.vmap(lambda key: walk_one(key, task, rule, n, queries, objective, sweeps))(
        jax.random.split(window_key, windows)
    )
