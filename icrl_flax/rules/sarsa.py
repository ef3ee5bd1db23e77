"""Batch semi-gradient SARSA (eqs. 2 and 4, Theorem 3.1)."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.attention.weights import Effective
from icrl_flax.experience.policies import greedy
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Rule


class Sarsa(Rule):
    """q_w(s, a) = wᵀφ(s, a), improved on the policy that acts: ε-greedy on q_w.

    p = 2d + 1 and q = d. Features are a table φ indexed `[s, a]`, with entries
    uniform on (−1, 1), as is w before the first window (paper §4). One-hot
    features, one for each pair (s, a), make it tabular SARSA.

    Args:
        d: number of features.
        alpha: step size α > 0.
        epsilon: probability ε in [0, 1] of a uniform action.
        features: their law; one-hot ones need d = S·A.
    """

    d: int = eqx.field(static=True, default=36)
    alpha: float = 0.2
    epsilon: float = 0.1
    features: Literal["uniform", "one-hot"] = eqx.field(static=True, default="uniform")

    def __check_init__(self) -> None:
        _checks.positive_integer("d", self.d)
        _checks.positive("alpha", self.alpha)
        _checks.probability("epsilon", self.epsilon)
        _checks.one_of("features", self.features, ("uniform", "one-hot"))

    @property
    def p(self) -> int:
        return 2 * self.d + 1

    @property
    def q(self) -> int:
        return self.d

    def sample_features(
        self, key: Key[Array, ""], n_states: int, n_actions: int, dtype: DTypeLike
    ) -> Float[Array, "S A d"]:
        """Fresh φ for one MDP.

        Raises:
            ValueError: if features are one-hot and d is not S·A.
        """
        if self.features == "one-hot":
            pairs = n_states * n_actions
            if self.d != pairs:
                raise ValueError(f"d must be S·A = {pairs} for one-hot features, got {self.d}")
            return jnp.eye(pairs, dtype=dtype).reshape(n_states, n_actions, pairs)
        return uniform(key, (n_states, n_actions, self.d), dtype, -1, 1)

    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " d"]:
        return jax.random.uniform(key, (self.d,), dtype, minval=-1, maxval=1)

    def policy(
        self, features: Float[Array, "S A d"], u: Float[Array, " d"]
    ) -> Float[Array, "S A"]:
        return greedy(features @ u)

    def tokens(
        self, features: Float[Array, "S A d"], u: Float[Array, " d"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ⁺_i ; r_{i+1}], eq. (4)."""
        phi = features[window.states, window.actions]
        return jnp.concatenate(
            [phi[:-1], window.discounts[:, None] * phi[1:], window.rewards[:, None]], axis=1
        )

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " d"], window: Window
    ) -> Float[Array, " d"]:
        """Eq. (2): w + (α/n) Σ δ_i φ_i, with the recorded next action in δ_i."""
        phi = features[window.states, window.actions]
        values = phi @ u
        td_errors = window.rewards + window.discounts * values[1:] - values[:-1]
        return u + self.alpha * (td_errors @ phi[:-1]) / td_errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Eq. (5): P⋆12 w̃ = [−w ; w ; 1] and V̄⋆21 = [αI, 0, 0]."""
        d = self.d
        eye = jnp.eye(d, dtype=dtype)
        P12 = jnp.zeros((self.p, d + 1), dtype)
        P12 = P12.at[:d, 1:].set(-eye).at[d : 2 * d, 1:].set(eye).at[2 * d, 0].set(1)
        V21 = jnp.zeros((d, self.p), dtype).at[:, :d].set(self.alpha * eye)
        return Effective(P12, V21)

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> "Sarsa":
        return cls(d=int(rng.integers(1, largest + 1)), alpha=float(rng.uniform(0.01, 2)))
