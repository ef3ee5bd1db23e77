"""What rules share whose values are linear in features φ, of states or of actions.

`now` holds φ_i and `then` φ_{i+1}, one row for each transition of a window.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.traces import discounted_sums, eligibility_traces
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule, probability, step_size


class LinearRule(Rule):
    """The values are wᵀφ: p = 2d + 1 and q = d, unless a rule says otherwise."""

    d: eqx.AbstractVar[int]
    alpha: eqx.AbstractVar[float]

    @property
    def p(self) -> int:
        return 2 * self.d + 1

    @property
    def q(self) -> int:
        return self.d

    @abc.abstractmethod
    def along(
        self, features: Features, window: Window
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """φ_i and φ_{i+1}, one row each for each transition of the window.

        Raises:
            ValueError: if a state or an action of the window does not exist.
        """

    def tokens(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ_{i+1} ; r_{i+1}], eq. (4)."""
        now, then = self.along(features, window)
        return jnp.concatenate(
            [now, window.discounts[:, None] * then, window.rewards[:, None]], axis=1
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Eq. (5): P⋆12 w̃ = [−w ; w ; 1] and V̄⋆21 = [αI, 0, 0]."""
        d = self.d
        return Effective(
            identity_blocks([[0, -1], [0, 1], [1, 0]], (d, d, 1), (1, d), dtype),
            identity_blocks([[self.alpha, 0, 0]], (d,), (d, d, 1), dtype),
        )


class TraceRule(LinearRule):
    """An accumulating trace that starts with the window, with w held still inside it.

        w + (α/n) Σ_i δ_i z_i,   z_i = γλ z_{i−1} + φ_i,   z_{−1} = 0.

    The trace is in the token, and is cut where an episode ends; p = 3d + 1 and q = d.

    Args:
        lam: trace decay λ in [0, 1].
    """

    lam: float = probability(0.8)

    @property
    def p(self) -> int:
        return 3 * self.d + 1

    def tokens(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ_{i+1} ; r_{i+1} ; z_i]."""
        now, _ = self.along(features, window)
        traces = eligibility_traces(now, self.lam * window.trace_discounts)
        return jnp.concatenate([super().tokens(features, u, window), traces], axis=1)

    def teacher(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """The forward view: w + (α/n) Σ (G^λ_i − v_i) φ_i, with λ-returns cut at the window's end.

        G^λ_i − v_i = δ_i + γλ (G^λ_{i+1} − v_{i+1}) while w stands still.
        """
        now, then = self.along(features, window)
        td_errors = window.rewards + window.discounts * (then @ u) - now @ u
        errors = discounted_sums(td_errors, self.lam * window.trace_discounts)
        return u + self.alpha * (errors @ now) / errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [0, 0, 0, αI]."""
        heights = (self.d, self.d, 1, self.d)
        return Effective(
            identity_blocks([[0, -1], [0, 1], [1, 0], [0, 0]], heights, (1, self.d), dtype),
            identity_blocks([[0, 0, 0, self.alpha]], (self.d,), heights, dtype),
        )


class DifferentialRule(LinearRule):
    """The average reward r̄ as one more parameter, u = [w ; r̄] (Sutton and Barto 2018, §10.3).

        w + (α/n) Σ_i δ_i φ_i  and  r̄ + (β/n) Σ_i δ_i,
        δ_i = r_{i+1} − r̄ + wᵀφ_{i+1} − wᵀφ_i.

    The token has a constant 1, which P⋆12 meets with −r̄. The setting is
    continuing and has no discount: γ is not used, and an episode's end is a step
    like any other, to the state in which the next one begins. p = 2d + 2 and
    q = d + 1.

    Args:
        beta: step size β > 0 of r̄.
    """

    beta: float = step_size(0.2)

    @property
    def p(self) -> int:
        return 2 * self.d + 2

    @property
    def q(self) -> int:
        return self.d + 1

    def tokens(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; φ_{i+1} ; r_{i+1} ; 1]."""
        (now, then), rewards = self.along(features, window), window.rewards[:, None]
        return jnp.concatenate([now, then, rewards, jnp.ones_like(rewards)], axis=1)

    def teacher(
        self, features: Features, u: Float[Array, " q"], window: Window
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
        d, heights = self.d, (self.d, self.d, 1, 1)
        rows = [[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, -1]]
        return Effective(
            identity_blocks(rows, heights, (1, d, 1), dtype),
            identity_blocks([[self.alpha, 0, 0, 0], [0, 0, 0, self.beta]], (d, 1), heights, dtype),
        )
