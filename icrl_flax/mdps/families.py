"""Families of MDPs: the paper's, others to test how far a trained block reaches, and one's own.

A family is anything with a method `sample(key, dtype)`. Those of the library have a name too.
"""

import abc
import re
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import flat_dirichlet, normal, uniform
from icrl_flax.mdps.tabular import TabularMDP


def kebab_case(name: str) -> str:
    """The name of a class, its words in lower case with hyphens between them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


@runtime_checkable
class MDPFamily(Protocol):
    """A distribution of MDPs: anything that can draw one."""

    def sample(self, key: Key[Array, ""], dtype: DTypeLike) -> TabularMDP:
        """Draw one MDP, its arrays in `dtype`."""
        ...


def checked_sample(family: Any, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
    """One member of a family, looked at before anything is traced.

    Traced numbers cannot be checked, so a family's first member is drawn outside of any
    trace. The library's own families have checked their settings: of them, shapes will do.

    Raises:
        ValueError: if the family cannot be drawn from or handed to JAX, or what it draws
            is no MDP in `dtype`.
    """
    name = type(family).__name__
    if isinstance(family, type) or not callable(getattr(family, "sample", None)):
        raise ValueError(f"family must be an object with a method sample, got {family!r}")
    for leaf in jax.tree.leaves(family):
        if not eqx.is_array_like(leaf) and type(leaf).__hash__ is None:
            raise ValueError(
                f"family must be an equinox.Module or a frozen dataclass, since JAX has to "
                f"compare it with others, got {name}, which has no hash"
            )
    if type(family).__module__ == __name__:
        return jax.eval_shape(lambda key: family.sample(key, dtype), key)
    member = family.sample(key, dtype)
    if not isinstance(member, TabularMDP):
        raise ValueError(f"family must draw a TabularMDP, got {type(member).__name__} of {name}")
    for field in ("transition", "reward", "initial", "gamma"):
        found = getattr(member, field).dtype
        if found != jnp.dtype(dtype):
            raise ValueError(
                f"family must draw {jnp.dtype(dtype)}, got {found} in {name}'s {field}"
            )
    return member


class _Family(eqx.Module):
    """What the library's own families have in common."""

    @classmethod
    def name(cls) -> str:
        """The family's name in specifications: its class name in kebab case, less "MDPs"."""
        return kebab_case(cls.__name__.removesuffix("MDPs"))

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""


class Fixed(_Family):
    """The family of one MDP: every draw is the same.

    Args:
        mdp: the one.
    """

    mdp: TabularMDP

    def __check_init__(self) -> None:
        if not isinstance(self.mdp, TabularMDP):
            raise ValueError(f"mdp must be a TabularMDP, got {type(self.mdp).__name__}")

    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        def cast(leaf: Array) -> Array:
            return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return jax.tree.map(cast, self.mdp)


RewardLaw = Literal["uniform", "normal", "sparse", "state-action"]


class RandomMDPs(_Family):
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


class _OtherMDPs(_Family):
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


FAMILIES = {
    family.name(): family for family in (RandomMDPs, SparseMDPs, DeterministicMDPs, ChainMDPs)
}
"""The families that a few numbers describe, by their names in a sweep's specification."""
