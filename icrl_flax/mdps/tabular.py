"""Tabular Markov decision processes and the paper's random family (paper §4)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from icrl_flax import _checks


def _floating(value) -> Array:
    """As a JAX array, integers in the default floating-point type."""
    array = jnp.asarray(value)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


class TabularMDP(eqx.Module):
    """A finite Markov decision process: arrays only, so it can be vmapped.

    Args:
        transition: P(s′|s,a), indexed `[s, a, s′]`; every row sums to 1.
        reward: r(s,a,s′), indexed `[s, a, s′]`; any finite unit.
        initial: distribution of s₀, indexed `[s]`.
        gamma: discount γ in [0, 1) per step.
        terminal: states that end an episode, if there are any. Once one is
            entered the episode earns nothing more; a rollout then goes on from
            the initial distribution.

    Raises:
        ValueError: on shapes that do not fit each other, entries that are not
            finite, rows that are not distributions, or γ outside [0, 1).
    """

    transition: Float[Array, "S A S"] = eqx.field(converter=_floating)
    reward: Float[Array, "S A S"] = eqx.field(converter=_floating)
    initial: Float[Array, " S"] = eqx.field(converter=_floating)
    gamma: Float[Array, ""] = eqx.field(converter=_floating)
    terminal: Bool[Array, " S"] | None = None

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
