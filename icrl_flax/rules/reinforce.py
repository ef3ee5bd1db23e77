"""REINFORCE with a linear baseline."""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.traces import discounted_sums
from icrl_flax.experience.window import Window
from icrl_flax.rules.control import ActorCriticFeatures, PolicyGradientRule


class Reinforce(PolicyGradientRule):
    """A softmax actor improved by returns, less a linear baseline v_w(s) = wᵀφ_V(s).

    Williams (1992); Sutton and Barto (2018), §13.4, on a batch of transitions:

        w + (β/n) Σ_i δ_i φ_V(s_i)  and  λ + (α/n) Σ_i γ^i δ_i g_λ(s_i, a_i),
        δ_i = G_i − wᵀφ_V(s_i),   G_i = r_{i+1} + γ r_{i+2} + … .

    The return G_i is in the token, as the score is. It ends with the episode, or
    with the window, whose end does not stand for anything: an unfinished return
    is too short by γ^{n−i} times the value that was left. p = d + m + 1.
    """

    @property
    def p(self) -> int:
        return self.d + self.m + 1

    def tokens(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_V(s_i) ; G_i ; γ^i g_λ(s_i, a_i)]."""
        g = self.scores_along(features, u, window)
        return jnp.concatenate(
            [
                features.critic[window.before[0]],
                discounted_sums(window.rewards, window.trace_discounts)[:, None],
                window.elapsed_discounts[:, None] * g,
            ],
            axis=1,
        )

    def teacher(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """Both parameters follow δ_i = G_i − v_i."""
        lam, w = u[: self.m], u[self.m :]
        phi = features.critic[window.before[0]]
        errors = discounted_sums(window.rewards, window.trace_discounts) - phi @ w
        g = self.scores_along(features, u, window)
        n = errors.shape[0]
        return jnp.concatenate(
            [
                lam + self.alpha * ((window.elapsed_discounts * errors) @ g) / n,
                w + self.beta * (errors @ phi) / n,
            ]
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; 1 ; 0] and V̄⋆21 = [[0, 0, αI], [βI, 0, 0]]."""
        m, d = self.m, self.d
        return Effective(
            identity_blocks([[0, 0, -1], [1, 0, 0], [0, 0, 0]], (d, 1, m), (1, m, d), dtype),
            identity_blocks([[0, 0, self.alpha], [self.beta, 0, 0]], (m, d), (d, 1, m), dtype),
        )
