"""TD(0): predicting the values of a policy that does not change."""

from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class Td(PredictionRule):
    """Semi-gradient TD(0), a batch at a time.

    Sutton and Barto (2018), §9.3:

        w + (α/n) Σ_i δ_i φ(s_i),   δ_i = r_{i+1} + γ wᵀφ(s_{i+1}) − wᵀφ(s_i).

    With ε > 0 the values are those of the ε-mixed policy, for that is what acts.
    The weights are actor-critic's without the actor; p = 2d + 1 and q = d.
    """

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w + (α/n) Σ δ_i φ_i."""
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        return u + self.alpha * (td_errors @ now) / td_errors.shape[0]
