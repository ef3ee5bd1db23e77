"""Expected SARSA: SARSA without the chance in the next action."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.control import ActionValueRule


class ExpectedSarsa(ActionValueRule):
    """SARSA whose target is the mean over the next action, not the recorded one.

    Van Seijen et al. (2009); Sutton and Barto (2018), §6.6. The mean is taken
    under the policy that acts. It is in the token, in the place of φ⁺, so the
    weights are SARSA's own. The token depends on w through the policy: whoever
    writes the prompt computes it, not the block.
    """

    def tokens(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γ Σ_b π(b|s_{i+1}) φ(s_{i+1}, b) ; r_{i+1}]."""
        window.check(*features.shape[:2])
        pi = self.behaviour(features, u)
        successors = jnp.einsum("sa,sad->sd", pi, features)[window.after[0]]
        return jnp.concatenate(
            [
                features[window.before],
                window.discounts[:, None] * successors,
                window.rewards[:, None],
            ],
            axis=1,
        )

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """δ_i = r_{i+1} + γ Σ_b π(b|s_{i+1}) q(s_{i+1}, b) − q(s_i, a_i)."""
        window.check(*features.shape[:2])
        q = features @ u
        v = (self.behaviour(features, u) * q).sum(axis=-1)
        following, _ = window.after
        td_errors = window.rewards + window.discounts * v[following] - q[window.before]
        return u + self.alpha * jnp.mean(td_errors[:, None] * features[window.before], axis=0)
