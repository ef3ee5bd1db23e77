"""TD(λ): every TD error also pays the states before it."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.traces import discounted_sums, eligibility_traces
from icrl_flax.experience.window import Window
from icrl_flax.rules.td import PredictionFeatures, Td


class TdLambda(Td):
    """TD(λ) with an accumulating trace that starts with the window.

    Sutton and Barto (2018), §12.2, with w held still inside the window:

        w + (α/n) Σ_i δ_i z_i,   z_i = γλ z_{i−1} + φ_i,   z_{−1} = 0.

    The trace is in the token, and is cut where an episode ends. Features, policy
    and sampling are those of `Td`; p = 3d + 1 and q = d.

    Args:
        lam: trace decay λ in [0, 1].
    """

    lam: float = 0.8

    def __check_init__(self) -> None:
        _checks.probability("lam", self.lam)

    @property
    def p(self) -> int:
        return 3 * self.d + 1

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ_{i+1} ; r_{i+1} ; z_i]."""
        traces = eligibility_traces(features.phi[window.states[:-1]], self.lam * window.discounts)
        return jnp.concatenate([super().tokens(features, u, window), traces], axis=1)

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """The forward view: w + (α/n) Σ (G^λ_i − v_i) φ_i, with λ-returns cut at the window's end.

        G^λ_i − v_i = δ_i + γλ (G^λ_{i+1} − v_{i+1}) while w stands still.
        """
        phi = features.phi[window.states]
        values = phi @ u
        td_errors = window.rewards + window.discounts * values[1:] - values[:-1]
        errors = discounted_sums(td_errors, self.lam * window.discounts)
        return u + self.alpha * (errors @ phi[:-1]) / errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [0, 0, 0, αI]."""
        d = self.d
        return Effective(
            identity_blocks([[0, -1], [0, 1], [1, 0], [0, 0]], (d, d, 1, d), (1, d), dtype),
            identity_blocks([[0, 0, 0, self.alpha]], (d,), (d, d, 1, d), dtype),
        )

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> Td:
        return dataclasses.replace(super().draw(rng, largest), lam=float(rng.uniform()))
