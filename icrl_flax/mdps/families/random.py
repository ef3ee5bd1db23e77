"""The paper's family, and others that random numbers describe alone."""

import abc
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import flat_dirichlet, normal, uniform
from icrl_flax.mdps.families.base import Family
from icrl_flax.mdps.tabular import TabularMDP

RewardLaw = Literal["uniform", "normal", "sparse", "state-action"]


class RandomMDPs(Family):
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


class _OtherMDPs(Family):
    """All but the transitions: rewards and initial distributions are those of `RandomMDPs`."""

    n_states: int = eqx.field(static=True, default=9)
    n_actions: int = eqx.field(static=True, default=4)
    gamma: float = 0.5

    def __check_init__(self) -> None:
        _checks.positive_integer("n_states", self.n_states)
        _checks.positive_integer("n_actions", self.n_actions)
        _checks.discount("gamma", self.gamma)

    @abc.abstractmethod
    def transition(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, "S A S"]:
        """Draw P(s′|s,a)."""

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""
        s, a = self.n_states, self.n_actions
        transition_key, other_key = jax.random.split(key)
        uniforms = jax.random.uniform(other_key, (s + a * s,), dtype)
        return TabularMDP(
            transition=self.transition(transition_key, dtype),
            reward=jnp.broadcast_to(2 * uniforms[s:].reshape(a, s) - 1, (s, a, s)),
            initial=flat_dirichlet(uniforms[:s]),
            gamma=jnp.asarray(self.gamma, dtype),
        )


class SparseMDPs(_OtherMDPs):
    """Every pair (s, a) leads to few states: uniformly drawn ones, Dirichlet(1, …, 1) weights.

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
        successors: possible successors of each pair, at most S.
    """

    successors: int = eqx.field(static=True, default=2)

    def __check_init__(self) -> None:
        _checks.positive_integer("successors", self.successors)
        if self.successors > self.n_states:
            raise ValueError(
                f"successors must be at most n_states = {self.n_states}, got {self.successors}"
            )

    def transition(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, "S A S"]:
        shape = self.n_states, self.n_actions, self.n_states
        order, weights = uniform(key, (2, *shape), dtype)
        # Each row's states in random order; those that come first are its successors.
        rank = jnp.argsort(jnp.argsort(order, axis=-1), axis=-1)
        chosen = flat_dirichlet(weights[..., : self.successors])
        padding = [(0, 0), (0, 0), (0, self.n_states - self.successors)]
        return jnp.take_along_axis(jnp.pad(chosen, padding), rank, axis=-1)


class DeterministicMDPs(_OtherMDPs):
    """Every pair (s, a) has one successor, drawn uniformly.

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
    """

    def transition(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, "S A S"]:
        # As 32-bit integers: the default is longer, and another stream, with x64 on.
        shape = self.n_states, self.n_actions
        successors = jax.random.randint(key, shape, 0, self.n_states, jnp.int32)
        return jax.nn.one_hot(successors, self.n_states, dtype=dtype)


class ChainMDPs(_OtherMDPs):
    """A random walk on a line: each pair (s, a) steps right with a probability of its own.

    Probabilities are uniform on (0, 1), steps go one state to the right or left,
    and a step off either end stays there.

    Args:
        n_states: number of states S.
        n_actions: number of actions A.
        gamma: discount γ in [0, 1).
    """

    def transition(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, "S A S"]:
        s = self.n_states
        right = uniform(key, (s, self.n_actions, 1), dtype)
        here = jnp.arange(s)
        up = jax.nn.one_hot(jnp.minimum(here + 1, s - 1), s, dtype=dtype)[:, None]
        down = jax.nn.one_hot(jnp.maximum(here - 1, 0), s, dtype=dtype)[:, None]
        return right * up + (1 - right) * down
