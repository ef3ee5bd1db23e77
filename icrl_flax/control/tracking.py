"""How long an agent stays with its rule, and where it first acts differently."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax.control.closed_loop import Agent
from icrl_flax.control.tasks import Task
from icrl_flax.experience.rollout import rollout
from icrl_flax.rules.base import Rule


class Departure(NamedTuple):
    """The first action that differs.

    Attributes:
        window: the window that holds it, from 0; the number of windows if there is none.
        state: where it was taken, or drawn as the window's last.
        agent_u, teacher_u: the parameters that drew it.
        expected: sum, over all actions up to it, of the probability that the two policies
            draw different actions from one random number. In expectation this is the
            probability that there is one, if nothing else tells the two apart.
    """

    window: Int[Array, "*tasks"]
    state: Int[Array, "*tasks"]
    agent_u: Float[Array, "*tasks q"]
    teacher_u: Float[Array, "*tasks q"]
    expected: Float[Array, "*tasks"]


class Tracking(NamedTuple):
    """An agent beside the rule's teacher, on the same random numbers.

    Attributes:
        closed: ‖u_agent − u_teacher‖ after each window, each in a closed loop of its own.
        open: the same where the agent reads the teacher's windows, and only its own
            parameters feed back.
        departure: where the first closed loop leaves the other.
    """

    closed: Float[Array, "tasks steps"]
    open: Float[Array, "tasks steps"]
    departure: Departure


@eqx.filter_jit
@full_precision
def track(
    keys: Key[Array, " tasks"], tasks: Task, rule: Rule, agent: Agent, steps: int, n: int
) -> Tracking:
    """Follow agent and teacher side by side on each task.

    Args:
        keys: randomness of each task, as for `closed_loop`.
        tasks: MDPs, features, first parameters and states, stacked.
        rule: says how parameters act, and is the teacher.
        agent: what makes new parameters of a window.
        steps: windows.
        n: transitions per window.

    Raises:
        ValueError: if a count is not a positive integer.
    """
    _checks.positive_integer("steps", steps)
    _checks.positive_integer("n", n)

    def one(key: Key[Array, ""], task: Task) -> Tracking:
        def window_of(carry, number_and_key):
            teacher_u, teacher_at, agent_u, agent_at, open_u, departure = carry
            number, key = number_and_key
            pair = [rule.behaviour(task.features, u) for u in (teacher_u, agent_u)]
            theirs = rollout(key, task.mdp, pair[0], teacher_at, n)
            ours = rollout(key, task.mdp, pair[1], agent_at, n)

            differ = theirs.actions != ours.actions
            first = jnp.argmax(differ)
            upper = [jnp.cumsum(each[theirs.states], -1) for each in pair]
            lower = [top - each[theirs.states] for top, each in zip(upper, pair, strict=True)]
            agree = jnp.minimum(*upper) - jnp.maximum(*lower)
            apart = jnp.clip(1 - jnp.clip(agree, 0).sum(-1), 0, 1)
            until = jnp.where(differ.any(), jnp.arange(n + 1) <= first, True)
            together = departure.window == steps
            expected = departure.expected + jnp.where(together, (apart * until).sum(), 0)
            now = Departure(number, theirs.states[first], agent_u, teacher_u, expected)
            leaves = together & differ.any()
            departure = jax.tree.map(lambda a, b: jnp.where(leaves, a, b), now, departure)
            departure = departure._replace(expected=expected)

            new = rule.teacher(task.features, teacher_u, theirs)
            closed = agent(task.features, agent_u, ours)
            opened = agent(task.features, open_u, theirs)
            distances = jnp.linalg.norm(closed - new), jnp.linalg.norm(opened - new)
            carry = new, theirs.states[-1], closed, ours.states[-1], opened, departure
            return carry, distances

        u, at = task.u, jnp.asarray(task.state, jnp.int32)
        nowhere = Departure(jnp.int32(steps), at, u, u, jnp.zeros((), u.dtype))
        numbers = jnp.arange(steps, dtype=jnp.int32)
        carry = u, at, u, at, u, nowhere
        carry, distances = jax.lax.scan(window_of, carry, (numbers, jax.random.split(key, steps)))
        return Tracking(*distances, carry[-1])

    return jax.vmap(one)(keys, tasks)
