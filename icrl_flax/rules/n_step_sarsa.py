"""n-step SARSA; the horizon is called k, since n is the length of a window."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.base import size
from icrl_flax.rules.control import ActionValueRule


class NStepSarsa(ActionValueRule):
    """SARSA whose target looks k steps ahead, or to the window's end if that is nearer.

    Sutton and Barto (2018), §7.2, with w held still inside the window:

        w + (α/n) Σ_i (G_i − wᵀφ_i) φ_i,   G_i = Σ_{j<h} γ^j r_{i+j+1} + γ^h wᵀφ_{i+h},

    h = min(k, n − i). After an episode's end there is no reward and no value. The
    token holds the sum of rewards and γ^h φ_{i+h}, so the weights are SARSA's own;
    p = 2d + 1 and q = d, and k = 1 is SARSA.

    Args:
        k: horizon, in transitions.
    """

    k: int = size(4, most=8)

    def tokens(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, "n p"]:
        """x_i = [φ_i ; γ^h φ_{i+h} ; Σ_{j<h} γ^j r_{i+j+1}]."""
        phi = self.along(features, window)
        n = window.rewards.shape[0]
        i = jnp.arange(n)
        discount, rewards = jnp.ones_like(window.rewards), jnp.zeros_like(window.rewards)
        for j in range(min(self.k, n)):
            inside, at = i + j < n, jnp.minimum(i + j, n - 1)
            rewards = rewards + jnp.where(inside, discount * window.rewards[at], 0)
            discount = jnp.where(inside, discount * window.discounts[at], discount)
        ahead = phi[jnp.minimum(i + self.k, n)]
        return jnp.concatenate([phi[:-1], discount[:, None] * ahead, rewards[:, None]], axis=1)

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """k Bellman backups along the window: G_i ← r_{i+1} + γ G_{i+1}, from G = q."""
        phi = self.along(features, window)
        values = targets = phi @ u
        for _ in range(min(self.k, window.rewards.shape[0])):
            backed_up = window.rewards + window.discounts * targets[1:]
            targets = jnp.append(backed_up, values[-1])
        errors = (targets - values)[:-1]
        return u + self.alpha * (errors @ phi[:-1]) / errors.shape[0]
