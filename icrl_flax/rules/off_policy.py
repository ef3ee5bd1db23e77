"""What rules share that predict one policy from what another did."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import probability, step_size
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class OffPolicyRule(PredictionRule):
    """π is predicted while b, π mixed with ε-uniform, acts: ρ_i = π(a_i|s_i) / b(a_i|s_i).

    The update is quadratic in the token, so a weight ρ_i is a token times its square root.
    """

    off_policy: ClassVar[bool] = True
    epsilon: float = probability(0.5)

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = √ρ_i [φ_i ; γφ_{i+1} ; r_{i+1}]."""
        ratios = self.importance_ratios(features, u, window)
        return jnp.sqrt(ratios)[:, None] * super().tokens(features, u, window)


class GradientTdRule(OffPolicyRule):
    """Gradient descent on the projected Bellman error, in two time scales: u = [w ; v].

    v + (β/n) Σ_i ρ_i (δ_i − φ_iᵀv) φ_i estimates which combination of the features
    predicts δ. That takes two scalars for each transition, δ_i and φ_iᵀv, hence two
    heads. p = 2d + 1 and q = 2d. How w moves, a rule says.

    Args:
        beta: step size β > 0 of v.
    """

    beta: float = step_size(0.2)

    @property
    def q(self) -> int:
        return 2 * self.d

    @property
    def heads(self) -> int:
        return 2

    @abc.abstractmethod
    def change_of_w(
        self,
        now: Float[Array, "n d"],
        then: Float[Array, "n d"],
        td_errors: Float[Array, " n"],
        expected: Float[Array, " n"],
    ) -> Float[Array, " d"]:
        """The sum over transitions of φ_i, γφ_{i+1}, and δ_i and φ_iᵀv times ρ_i."""

    @abc.abstractmethod
    def rows_of_w(self) -> tuple[list[Any], list[Any]]:
        """What V̄⋆21 adds to w, as multiples of [φ_i ; γφ_{i+1} ; r_{i+1}], for δ_i and φ_iᵀv."""

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w as the rule says, and v the regression of δ_i on φ_i."""
        w, v = u[: self.d], u[self.d :]
        now, then = self.along(features, window)
        then = window.discounts[:, None] * then
        td_errors = window.rewards + then @ w - now @ w
        ratios, expected = self.importance_ratios(features, u, window), now @ v
        n = td_errors.shape[0]
        change_w = self.change_of_w(now, then, ratios * td_errors, ratios * expected)
        change_v = (ratios * (td_errors - expected)) @ now
        return jnp.concatenate([w + self.alpha * change_w / n, v + self.beta * change_v / n])

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Head 1 for δ_i: P⋆12 w̃ = [−w ; w ; 1]; head 2 for φ_iᵀv: P⋆12 w̃ = [v ; 0 ; 0]."""
        d, tall = self.d, (self.d, self.d, 1)
        error, expected = [[0, -1, 0], [0, 1, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
        rows = zip(self.rows_of_w(), ([self.beta, 0, 0], [-self.beta, 0, 0]), strict=True)
        return Effective(
            jnp.stack([identity_blocks(x, tall, (1, d, d), dtype) for x in (error, expected)]),
            jnp.stack([identity_blocks(x, (d, d), tall, dtype) for x in rows]),
        )
