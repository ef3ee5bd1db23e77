"""Differential SARSA: control when every reward counts alike, however late."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.window import Window
from icrl_flax.rules.sarsa import Sarsa


class DifferentialSarsa(Sarsa):
    """SARSA for the average reward r̄, one more parameter: u = [w ; r̄].

    Sutton and Barto (2018), §10.3:

        w + (α/n) Σ_i δ_i φ(s_i, a_i)  and  r̄ + (β/n) Σ_i δ_i,
        δ_i = r_{i+1} − r̄ + wᵀφ(s_{i+1}, a_{i+1}) − wᵀφ(s_i, a_i).

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

    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " q"]:
        return jax.random.uniform(key, (self.q,), dtype, -1, 1)

    def policy(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"]
    ) -> Float[Array, "S A"]:
        return super().policy(features, u[:-1])

    def tokens(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; φ⁺_i ; r_{i+1} ; 1]."""
        phi, rewards = features[window.states, window.actions], window.rewards[:, None]
        return jnp.concatenate([phi[:-1], phi[1:], rewards, jnp.ones_like(rewards)], axis=1)

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """Both parameters follow δ_i = r_{i+1} − r̄ + q_{i+1} − q_i."""
        phi, w, average = features[window.states, window.actions], u[:-1], u[-1]
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
    def draw(cls, rng: np.random.Generator, largest: int) -> Sarsa:
        return dataclasses.replace(super().draw(rng, largest), beta=float(rng.uniform(0.01, 2)))
