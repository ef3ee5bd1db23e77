"""GTD2: prediction that stays stable off policy, first of two."""

from typing import ClassVar

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import probability, step_size
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class Gtd2(PredictionRule):
    """Gradient descent on the projected Bellman error, in two time scales.

    Sutton et al. (2009), GTD2. u = [w ; v]; with ρ_i = π(a_i|s_i) / b(a_i|s_i) as in
    `OffPolicyTd`,

        w + (α/n) Σ_i ρ_i (φ_iᵀv) (φ_i − γφ_{i+1}),
        v + (β/n) Σ_i ρ_i (δ_i − φ_iᵀv) φ_i,

    where v estimates which combination of the features predicts δ. That takes two
    scalars for each transition, δ_i and φ_iᵀv, hence two heads. p = 2d + 1 and
    q = 2d.

    Args:
        beta: step size β > 0 of v.
    """

    off_policy: ClassVar[bool] = True
    epsilon: float = probability(0.5)
    beta: float = step_size(0.2)

    @property
    def q(self) -> int:
        return 2 * self.d

    @property
    def heads(self) -> int:
        return 2

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = √ρ_i [φ_i ; γφ_{i+1} ; r_{i+1}]."""
        ratios = self.importance_ratios(features, u, window)
        return jnp.sqrt(ratios)[:, None] * super().tokens(features, u, window)

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w follows (φ_iᵀv)(φ_i − γφ_{i+1}), and v the regression of δ_i on φ_i."""
        w, v = u[: self.d], u[self.d :]
        now, then = self.along(features, window)
        then = window.discounts[:, None] * then
        td_errors = window.rewards + then @ w - now @ w
        ratios, expected = self.importance_ratios(features, u, window), now @ v
        n = td_errors.shape[0]
        change_w = (ratios * expected) @ (now - then)
        change_v = (ratios * (td_errors - expected)) @ now
        return jnp.concatenate([w + self.alpha * change_w / n, v + self.beta * change_v / n])

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Head 1 for δ_i: P⋆12 w̃ = [−w ; w ; 1]; head 2 for φ_iᵀv: P⋆12 w̃ = [v ; 0 ; 0]."""
        d, a, b = self.d, self.alpha, self.beta
        tall, wide, parameters = (d, d, 1), (1, d, d), (d, d)
        return Effective(
            jnp.stack(
                [
                    identity_blocks([[0, -1, 0], [0, 1, 0], [1, 0, 0]], tall, wide, dtype),
                    identity_blocks([[0, 0, 1], [0, 0, 0], [0, 0, 0]], tall, wide, dtype),
                ]
            ),
            jnp.stack(
                [
                    identity_blocks([[0, 0, 0], [b, 0, 0]], parameters, tall, dtype),
                    identity_blocks([[a, -a, 0], [-b, 0, 0]], parameters, tall, dtype),
                ]
            ),
        )
