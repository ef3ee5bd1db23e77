"""Batch semi-gradient SARSA (eqs. 2 and 4, Theorem 3.1)."""

from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.control import ActionValueRule


class Sarsa(ActionValueRule):
    """Batch SARSA, the paper's first rule; its token is eq. (4), its weights eq. (5).

        w + (α/n) Σ_i δ_i φ_i,   δ_i = r_{i+1} + γ wᵀφ⁺_i − wᵀφ_i.

    p = 2d + 1 and q = d.
    """

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " d"], window: Window
    ) -> Float[Array, " d"]:
        """Eq. (2): w + (α/n) Σ δ_i φ_i, with the recorded next action in δ_i."""
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        return u + self.alpha * (td_errors @ now) / td_errors.shape[0]
