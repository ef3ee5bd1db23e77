"""SARSA(λ): SARSA with a trace of the pairs that led here."""

from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.experience.traces import discounted_sums
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import probability
from icrl_flax.rules.control import ActionValueRule
from icrl_flax.rules.linear import trace_tokens, trace_weights


class SarsaLambda(ActionValueRule):
    """SARSA(λ) with an accumulating trace that starts with the window.

    Sutton and Barto (2018), §12.7, with w held still inside the window:

        w + (α/n) Σ_i δ_i z_i,   z_i = γλ z_{i−1} + φ(s_i, a_i),   z_{−1} = 0.

    The trace is in the token, and is cut where an episode ends. All else is as in
    `Sarsa`; p = 3d + 1 and q = d.

    Args:
        lam: trace decay λ in [0, 1].
    """

    lam: float = probability(0.8)

    @property
    def p(self) -> int:
        return 3 * self.d + 1

    def tokens(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ⁺_i ; r_{i+1} ; z_i]."""
        return trace_tokens(*self.along(features, window), self.lam, window)

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """The forward view: w + (α/n) Σ (G^λ_i − q_i) φ_i, with λ-returns cut at the window's end.

        G^λ_i − q_i = δ_i + γλ (G^λ_{i+1} − q_{i+1}) while w stands still.
        """
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        errors = discounted_sums(td_errors, self.lam * window.trace_discounts)
        return u + self.alpha * (errors @ now) / errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [0, 0, 0, αI]."""
        return trace_weights(self.d, self.alpha, dtype)
