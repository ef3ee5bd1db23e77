"""Differential TD: prediction when every reward counts alike, however late."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.td import PredictionFeatures, Td


class DifferentialTd(Td):
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

    beta: float = 0.2

    def __check_init__(self) -> None:
        _checks.positive("beta", self.beta)

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
        phi, rewards = features.phi[window.states], window.rewards[:, None]
        return jnp.concatenate([phi[:-1], phi[1:], rewards, jnp.ones_like(rewards)], axis=1)

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """Both parameters follow δ_i = r_{i+1} − r̄ + v_{i+1} − v_i."""
        phi, w, average = features.phi[window.states], u[:-1], u[-1]
        values = phi @ w
        td_errors = window.rewards - average + values[1:] - values[:-1]
        n = td_errors.shape[0]
        return jnp.append(
            w + self.alpha * (td_errors @ phi[:-1]) / n, average + self.beta * td_errors.sum() / n
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1 ; −r̄] and V̄⋆21 = [[αI, 0, 0, 0], [0, 0, 0, β]]."""
        d = self.d
        return Effective(
            identity_blocks(
                [[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, -1]], (d, d, 1, 1), (1, d, 1), dtype
            ),
            identity_blocks(
                [[self.alpha, 0, 0, 0], [0, 0, 0, self.beta]], (d, 1), (d, d, 1, 1), dtype
            ),
        )

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> Td:
        return dataclasses.replace(super().draw(rng, largest), beta=float(rng.uniform(0.01, 2)))
