"""Tabular Markov decision processes."""

from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from icrl_flax import _checks


def _reals(name: str, value) -> Array:
    return jnp.asarray(_checks.as_reals(name, value))


def _booleans(name: str, value) -> Array | None:
    return None if value is None else jnp.asarray(_checks.as_booleans(name, value))


class TabularMDP(eqx.Module):
    """A finite Markov decision process: arrays only, so it can be vmapped.

    Args:
        transition: P(s′|s,a), indexed `[s, a, s′]`; every row sums to 1.
        reward: r(s,a,s′), indexed `[s, a, s′]`; any finite unit.
        initial: distribution of s₀, indexed `[s]`.
        gamma: discount γ in [0, 1) per step.
        terminal: states that end an episode, if there are any: booleans, or
            0 and 1. Once one is entered the episode earns nothing more; a
            rollout then goes on from the initial distribution.

    Raises:
        ValueError: on what are no numbers, shapes that do not fit each other,
            entries that are not finite, rows that are not distributions, or γ outside [0, 1).
    """

    transition: Float[Array, "S A S"] = eqx.field(converter=partial(_reals, "transition"))
    reward: Float[Array, "S A S"] = eqx.field(converter=partial(_reals, "reward"))
    initial: Float[Array, " S"] = eqx.field(converter=partial(_reals, "initial"))
    gamma: Float[Array, ""] = eqx.field(converter=partial(_reals, "gamma"))
    terminal: Bool[Array, " S"] | None = eqx.field(
        converter=partial(_booleans, "terminal"), default=None
    )

    def __check_init__(self) -> None:
        _checks.shape("transition", self.transition, (None, None, None))
        n_states, n_actions, _ = self.transition.shape
        _checks.shape("transition", self.transition, (n_states, n_actions, n_states))
        _checks.distribution("transition", self.transition)
        _checks.shape("reward", self.reward, (n_states, n_actions, n_states))
        _checks.finite("reward", self.reward)
        _checks.shape("initial", self.initial, (n_states,))
        _checks.distribution("initial", self.initial)
        _checks.discount("gamma", self.gamma)
        if self.terminal is not None:
            _checks.shape("terminal", self.terminal, (n_states,))

    @property
    def n_states(self) -> int:
        return self.transition.shape[-1]

    @property
    def n_actions(self) -> int:
        return self.transition.shape[-2]

    def checked_policy(self, policy: Float[Array | np.ndarray, "S A"]) -> Float[Array, "S A"]:
        """The policy as one of JAX's arrays.

        Raises:
            ValueError: if it is not a table of distributions over this MDP's actions.
        """
        _checks.shape("policy", policy, (self.n_states, self.n_actions))
        _checks.distribution("policy", policy)
        return _reals("policy", policy)
