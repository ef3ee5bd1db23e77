"""What a family of MDPs is, and what the library's own have in common."""

import abc
import re
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Key

from icrl_flax.mdps.tabular import TabularMDP


def kebab_case(name: str) -> str:
    """The name of a class, its words in lower case with hyphens between them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


@runtime_checkable
class MDPFamily(Protocol):
    """A distribution of MDPs: anything that can draw one.

    A family may also have a method `with_features(key, mdp, features, rule)` that returns an
    MDP and features: it sees what features the agent has drawn, and can change either, as
    `RepresentableMDPs` changes the rewards and `BoyanChain` the features.
    """

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
    if type(family).__module__.startswith(f"{__package__}."):
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


class Family(eqx.Module):
    """What the library's own families have in common."""

    @classmethod
    def name(cls) -> str:
        """The family's name in specifications: its class name in kebab case, less "MDPs"."""
        return kebab_case(cls.__name__.removesuffix("MDPs"))

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> TabularMDP:
        """Draw one MDP of the family, its arrays in `dtype`."""


class Fixed(Family):
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
