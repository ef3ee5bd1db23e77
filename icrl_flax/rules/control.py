"""What rules of control share: action values with a greedy policy, or a softmax actor."""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._draws import uniform
from icrl_flax.experience.policies import greedy, softmax
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Rule, probability, size, step_size
from icrl_flax.rules.linear import LinearRule


class ActionValueRule(LinearRule):
    """q_w(s, a) = wᵀφ(s, a), improved on the policy that acts: ε-greedy on q_w.

    Features are a table φ indexed `[s, a]`, with entries uniform on (−1, 1), as is w
    before the first window (paper §4). One-hot features, one for each pair (s, a), make
    a rule tabular. Unless a rule says otherwise, u = w and token and weights are
    SARSA's: p = 2d + 1 and q = d.

    Args:
        d: number of features.
        alpha: step size α > 0.
        epsilon: probability ε in [0, 1] of a uniform action.
        features: their law; one-hot ones need d = S·A.
    """

    d: int = size(36)
    alpha: float = step_size(0.2)
    epsilon: float = probability(0.1)
    features: Literal["uniform", "one-hot"] = eqx.field(static=True, default="uniform")

    def __check_init__(self) -> None:
        _checks.one_of("features", self.features, ("uniform", "one-hot"))

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

    def policy(
        self, features: Float[Array, "S A d"], u: Float[Array, " d"]
    ) -> Float[Array, "S A"]:
        return greedy(features @ u)

    def along(
        self, features: Float[Array, "S A d"], window: Window
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """φ_i = φ(s_i, a_i) and φ⁺_i = φ(s_{i+1}, a_{i+1}), one row each for each transition.

        Raises:
            ValueError: if a state or an action of the window does not exist.
        """
        window.check(*features.shape[:2])
        return features[window.before], features[window.after]


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


class PolicyGradientRule(Rule):
    """A softmax actor, improved by the errors of a linear critic v_w(s) = wᵀφ_V(s).

    u = [λ ; w] and q = d + m. All features and both parameters before the first window
    have entries uniform on (−1, 1) (paper §4).

    Args:
        m: number of the actor's features.
        d: number of the critic's features.
        alpha: step size α > 0 of the actor.
        beta: step size β > 0 of the critic.
        epsilon: probability ε in [0, 1] of a uniform action.
    """

    m: int = size(36)
    d: int = size(9)
    alpha: float = step_size(0.2)
    beta: float = step_size(0.8)
    epsilon: float = probability(0.1)

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

    def policy(self, features: ActorCriticFeatures, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        return softmax(features.actor @ u[: self.m])

    def along(
        self, features: ActorCriticFeatures, window: Window
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """φ_V(s_i) and φ_V(s_{i+1}), one row each for each transition.

        Raises:
            ValueError: if a state or an action of the window does not exist.
        """
        window.check(*features.actor.shape[:2])
        return features.critic[window.before[0]], features.critic[window.after[0]]

    def scores_along(
        self, features: ActorCriticFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n m"]:
        """g_λ(s_i, a_i), one row for each transition.

        Raises:
            ValueError: if a state or an action of the window does not exist.
        """
        window.check(*features.actor.shape[:2])
        return score(features.actor, u[: self.m])[window.before]
