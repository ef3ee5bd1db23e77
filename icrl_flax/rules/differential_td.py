"""Differential TD: prediction when every reward counts alike, however late."""

from typing import ClassVar

from icrl_flax.rules.linear import DifferentialRule
from icrl_flax.rules.prediction import PredictionRule


class DifferentialTd(DifferentialRule, PredictionRule):
    """TD(0) for the average reward r̄, one more parameter: u = [w ; r̄].

    Sutton and Barto (2018), §10.3:

        w + (α/n) Σ_i δ_i φ(s_i)  and  r̄ + (β/n) Σ_i δ_i,
        δ_i = r_{i+1} − r̄ + wᵀφ(s_{i+1}) − wᵀφ(s_i).

    There is no discount, and an episode's end is a step like any other;
    p = 2d + 2 and q = d + 1.
    """

    discounted: ClassVar[bool] = False
