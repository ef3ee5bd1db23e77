"""What one in-context reinforcement-learning rule has to say about itself.

A rule is a way to write a transition down as a token, and two matrices. With
w̃ = [1 ; u], one block with P12 = P⋆12 and V̄21 = V̄⋆21 computes

    u + (1/n) Σ_i (V̄⋆21 x_i) (x_iᵀ P⋆12 w̃):

a scalar error for each transition, linear in the parameters, times a linear
image of the same token. A rule that needs several such terms has several heads.
Everything else (the block, its layout, training,
checkpoints, verification, plots) is written once, over p and q.

To add a rule, put one file into `icrl_flax/rules/` that defines one
subclass of `Rule`; the command line finds it there by itself. Most rules are a
`PredictionRule`, an `ActionValueRule` or a `PolicyGradientRule`: these bases are
abstract, and rules are final, so that each says in one file what it computes.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.experience.policies import epsilon_mix
from icrl_flax.experience.window import Window
from icrl_flax.mdps.families import kebab_case

Features = Any
"""A rule's feature tables: whatever pytree of arrays its methods agree on."""


def size(default: int, most: int | None = None) -> Any:
    """A field that decides shapes: an integer of at least 1.

    Args:
        default: the field's default.
        most: verification draws no larger ones.
    """

    def draw(rng: np.random.Generator, largest: int) -> int:
        return int(rng.integers(1, min(largest, most or largest) + 1))

    metadata = {"check": _checks.positive_integer, "draw": draw}
    return eqx.field(static=True, default=default, metadata=metadata)


def step_size(default: float) -> Any:
    """A field that holds a positive number; another one compiles nothing."""

    def draw(rng: np.random.Generator, largest: int) -> float:
        return float(rng.uniform(0.01, 2))

    return eqx.field(default=default, metadata={"check": _checks.positive, "draw": draw})


def probability(default: float) -> Any:
    """A field that holds a number in [0, 1]; another one compiles nothing."""

    def draw(rng: np.random.Generator, largest: int) -> float:
        return float(rng.uniform(0, 0.9))  # importance ratios grow as 1 / (1 − ε)

    return eqx.field(default=default, metadata={"check": _checks.probability, "draw": draw})


class Rule(eqx.Module):
    """One rule: its features, behaviour, token, teacher and construction.

    Subclasses are frozen dataclasses. Their numbers are fields made by `size`,
    `step_size` and `probability`: those are checked, and drawn by `verify`.

    Raises:
        ValueError: if one of these numbers is out of range.
    """

    epsilon: eqx.AbstractVar[float]
    """Probability in [0, 1] of a uniform action while it gathers experience."""

    @classmethod
    def name(cls) -> str:
        """The rule's name on the command line: its class name in kebab case."""
        return kebab_case(cls.__name__)

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> "Rule":
        """A member with random sizes ≤ `largest` and random numbers, for verification.

        Fields that no function above has made keep their defaults.
        """
        laws = {field.name: field.metadata.get("draw") for field in dataclasses.fields(cls)}
        return cls(**{name: law(rng, largest) for name, law in laws.items() if law})

    def __check_init__(self) -> None:
        for field in dataclasses.fields(self):
            if "check" in field.metadata:
                field.metadata["check"](field.name, getattr(self, field.name))

    @property
    @abc.abstractmethod
    def p(self) -> int:
        """Height of a token x_i."""

    @property
    @abc.abstractmethod
    def q(self) -> int:
        """Number of parameters that the rule updates."""

    @property
    def D(self) -> int:
        """Height of the prompt, and of the square matrices P and V."""
        return self.p + self.q + 1

    @property
    def heads(self) -> int:
        """Number of heads that the construction needs; their updates add up."""
        return 1

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """Shape of P and of V: one head has no axis for it."""
        return (self.D, self.D) if self.heads == 1 else (self.heads, self.D, self.D)

    @abc.abstractmethod
    def sample_features(
        self, key: Key[Array, ""], n_states: int, n_actions: int, dtype: DTypeLike
    ) -> Features:
        """Fresh feature tables for one MDP."""

    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " q"]:
        """u before the first window of one MDP: entries uniform on (−1, 1) (paper §4)."""
        return jax.random.uniform(key, (self.q,), dtype, -1, 1)

    @abc.abstractmethod
    def policy(self, features: Features, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        """The table π(a|s) that u stands for, without exploration."""

    def behaviour(self, features: Features, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        """The table π(a|s) that acts for the next window: `policy`, mixed with ε-uniform."""
        return epsilon_mix(self.policy(features, u), self.epsilon)

    @abc.abstractmethod
    def tokens(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """The context columns, one row x_iᵀ per transition."""

    @abc.abstractmethod
    def teacher(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """The rule itself, as a textbook writes it: u after the window.

        It must not go through `tokens` or `optimum`: it is what they are held
        against.
        """

    @abc.abstractmethod
    def optimum(self, dtype: DTypeLike) -> Effective:
        """(P⋆12, V̄⋆21): the weights with which one block is this rule.

        With several heads both have a leading axis, the head.
        """
