"""Windows of experience, rolled on from where the last one ended (Algorithm 1)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


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
