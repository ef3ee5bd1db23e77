"""Off-policy TD(0): predicting one policy from what another did."""

import dataclasses

import jax.numpy as jnp

from icrl_flax.algorithms.td import Td


class OffPolicyTd(Td):
    """TD(0) for π while b, π mixed with ε-uniform, acts: each transition weighs ρ_i.

    Sutton and Barto (2018), §11.1:

        w + (α/n) Σ_i ρ_i δ_i φ(s_i),   ρ_i = π(a_i|s_i) / b(a_i|s_i) ≤ 1 / (1 − ε).

    The update is quadratic in the token, so a weight is a token times its square
    root; the weights of the block are those of `Td`, and so are p and q.
    """

    epsilon: float = 0.5

    def tokens(self, features, u, window):
        """x_i = √ρ_i [φ_i ; γφ_{i+1} ; r_{i+1}]."""
        ratios = self.importance_ratios(features, u, window)
        return jnp.sqrt(ratios)[:, None] * super().tokens(features, u, window)

    def teacher(self, features, u, window):
        """w + (α/n) Σ ρ_i δ_i φ_i."""
        phi = features.phi[window.states]
        values = phi @ u
        td_errors = window.rewards + window.discounts * values[1:] - values[:-1]
        ratios = self.importance_ratios(features, u, window)
        return u + self.alpha * ((ratios * td_errors) @ phi[:-1]) / td_errors.shape[0]

    @classmethod
    def draw(cls, rng, largest):
        return dataclasses.replace(super().draw(rng, largest), epsilon=float(rng.uniform(0, 0.9)))
