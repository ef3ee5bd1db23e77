"""Random MDPs with something more: states that end an episode, or values that features hold."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.mdps.families.base import Family
from icrl_flax.mdps.families.random import RandomMDPs
from icrl_flax.mdps.tabular import TabularMDP


class TerminatingMDPs(Family):
    """`RandomMDPs` whose last states end an episode, and none begins in them.

    Args:
        n_states: number of states S, those that end an episode included.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
        n_terminal: how many end an episode; fewer than S.
    """

    n_states: int = eqx.field(static=True, default=9)
    n_actions: int = eqx.field(static=True, default=4)
    gamma: float = 0.5
    n_terminal: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        _checks.positive_integer("n_terminal", self.n_terminal)
        RandomMDPs(self.n_states, self.n_actions, self.gamma)
        if self.n_terminal >= self.n_states:
            raise ValueError(
                f"n_terminal must be below n_states = {self.n_states}, got {self.n_terminal}"
            )

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""
        mdp = RandomMDPs(self.n_states, self.n_actions).sample(key, dtype)
        gamma = jnp.asarray(self.gamma, dtype)
        ends = jnp.arange(self.n_states) >= self.n_states - self.n_terminal
        initial = jnp.where(ends, 0, mdp.initial)
        return TabularMDP(mdp.transition, mdp.reward, initial / initial.sum(), gamma, ends)


class RepresentableMDPs(Family):
    """`RandomMDPs` with rewards such that the features hold the policy's values exactly.

    For rules that predict, whose policy is drawn before anything is learnt. With w⋆ uniform
    on (−1, 1), the reward in s is (wᵀφ)(s) − γ Σ_t P_π(t|s) (wᵀφ)(t) at w = w⋆, whatever
    the action and the successor: then v_π = Φw⋆, and no error is left to the features.

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
    """

    n_states: int = eqx.field(static=True, default=9)
    n_actions: int = eqx.field(static=True, default=4)
    gamma: float = 0.5

    def __check_init__(self) -> None:
        RandomMDPs(self.n_states, self.n_actions, self.gamma)

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP whose rewards are those of `RandomMDPs`, since there are no features."""
        mdp = RandomMDPs(self.n_states, self.n_actions).sample(key, dtype)
        gamma = jnp.asarray(self.gamma, dtype)
        return TabularMDP(mdp.transition, mdp.reward, mdp.initial, gamma)

    def with_features(
        self, key: Key[Array, ""], mdp: TabularMDP, features: Any, rule: Any
    ) -> tuple[TabularMDP, Any]:
        """The MDP with other rewards, and the features as they are.

        Raises:
            ValueError: if the rule is not one that predicts.
        """
        if not hasattr(features, "logits"):
            raise ValueError(
                f"family 'representable' is for rules that predict, got {rule.name()!r}"
            )
        phi = features.phi
        values = phi @ uniform(key, (phi.shape[1],), phi.dtype, -1, 1)
        policy = rule.predicted_policy(features)
        chain = jnp.einsum("sa,sat->st", policy, mdp.transition)
        reward = values - mdp.gamma * chain @ values
        rewards = jnp.broadcast_to(reward[:, None, None], mdp.reward.shape)
        return TabularMDP(mdp.transition, rewards, mdp.initial, mdp.gamma), features
