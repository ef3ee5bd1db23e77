"""What rules of prediction share: the values of a policy that does not change."""

from typing import ClassVar, NamedTuple

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from icrl_flax._draws import uniform
from icrl_flax.experience.policies import epsilon_mix, softmax
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import probability, size, step_size
from icrl_flax.rules.linear import LinearRule


class PredictionFeatures(NamedTuple):
    """Features, and the policy whose values are learnt.

    Attributes:
        phi: φ, indexed `[s]`.
        logits: those of the policy to predict, indexed `[s, a]`.
    """

    phi: Float[Array, "S d"]
    logits: Float[Array, "S A"]


class PredictionRule(LinearRule):
    """v_w(s) = wᵀφ(s), moved towards the values of a policy held in the features.

    Features and the first w have entries uniform on (−1, 1); the policy's rows are
    Dirichlet(1, …, 1). With ε > 0 the ε-mixed policy acts. Unless a rule says
    otherwise, u = w and token and weights are TD(0)'s: p = 2d + 1 and q = d.

    Args:
        d: number of features.
        alpha: step size α > 0.
        epsilon: probability ε in [0, 1] of a uniform action.
    """

    d: int = size(9)
    alpha: float = step_size(0.2)
    epsilon: float = probability(0.0)

    def sample_features(
        self, key: Key[Array, ""], n_states: int, n_actions: int, dtype: DTypeLike
    ) -> PredictionFeatures:
        phi_key, policy_key = jax.random.split(key)
        return PredictionFeatures(
            phi=uniform(phi_key, (n_states, self.d), dtype, -1, 1),
            # Logarithms of exponentials, whose softmax has the flat Dirichlet law.
            logits=-jax.random.gumbel(policy_key, (n_states, n_actions), dtype),
        )

    def policy(self, features: PredictionFeatures, u: Float[Array, " q"]) -> Float[Array, "S A"]:
        return softmax(features.logits)

    off_policy: ClassVar[bool] = False
    """Whether it weighs transitions, so as to predict the policy without its exploration."""
    discounted: ClassVar[bool] = True
    """Whether its values are discounted; without, they are those of the average reward."""

    def predicted_policy(self, features: PredictionFeatures) -> Float[Array, "S A"]:
        """The table π(a|s) whose values are learnt: what acts, unless the rule is off-policy."""
        policy = softmax(features.logits)
        return policy if self.off_policy else epsilon_mix(policy, self.epsilon)

    def along(
        self, features: PredictionFeatures, window: Window
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d"]]:
        """φ(s_i) and φ(s_{i+1}), one row each for each transition of the window.

        Raises:
            ValueError: if a state or an action of the window does not exist.
        """
        window.check(*features.logits.shape)
        return features.phi[window.before[0]], features.phi[window.after[0]]

    def importance_ratios(
        self, features: PredictionFeatures, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " n"]:
        """ρ_i = π(a_i|s_i) / b(a_i|s_i): the policy without over that with exploration."""
        return self.policy(features, u)[window.before] / self.behaviour(features, u)[window.before]
