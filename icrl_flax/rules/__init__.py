"""One file per rule, and abstract bases of what several share. `discover` finds them.

Each rule's class is also an attribute of this package: `icrl_flax.rules.Td`.
"""

from typing import Any

from icrl_flax.rules.base import Features, Rule, probability, size, step_size
from icrl_flax.rules.construction import construct
from icrl_flax.rules.control import (
    ActionValueRule,
    ActorCriticFeatures,
    PolicyGradientRule,
    score,
)
from icrl_flax.rules.prediction import PredictionFeatures, PredictionRule

__all__ = [
    "ActionValueRule",
    "ActorCriticFeatures",
    "Features",
    "PolicyGradientRule",
    "PredictionFeatures",
    "PredictionRule",
    "Rule",
    "construct",
    "discover",
    "probability",
    "score",
    "size",
    "step_size",
]


def discover() -> dict[str, type[Rule]]:
    """Every rule by its command-line name: the files of this package, and what is registered.

    Raises:
        ValueError: if two rules have the same name.
        ImportError: if an installed package's rules cannot be imported.
    """
    from icrl_flax import _registry  # which needs this package

    return _registry.rules()


def __getattr__(name: str) -> Any:
    """The class of a rule, by its name."""
    for kind in discover().values():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
