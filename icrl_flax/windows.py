"""Windows of experience, rolled on from where the last one ended (Algorithm 1)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.mdp import TabularMDP


class Window(eqx.Module):
    """n consecutive transitions s₀, a₀, r₁, s₁, a₁, …, r_n, s_n, a_n.

    The last action a_n is recorded, because SARSA's target needs it; it is not
    taken. The next window starts in `states[-1]` and draws its own first action.
    Where transition i ended an episode, `states[i+1]` begins the next one.

    Args:
        states: s₀ … s_n.
        actions: a₀ … a_n.
        rewards: r₁ … r_n.
        gamma: the MDP's discount γ.
        terminated: whether each transition ended an episode.
    """

    states: Int[Array | np.ndarray, "*batch times"]
    actions: Int[Array | np.ndarray, "*batch times"]
    rewards: Float[Array | np.ndarray, "*batch n"]
    gamma: Float[Array | np.ndarray, "*batch"]
    terminated: Bool[Array | np.ndarray, "*batch n"]

    @property
    def discounts(self) -> Float[Array, " n"]:
        """The factor on the value of each successor: γ, or 0 where an episode ended."""
        return jnp.where(self.terminated, 0, self.gamma)

    @property
    def elapsed_discounts(self) -> Float[Array, " n"]:
        """γ^i of eq. (3), i counted from the start of the window or, later, of the episode."""
        i = jnp.arange(self.rewards.shape[0])
        begins = jnp.roll(self.terminated, 1).at[0].set(True)
        return jnp.asarray(self.gamma) ** (i - jax.lax.cummax(jnp.where(begins, i, 0)))


def eligibility_traces(
    features: Float[Array, "n d"], decays: Float[Array, " n"]
) -> Float[Array, "n d"]:
    """Accumulating traces z_i = decay_{i−1} z_{i−1} + φ_i, with z_{−1} = 0 before the window.

    Args:
        features: φ_i, one row per transition.
        decays: what is left of z_i after transition i: λγ, or 0 where an episode ended.
    """

    def step(trace, inputs):
        phi, decay = inputs
        trace = trace + phi
        return decay * trace, trace

    return jax.lax.scan(step, jnp.zeros_like(features[0]), (features, decays))[1]


def discounted_sums(
    terms: Float[Array | np.ndarray, " n"], decays: Float[Array | np.ndarray, " n"]
) -> Float[Array, " n"]:
    """y_i = x_i + decay_i y_{i+1}, with y_n = 0 after the window.

    Args:
        terms: x_i: rewards, for returns; TD errors, for what λ-returns add to the values.
        decays: the weight of what follows transition i; 0 where an episode ended.
    """

    def step(total, inputs):
        term, decay = inputs
        total = term + decay * total
        return total, total

    start = jnp.zeros((), terms.dtype)
    return jax.lax.scan(step, start, (terms, decays), reverse=True)[1]


def draw_index(uniform: Float[Array, ""], probabilities: Float[Array, " k"]) -> Int[Array, ""]:
    """Inverse-transform sampling that can never return an index of probability 0.

    Args:
        uniform: a number in [0, 1).
        probabilities: non-negative weights; scaling does not matter.
    """
    # Rounding may let a cumulative sum creep up across a zero entry, or end a
    # little below 1: mask the zeros and scale by the largest sum instead.
    cumulative = jnp.where(probabilities > 0, jnp.cumsum(probabilities), 0)
    return jax.lax.argmax(uniform * cumulative.max() < cumulative, 0, jnp.int32)


def rollout(
    key: Key[Array, ""],
    mdp: TabularMDP,
    policy: Float[Array, "S A"],
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
    _checks.shape("policy", policy, (mdp.n_states, mdp.n_actions))
    _checks.distribution("policy", policy)
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
