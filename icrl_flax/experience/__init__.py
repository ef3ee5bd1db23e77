"""Experience: behaviour policies, windows of transitions, and the sums along a window."""

from icrl_flax.experience.policies import epsilon_mix, greedy, softmax
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.traces import discounted_sums, eligibility_traces
from icrl_flax.experience.window import Window

__all__ = [
    "Window",
    "discounted_sums",
    "eligibility_traces",
    "epsilon_mix",
    "greedy",
    "rollout",
    "softmax",
]
