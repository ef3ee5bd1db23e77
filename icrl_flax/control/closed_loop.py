"""Acting and learning in turns: the loop that training data and control share."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax.control.tasks import Task
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule

Agent = Callable[[Features, Float[Array, " q"], Window], Float[Array, " q"]]
"""Whatever turns (features, parameters, window) into new parameters: a rule or a block."""


def interact(
    key: Key[Array, ""],
    task: Task,
    rule: Rule,
    agent: Agent,
    windows: int,
    n: int,
) -> tuple[Float[Array, "windows q"], Window, Float[Array, "windows q"]]:
    """Act for a window, let the agent answer, act on its answer, and so on.

    No reset between windows: each starts where the one before it ended.

    Args:
        key: randomness; two learners given the same key see the same windows
            while their behaviour is the same.
        task: MDP, features, first parameters and state.
        rule: says how parameters act.
        agent: makes new parameters of features, parameters and window.
        windows: how many.
        n: transitions per window.

    Returns:
        Parameters before each window, the windows, and parameters after each.

    Raises:
        ValueError: if a count is not a positive integer.
    """
    _checks.positive_integer("windows", windows)

    def one_window(carry, key):
        u, state = carry
        behaviour = rule.behaviour(task.features, u)
        window = rollout(key, task.mdp, behaviour, state, n)
        answer = agent(task.features, u, window)
        return (answer, window.states[-1]), (u, window, answer)

    keys = jax.random.split(key, windows)
    start = task.u, jnp.asarray(task.state, jnp.int32)
    return jax.lax.scan(one_window, start, keys)[1]


@eqx.filter_jit
@full_precision
def closed_loop(
    keys: Key[Array, " tasks"],
    tasks: Task,
    rule: Rule,
    agent: Agent,
    steps: int,
    n: int,
) -> Float[Array, "tasks {steps}+1 q"]:
    """Parameters before the first and after each window, in closed loop on each task.

    Two learners that are given the same keys see the same random numbers: their
    windows are the same while their policies are.

    Args:
        keys: randomness of each task.
        tasks: MDPs, features, first parameters and states, stacked.
        rule: says how parameters act.
        agent: what makes new parameters of a window.
        steps: windows.
        n: transitions per window.
    """

    def one(key: Key[Array, ""], task: Task) -> Float[Array, "times q"]:
        before, _, after = interact(key, task, rule, agent, steps, n)
        return jnp.concatenate([before[:1], after])

    return jax.vmap(one)(keys, tasks)
