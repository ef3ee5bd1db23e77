"""Gradient Monte Carlo: a rule in one file, put into `icrl_flax/rules/`."""

import jax.numpy as jnp

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.traces import discounted_sums
from icrl_flax.rules import PredictionRule


class GradientMonteCarlo(PredictionRule):
    """Prediction from returns alone: v moves towards what was earned to the window's end."""

    @property
    def p(self):
        return self.d + 1

    def tokens(self, features, u, window):
        """x_i = [φ_i ; G_i]."""
        returns = discounted_sums(window.rewards, window.discounts)
        return jnp.concatenate([features.phi[window.states[:-1]], returns[:, None]], axis=1)

    def teacher(self, features, u, window):
        """w + (α/n) Σ (G_i − wᵀφ_i) φ_i."""
        phi = features.phi[window.states[:-1]]
        errors = discounted_sums(window.rewards, window.discounts) - phi @ u
        return u + self.alpha * (errors @ phi) / errors.shape[0]

    def optimum(self, dtype):
        """P⋆12 w̃ = [−w ; 1] and V̄⋆21 = [αI, 0]."""
        d = self.d
        return Effective(
            identity_blocks([[0, -1], [1, 0]], (d, 1), (1, d), dtype),
            identity_blocks([[self.alpha, 0]], (d,), (d, 1), dtype),
        )
