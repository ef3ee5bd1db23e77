"""Tabular Markov decision processes and the paper's random family (paper §4)."""

from typing import Literal, Protocol, get_args, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import normal, uniform


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


def flat_dirichlet(uniforms: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    """Dirichlet(1, …, 1) along the last axis, from uniforms on [0, 1).

    Normalised exponentials have the law of `jax.random.dirichlet` with unit
    concentration, whose gamma sampler takes seconds to compile.
    """
    exponentials = -jnp.log1p(-uniforms)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@runtime_checkable
class MDPFamily(Protocol):
    """A distribution of MDPs: anything that can draw one."""

    def sample(self, key: Key[Array, ""], dtype: DTypeLike) -> TabularMDP:
        """Draw one MDP, its arrays in `dtype`."""
        ...


RewardLaw = Literal["uniform", "normal", "sparse", "state-action"]


class RandomMDPs(eqx.Module):
    """The family that the paper trains and evaluates on (paper §4), and its neighbours.

    The initial distribution and every P(·|s,a) are Dirichlet(1, …, 1); rewards
    are uniform on (−1, 1), one for each pair (a, s′), whatever s. The last two
    settings change one of these laws each.

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
        concentration: Dirichlet parameter; small ones make each pair favour few
            successors.
        reward: law of the rewards: the paper's; normal with the same variance;
            the paper's with nine in ten replaced by 0; or uniform with one
            reward for each pair (s, a), whatever s′.
    """

    n_states: int = eqx.field(static=True, default=9)
    n_actions: int = eqx.field(static=True, default=4)
    gamma: float = 0.5
    concentration: float = eqx.field(static=True, default=1.0)
    reward: RewardLaw = eqx.field(static=True, default="uniform")

    def __check_init__(self) -> None:
        _checks.positive_integer("n_states", self.n_states)
        _checks.positive_integer("n_actions", self.n_actions)
        _checks.discount("gamma", self.gamma)
        _checks.positive("concentration", self.concentration)
        _checks.one_of("reward", self.reward, get_args(RewardLaw))

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""
        s, a = self.n_states, self.n_actions
        # One draw for everything: XLA compiles each draw anew, half a second apiece.
        uniforms = jax.random.uniform(key, (s + s * a * s + a * s,), dtype)
        initial, transition, reward = jnp.split(uniforms, [s, s + s * a * s])
        reward = 2 * reward.reshape(a, s) - 1
        # Other laws draw from keys of their own: the rest of the MDP stays what it was.
        dirichlet_key, reward_key = (jax.random.fold_in(key, k) for k in range(2))
        if self.concentration == 1:
            initial, transition = map(flat_dirichlet, (initial, transition.reshape(s, a, s)))
        else:
            alpha = jnp.full(s, self.concentration, dtype)
            rows = jax.random.dirichlet(dirichlet_key, alpha, (1 + s * a,), dtype)
            initial, transition = rows[0], rows[1:].reshape(s, a, s)
        if self.reward == "normal":
            reward = normal(reward_key, (a, s), dtype) / 3**0.5
        elif self.reward == "sparse":
            reward = jnp.where(uniform(reward_key, (a, s), dtype) < 0.1, reward, 0)
        elif self.reward == "state-action":
            reward = uniform(reward_key, (s, a, 1), dtype, -1, 1)
        return TabularMDP(
            transition=transition,
            reward=jnp.broadcast_to(reward, (s, a, s)),
            initial=initial,
            gamma=jnp.asarray(self.gamma, dtype),
        )
