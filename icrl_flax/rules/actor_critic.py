"""Batch actor-critic (eqs. 3 and 13, Theorem 3.3)."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.control import ActorCriticFeatures, PolicyGradientRule


class ActorCritic(PolicyGradientRule):
    """A softmax actor, improved by the TD errors of a linear critic: the paper's second rule.

    p = 2d + m + 1 and q = d + m.
    """

    @property
    def p(self) -> int:
        return 2 * self.d + self.m + 1

    def tokens(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_V(s_i) ; γφ_V(s_{i+1}) ; r_{i+1} ; γ^i g_λ(s_i, a_i)], eq. (13)."""
        now, then = self.along(features, window)
        g = self.scores_along(features, u, window)
        return jnp.concatenate(
            [
                now,
                window.discounts[:, None] * then,
                window.rewards[:, None],
                window.elapsed_discounts[:, None] * g,
            ],
            axis=1,
        )

    def teacher(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """Eq. (3): w + (β/n) Σ δ_i φ_V(s_i) and λ + (α/n) Σ γ^i δ_i g_λ(s_i, a_i)."""
        lam, w = u[: self.m], u[self.m :]
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ w) - now @ w
        g = self.scores_along(features, u, window)
        n = td_errors.shape[0]
        return jnp.concatenate(
            [
                lam + self.alpha * ((window.elapsed_discounts * td_errors) @ g) / n,
                w + self.beta * (td_errors @ now) / n,
            ]
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Eq. (14): P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [[0, 0, 0, αI], [βI, 0, 0, 0]]."""
        m, d = self.m, self.d
        rows, columns = (d, d, 1, m), (1, m, d)
        return Effective(
            identity_blocks([[0, 0, -1], [0, 0, 1], [1, 0, 0], [0, 0, 0]], rows, columns, dtype),
            identity_blocks([[0, 0, 0, self.alpha], [self.beta, 0, 0, 0]], (m, d), rows, dtype),
        )
