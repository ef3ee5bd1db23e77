"""What one in-context reinforcement-learning rule has to say about itself.

A rule is a way to write a transition down as a token, and two matrices. With
w̃ = [1 ; u], one block with P12 = P⋆12 and V̄21 = V̄⋆21 computes

    u + (1/n) Σ_i (V̄⋆21 x_i) (x_iᵀ P⋆12 w̃):

a scalar error for each transition, linear in the parameters, times a linear
image of the same token. A rule that needs several such terms has several heads.
Everything else (the block, its layout, training,
checkpoints, verification, plots) is written once, over p and q.

To add a rule, put one file into `icrl_flax/rules/` that defines one
subclass of `Rule`; the command line finds it there by itself.
"""

import abc
import re
from typing import Any

import equinox as eqx
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax.attention.weights import Effective
from icrl_flax.experience.policies import epsilon_mix
from icrl_flax.experience.window import Window

Features = Any
"""A rule's feature tables: whatever pytree of arrays its methods agree on."""


def kebab_case(name: str) -> str:
    """The name of a class, its words in lower case with hyphens between them."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


class Rule(eqx.Module):
    """One rule: its features, behaviour, token, teacher and construction.

    Subclasses are frozen dataclasses. Sizes are static fields, step sizes and ε
    ordinary ones, so that a sweep over step sizes can be vmapped.
    """

    epsilon: eqx.AbstractVar[float]
    """Probability in [0, 1] of a uniform action while it gathers experience."""

    @classmethod
    def name(cls) -> str:
        """The rule's name on the command line: its class name in kebab case."""
        return kebab_case(cls.__name__)

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

    @abc.abstractmethod
    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " q"]:
        """u before the first window of one MDP."""

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

    @classmethod
    @abc.abstractmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> "Rule":
        """A member with random sizes ≤ `largest` and random step sizes, for verification."""
