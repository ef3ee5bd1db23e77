"""SARSA(λ): SARSA with a trace of the pairs that led here."""

from icrl_flax.rules.control import ActionValueRule
from icrl_flax.rules.linear import TraceRule


class SarsaLambda(TraceRule, ActionValueRule):
    """SARSA(λ) with an accumulating trace that starts with the window.

    Sutton and Barto (2018), §12.7, with w held still inside the window:

        w + (α/n) Σ_i δ_i z_i,   z_i = γλ z_{i−1} + φ(s_i, a_i),   z_{−1} = 0.

    The trace is in the token, and is cut where an episode ends. All else is as in
    `Sarsa`; p = 3d + 1 and q = d.
    """
