"""TD(λ): every TD error also pays the states before it."""

from icrl_flax.rules.linear import TraceRule
from icrl_flax.rules.prediction import PredictionRule


class TdLambda(TraceRule, PredictionRule):
    """TD(λ) with an accumulating trace that starts with the window.

    Sutton and Barto (2018), §12.2, with w held still inside the window:

        w + (α/n) Σ_i δ_i z_i,   z_i = γλ z_{i−1} + φ(s_i),   z_{−1} = 0.

    The trace is in the token, and is cut where an episode ends. Features, policy
    and sampling are those of `Td`; p = 3d + 1 and q = d.
    """
