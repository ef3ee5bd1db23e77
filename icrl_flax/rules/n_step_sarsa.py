"""n-step SARSA; the horizon is called k, since n is the length of a window."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.experience.window import Window
from icrl_flax.rules.base import size
from icrl_flax.rules.control import ActionValueRule


class NStepSarsa(ActionValueRule):
    """SARSA whose target looks k steps ahead, or as far as its episode goes in the window.

    Sutton and Barto (2018), §7.2, with w held still inside the window:

        w + (α/n) Σ_i (G_i − wᵀφ_i) φ_i,   G_i = Σ_{j<h} γ^j r_{i+j+1} + γ^h wᵀφ_{i+h},

    h = min(k, n − i), less where an episode was cut short before. After an episode's
    end there is no reward and no value. The
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
        now, then = self.along(features, window)
        n = window.rewards.shape[0]
        at = last = jnp.arange(n)
        inside = jnp.ones(n, bool)
        discount, rewards = jnp.ones_like(window.rewards), jnp.zeros_like(window.rewards)
        for _ in range(min(self.k, n)):
            rewards = rewards + jnp.where(inside, discount * window.rewards[at], 0)
            discount = jnp.where(inside, discount * window.discounts[at], discount)
            inside &= (at < n - 1) & ~(window.over[at] & ~window.terminated[at])
            last, at = at, jnp.where(inside, at + 1, at)
        return jnp.concatenate([now, discount[:, None] * then[last], rewards[:, None]], axis=1)

    def teacher(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        """k Bellman backups along the window: G_i ← r_{i+1} + γ G_{i+1}, from G = q."""
        now, then = self.along(features, window)
        n = window.rewards.shape[0]
        ends = jnp.append(window.over[:-1], True)  # there what follows is known by its value alone
        targets = following = then @ u
        for _ in range(min(self.k, n)):
            targets = window.rewards + window.discounts * following
            following = jnp.where(ends, then @ u, jnp.roll(targets, -1))
        errors = targets - now @ u
        return u + self.alpha * (errors @ now) / n
