"""Windows of experience, rolled on from where the last one ended (Algorithm 1)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from icrl_flax import _checks


def _checked(check: Callable, name: str) -> Any:
    return eqx.field(converter=partial(check, name))


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
        terminated: whether each transition ended an episode: booleans, or 0 and 1.

    Raises:
        ValueError: on values of another type, shapes that do not fit each other,
            negative states or actions, rewards that are not finite, or γ outside
            [0, 1). How many states and actions there are, `check` has to be told.
    """

    states: Int[Array | np.ndarray, "*batch times"] = _checked(_checks.as_integers, "states")
    actions: Int[Array | np.ndarray, "*batch times"] = _checked(_checks.as_integers, "actions")
    rewards: Float[Array | np.ndarray, "*batch n"] = _checked(_checks.as_reals, "rewards")
    gamma: Float[Array | np.ndarray, "*batch"] = _checked(_checks.as_reals, "gamma")
    terminated: Bool[Array | np.ndarray, "*batch n"] = _checked(_checks.as_booleans, "terminated")

    def __check_init__(self) -> None:
        *batch, n = self.rewards.shape or (0,)
        _checks.shape("rewards", self.rewards, (*batch, None))
        _checks.shape("states", self.states, (*batch, n + 1))
        _checks.shape("actions", self.actions, (*batch, n + 1))
        _checks.shape("gamma", self.gamma, tuple(batch))
        _checks.shape("terminated", self.terminated, (*batch, n))
        _checks.indices("states", self.states)
        _checks.indices("actions", self.actions)
        _checks.finite("rewards", self.rewards)
        _checks.discounts("gamma", self.gamma)

    def check(self, n_states: int, n_actions: int) -> None:
        """Refuse a window of another MDP: JAX reads the last row for an index beyond it.

        Raises:
            ValueError: if a state or an action does not exist.
        """
        _checks.indices("states", self.states, n_states)
        _checks.indices("actions", self.actions, n_actions)

    @property
    def discounts(self) -> Float[Array, "*batch n"]:
        """The factor on the value of each successor: γ, or 0 where an episode ended."""
        return jnp.where(self.terminated, 0, self.gamma[..., None])

    @property
    def elapsed_discounts(self) -> Float[Array, "*batch n"]:
        """γ^i of eq. (3), i counted from the start of the window or, later, of the episode."""
        i = jnp.arange(self.rewards.shape[-1])
        begins = jnp.roll(self.terminated, 1, axis=-1).at[..., 0].set(True)
        start = jax.lax.cummax(jnp.where(begins, i, 0), axis=self.rewards.ndim - 1)
        return jnp.asarray(self.gamma)[..., None] ** (i - start)
