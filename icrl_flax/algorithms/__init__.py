"""One file per rule. `discover` finds them; nothing else lists them."""

import importlib
import inspect
import pkgutil

from icrl_flax.algorithm import Algorithm


def discover() -> dict[str, type[Algorithm]]:
    """Every rule defined in a module of this package, by its command-line name.

    Raises:
        ValueError: if two rules have the same name.
    """
    found: dict[str, type[Algorithm]] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for _, member in inspect.getmembers(module, inspect.isclass):
            if not issubclass(member, Algorithm) or inspect.isabstract(member):
                continue
            if member.__module__ != module.__name__:  # imported from elsewhere
                continue
            if member.name() in found:
                raise ValueError(f"two algorithms are called {member.name()!r}")
            found[member.name()] = member
    return found
