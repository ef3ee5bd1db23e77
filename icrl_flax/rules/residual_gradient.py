"""Residual gradient: true gradient descent on the squared TD error."""

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class ResidualGradient(PredictionRule):
    """Descends ½δ² through both of its values (Baird 1995).

        w + (α/n) Σ_i δ_i (φ_i − γφ_{i+1}).

    Token and TD error are those of `Td`; only V̄⋆21 differs. With one successor
    for each transition it heads for the least mean squared TD error, which in a
    random environment is not the policy's values (Sutton and Barto 2018, §11.5).
    """

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w − (α/n) Σ ∇ ½δ_i²."""
        now, then = self.along(features, window)
        differences = now - window.discounts[:, None] * then
        td_errors = window.rewards - differences @ u
        return u + self.alpha * (td_errors @ differences) / td_errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 of TD(0), and V̄⋆21 = α[I, −I, 0]."""
        d = self.d
        return Effective(
            super().optimum(dtype).P12,
            identity_blocks([[self.alpha, -self.alpha, 0]], (d,), (d, d, 1), dtype),
        )
