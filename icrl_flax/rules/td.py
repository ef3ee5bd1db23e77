"""TD(0): predicting the values of a policy that does not change."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.policies import softmax
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Rule


class PredictionFeatures(NamedTuple):
    """Features, and the policy whose values are learnt.

    Attributes:
        phi: φ, indexed `[s]`.
        logits: those of the policy to predict, indexed `[s, a]`.
    """

    phi: Float[Array, "S d"]
    logits: Float[Array, "S A"]


class Td(Rule):
    """v_w(s) = wᵀφ(s), moved towards the values of a policy held in the features.

    Semi-gradient TD(0) (Sutton and Barto 2018, §9.3), a batch at a time:

        w + (α/n) Σ_i δ_i φ(s_i),   δ_i = r_{i+1} + γ wᵀφ(s_{i+1}) − wᵀφ(s_i).

    p = 2d + 1 and q = d. Features and the first w have entries uniform on
    (−1, 1); the policy's rows are Dirichlet(1, …, 1). With ε > 0 the values are
    those of the ε-mixed policy, for that is what acts.

    Args:
        d: number of features.
        alpha: step size α > 0.
        epsilon: probability ε in [0, 1] of a uniform action.
    """

    d: int = eqx.field(static=True, default=9)
    alpha: float = 0.2
    epsilon: float = 0.0

    def __check_init__(self) -> None:
        _checks.positive_integer("d", self.d)
        _checks.positive("alpha", self.alpha)
        _checks.probability("epsilon", self.epsilon)

    @property
    def p(self) -> int:
        return 2 * self.d + 1

    @property
    def q(self) -> int:
        return self.d

    def sample_features(
        self, key: Key[Array, ""], n_states: int, n_actions: int, dtype: DTypeLike
    ) -> PredictionFeatures:
        phi_key, policy_key = jax.random.split(key)
        return PredictionFeatures(
            phi=uniform(phi_key, (n_states, self.d), dtype, -1, 1),
            # Logarithms of exponentials, whose softmax has the flat Dirichlet law.
            logits=-jax.random.gumbel(policy_key, (n_states, n_actions), dtype),
        )

    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " q"]:
        return jax.random.uniform(key, (self.q,), dtype, -1, 1)

    def policy(self, features: PredictionFeatures, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        return softmax(features.logits)

    def importance_ratios(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " n"]:
        """ρ_i = π(a_i|s_i) / b(a_i|s_i): the policy without over that with exploration."""
        at = window.states[:-1], window.actions[:-1]
        return self.policy(features, u)[at] / self.behaviour(features, u)[at]

    def tokens(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γφ_{i+1} ; r_{i+1}]."""
        phi = features.phi[window.states]
        return jnp.concatenate(
            [phi[:-1], window.discounts[:, None] * phi[1:], window.rewards[:, None]], axis=1
        )

    def teacher(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """w + (α/n) Σ δ_i φ_i."""
        phi = features.phi[window.states]
        values = phi @ u
        td_errors = window.rewards + window.discounts * values[1:] - values[:-1]
        return u + self.alpha * (td_errors @ phi[:-1]) / td_errors.shape[0]

    def optimum(self, dtype: DTypeLike) -> Effective:
        """P⋆12 w̃ = [−w ; w ; 1] and V̄⋆21 = [αI, 0, 0]: actor-critic's without the actor."""
        d = self.d
        return Effective(
            identity_blocks([[0, -1], [0, 1], [1, 0]], (d, d, 1), (1, d), dtype),
            identity_blocks([[self.alpha, 0, 0]], (d,), (d, d, 1), dtype),
        )

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> "Td":
        return cls(d=int(rng.integers(1, largest + 1)), alpha=float(rng.uniform(0.01, 2)))
