"""Off-policy TD(0): predicting one policy from what another did."""

from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.off_policy import OffPolicyRule
from icrl_flax.rules.prediction import PredictionFeatures


class OffPolicyTd(OffPolicyRule):
    """TD(0) for π while b, π mixed with ε-uniform, acts: each transition weighs ρ_i.

    Sutton and Barto (2018), §11.1:

        w + (α/n) Σ_i ρ_i δ_i φ(s_i),   ρ_i = π(a_i|s_i) / b(a_i|s_i) ≤ 1 / (1 − ε).

    The weights of the block are those of `Td`, and so are p and q.
    """

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w + (α/n) Σ ρ_i δ_i φ_i."""
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        ratios = self.importance_ratios(features, u, window)
        return u + self.alpha * ((ratios * td_errors) @ now) / td_errors.shape[0]
