"""Differential TD: prediction when every reward counts alike, however late."""

from typing import ClassVar

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import step_size
from icrl_flax.rules.linear import differential_tokens, differential_weights
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule


class DifferentialTd(PredictionRule):
    """TD(0) for the average reward r̄, one more parameter: u = [w ; r̄].

    Sutton and Barto (2018), §10.3:

        w + (α/n) Σ_i δ_i φ(s_i)  and  r̄ + (β/n) Σ_i δ_i,
        δ_i = r_{i+1} − r̄ + wᵀφ(s_{i+1}) − wᵀφ(s_i).

    The token has a constant 1, which P⋆12 meets with −r̄. The setting is
    continuing and has no discount: γ is not used, and an episode's end is a step
    like any other, to the state in which the next one begins. p = 2d + 2 and
    q = d + 1.

    Args:
        beta: step size β > 0 of r̄.
    """

    discounted: ClassVar[bool] = False
    beta: float = step_size(0.2)

    @property
    def p(self) -> int:
        return 2 * self.d + 2

    @property
    def q(self) -> int:
        return self.d + 1

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; φ_{i+1} ; r_{i+1} ; 1]."""
        return differential_tokens(*self.along(features, window), window)

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """Both parameters follow δ_i = r_{i+1} − r̄ + v_{i+1} − v_i."""
        (now, then), w, average = self.along(features, window), u[:-1], u[-1]
        td_errors = window.rewards - average + then @ w - now @ w
        n = td_errors.shape[0]
        return jnp.append(
            w + self.alpha * (td_errors @ now) / n, average + self.beta * td_errors.sum() / n
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1 ; −r̄] and V̄⋆21 = [[αI, 0, 0, 0], [0, 0, 0, β]]."""
        return differential_weights(self.d, self.alpha, self.beta, dtype)
