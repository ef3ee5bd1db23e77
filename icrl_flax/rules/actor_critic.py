"""Batch actor-critic (eqs. 3 and 13, Theorem 3.3)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.attention.weights import Effective
from icrl_flax.experience.policies import softmax
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Rule


class ActorCriticFeatures(NamedTuple):
    """The features of the two parts.

    Attributes:
        actor: φ_π, indexed `[s, a]`.
        critic: φ_V, indexed `[s]`.
    """

    actor: Float[Array, "S A m"]
    critic: Float[Array, "S d"]


def score(
    preference_features: Float[Array, "S A m"], lam: Float[Array, " m"]
) -> Float[Array, "S A m"]:
    """g_λ(s, a) = φ_π(s, a) − Σ_b π_λ(b|s) φ_π(s, b) = ∇_λ log π_λ(a|s), as a table `[s, a]`."""
    pi = softmax(preference_features @ lam)
    mean = jnp.einsum("sb,sbm->sm", pi, preference_features)
    return preference_features - mean[:, None, :]


class ActorCritic(Rule):
    """A softmax actor, improved by the TD errors of a linear critic v_w(s) = wᵀφ_V(s).

    u = [λ ; w]; p = 2d + m + 1 and q = d + m. All features and both parameters
    before the first window have entries uniform on (−1, 1) (paper §4).

    Args:
        m: number of the actor's features.
        d: number of the critic's features.
        alpha: step size α > 0 of the actor.
        beta: step size β > 0 of the critic.
        epsilon: probability ε in [0, 1] of a uniform action.
    """

    m: int = eqx.field(static=True, default=36)
    d: int = eqx.field(static=True, default=9)
    alpha: float = 0.2
    beta: float = 0.8
    epsilon: float = 0.1

    def __check_init__(self) -> None:
        for name in ("m", "d"):
            _checks.positive_integer(name, getattr(self, name))
        for name in ("alpha", "beta"):
            _checks.positive(name, getattr(self, name))
        _checks.probability("epsilon", self.epsilon)

    @property
    def p(self) -> int:
        return 2 * self.d + self.m + 1

    @property
    def q(self) -> int:
        return self.d + self.m

    def sample_features(
        self, key: Key[Array, ""], n_states: int, n_actions: int, dtype: DTypeLike
    ) -> ActorCriticFeatures:
        actor_key, critic_key = jax.random.split(key)
        return ActorCriticFeatures(
            uniform(actor_key, (n_states, n_actions, self.m), dtype, -1, 1),
            uniform(critic_key, (n_states, self.d), dtype, -1, 1),
        )

    def sample_parameters(self, key: Key[Array, ""], dtype: DTypeLike) -> Float[Array, " q"]:
        return jax.random.uniform(key, (self.q,), dtype, -1, 1)

    def policy(self, features: ActorCriticFeatures, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        return softmax(features.actor @ u[: self.m])

    def tokens(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_V(s_i) ; γφ_V(s_{i+1}) ; r_{i+1} ; γ^i g_λ(s_i, a_i)], eq. (13)."""
        phi = features.critic[window.states]
        g = score(features.actor, u[: self.m])[window.states[:-1], window.actions[:-1]]
        return jnp.concatenate(
            [
                phi[:-1],
                window.discounts[:, None] * phi[1:],
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
        phi = features.critic[window.states]
        values = phi @ w
        td_errors = window.rewards + window.discounts * values[1:] - values[:-1]
        g = score(features.actor, lam)[window.states[:-1], window.actions[:-1]]
        n = td_errors.shape[0]
        return jnp.concatenate(
            [
                lam + self.alpha * ((window.elapsed_discounts * td_errors) @ g) / n,
                w + self.beta * (td_errors @ phi[:-1]) / n,
            ]
        )

    def optimum(self, dtype: DTypeLike) -> Effective:
        """Eq. (14): P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [[0, 0, 0, αI], [βI, 0, 0, 0]]."""
        m, d = self.m, self.d
        eye = jnp.eye(d, dtype=dtype)
        P12 = jnp.zeros((self.p, self.q + 1), dtype)
        P12 = P12.at[:d, 1 + m :].set(-eye).at[d : 2 * d, 1 + m :].set(eye).at[2 * d, 0].set(1)
        V21 = jnp.zeros((self.q, self.p), dtype)
        V21 = V21.at[:m, 2 * d + 1 :].set(self.alpha * jnp.eye(m, dtype=dtype))
        V21 = V21.at[m:, :d].set(self.beta * eye)
        return Effective(P12, V21)

    @classmethod
    def draw(cls, rng: np.random.Generator, largest: int) -> "ActorCritic":
        m, d = (int(size) for size in rng.integers(1, largest + 1, 2))
        alpha, beta = (float(step) for step in rng.uniform(0.01, 2, 2))
        return cls(m=m, d=d, alpha=alpha, beta=beta)
