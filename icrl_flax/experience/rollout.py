"""Experience: a fixed policy followed in an MDP, rolled on from where the last window ended."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax._draws import draw_index, uniform
from icrl_flax.experience.window import Window
from icrl_flax.mdps.tabular import TabularMDP


def rollout(
    key: Key[Array, ""],
    mdp: TabularMDP,
    policy: Float[Array | np.ndarray, "S A"],
    state: int | Int[Array, ""],
    n: int,
) -> Window:
    """Follow a fixed policy for n transitions from a given state.

    Args:
        key: randomness for the n+1 actions and n successors.
        mdp: the environment.
        policy: π(a|s), indexed `[s, a]`.
        state: s₀, an integer in [0, S).
        n: number of transitions.

    Raises:
        ValueError: if n < 1, the state does not exist, or the policy is not a
            table of distributions over this MDP's actions.
    """
    _checks.positive_integer("n", n)
    policy = mdp.checked_policy(policy)
    _checks.indices("state", state, mdp.n_states)
    draws_per_step = 2 if mdp.terminal is None else 3
    uniforms = uniform(key, (n + 1, draws_per_step), policy.dtype)

    def step(state, uniform):
        action = draw_index(uniform[0], policy[state])
        successor = draw_index(uniform[1], mdp.transition[state, action])
        if mdp.terminal is None:
            return successor, (state, action, successor)
        restart = draw_index(uniform[2], mdp.initial)
        following = jnp.where(mdp.terminal[successor], restart, successor)
        return following, (state, action, successor)

    # One step too many: the last one yields s_n and a_n, its successor is unused.
    _, (states, actions, successors) = jax.lax.scan(step, jnp.asarray(state, jnp.int32), uniforms)
    successors = successors[:-1]
    return Window(
        states=states,
        actions=actions,
        rewards=mdp.reward[states[:-1], actions[:-1], successors],
        gamma=mdp.gamma,
        terminated=(jnp.zeros(n, bool) if mdp.terminal is None else mdp.terminal[successors]),
    )
