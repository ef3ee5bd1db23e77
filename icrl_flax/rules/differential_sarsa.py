"""Differential SARSA: control when every reward counts alike, however late."""

from jaxtyping import Array, Float

from icrl_flax.rules.control import ActionValueRule
from icrl_flax.rules.linear import DifferentialRule


class DifferentialSarsa(DifferentialRule, ActionValueRule):
    """SARSA for the average reward r̄, one more parameter: u = [w ; r̄].

    Sutton and Barto (2018), §10.3:

        w + (α/n) Σ_i δ_i φ(s_i, a_i)  and  r̄ + (β/n) Σ_i δ_i,
        δ_i = r_{i+1} − r̄ + wᵀφ(s_{i+1}, a_{i+1}) − wᵀφ(s_i, a_i).

    There is no discount, and an episode's end is a step like any other;
    p = 2d + 2 and q = d + 1.
    """

    def policy(
        self, features: Float[Array, "S A d"], u: Float[Array, " q"]
    ) -> Float[Array, "S A"]:
        return super().policy(features, u[:-1])
