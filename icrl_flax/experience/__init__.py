"""Experience: behaviour policies, windows of transitions, and the sums along a window."""

from icrl_flax.experience.observations import (
    Fourier,
    ObservationFeatures,
    OneHot,
    Radial,
    TileCoding,
)
from icrl_flax.experience.policies import epsilon_mix, greedy, softmax
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.tables import Log, read_transitions
from icrl_flax.experience.traces import discounted_sums, eligibility_traces
from icrl_flax.experience.window import Window

__all__ = [
    "Fourier",
    "Log",
    "ObservationFeatures",
    "OneHot",
    "Radial",
    "TileCoding",
    "Window",
    "discounted_sums",
    "eligibility_traces",
    "epsilon_mix",
    "greedy",
    "read_transitions",
    "rollout",
    "softmax",
]
