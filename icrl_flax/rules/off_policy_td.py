"""Off-policy TD(0): predicting one policy from what another did."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.base import probability
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class OffPolicyTd(PredictionRule):
    """TD(0) for π while b, π mixed with ε-uniform, acts: each transition weighs ρ_i.

    Sutton and Barto (2018), §11.1:

        w + (α/n) Σ_i ρ_i δ_i φ(s_i),   ρ_i = π(a_i|s_i) / b(a_i|s_i) ≤ 1 / (1 − ε).

    The update is quadratic in the token, so a weight is a token times its square
    root; the weights of the block are those of `Td`, and so are p and q.
    """

    off_policy: ClassVar[bool] = True
    epsilon: float = probability(0.5)

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = √ρ_i [φ_i ; γφ_{i+1} ; r_{i+1}]."""
        ratios = self.importance_ratios(features, u, window)
        return jnp.sqrt(ratios)[:, None] * super().tokens(features, u, window)

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w + (α/n) Σ ρ_i δ_i φ_i."""
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        ratios = self.importance_ratios(features, u, window)
        return u + self.alpha * ((ratios * td_errors) @ now) / td_errors.shape[0]
