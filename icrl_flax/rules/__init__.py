"""One file per rule, and three abstract bases. `discover` finds the rules; nothing lists them.

Each rule's class is also an attribute of this package: `icrl_flax.rules.Td`.
"""

import importlib
import inspect
import pkgutil
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
    """Every rule defined in a module of this package, by its command-line name.

    Raises:
        ValueError: if two rules have the same name.
    """
    found: dict[str, type[Rule]] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if not issubclass(member, Rule) or inspect.isabstract(member):
                continue
            if member.__module__ != module.__name__:  # imported from elsewhere
                continue
            if member.name() in found:
                raise ValueError(f"two rules are called {member.name()!r}")
            found[member.name()] = member
    return found


def __getattr__(name: str) -> Any:
    """The class of a rule, by its name."""
    for kind in discover().values():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
