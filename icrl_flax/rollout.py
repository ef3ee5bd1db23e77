"""Windows of experience, rolled on from where the last one ended (Algorithm 1)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax.mdp import TabularMDP


class Window(eqx.Module):
    """n consecutive transitions s₀, a₀, r₁, s₁, a₁, …, r_n, s_n, a_n.

    The last action a_n is recorded, because SARSA's target needs it; it is not
    taken. The next window starts in `states[-1]` and draws its own first action.

    Args:
        states: s₀ … s_n.
        actions: a₀ … a_n.
        rewards: r₁ … r_n.
        discounts: γ for each transition, the factor on the value of its successor.
    """

    states: Int[Array, "n+1"]
    actions: Int[Array, "n+1"]
    rewards: Float[Array, " n"]
    discounts: Float[Array, " n"]

    @property
    def elapsed_discounts(self) -> Float[Array, " n"]:
        """γ^i, i counted from the start of the window: the actor's weight in eq. (3)."""
        return jnp.cumprod(
            jnp.concatenate([jnp.ones_like(self.discounts[:1]), self.discounts[:-1]])
        )


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
    uniforms = jax.random.uniform(key, (n + 1, 2), policy.dtype)

    def step(state, uniform):
        action = draw_index(uniform[0], policy[state])
        successor = draw_index(uniform[1], mdp.transition[state, action])
        return successor, (state, action)

    # One step too many: the last one yields s_n and a_n, its successor is unused.
    _, (states, actions) = jax.lax.scan(step, jnp.asarray(state, jnp.int32), uniforms)
    return Window(
        states=states,
        actions=actions,
        rewards=mdp.reward[states[:-1], actions[:-1], states[1:]],
        discounts=jnp.broadcast_to(mdp.gamma, (n,)),
    )
