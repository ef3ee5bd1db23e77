"""How hard the compiler tries: programs that run for a second are not worth its time."""

import contextlib
import functools
from typing import Any

import jax

# Where a program runs once and briefly, two thirds of the time went into its optimisation.
ONCE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
# Ready in a third of the time, and as fast wherever loops of small operations are the work.
LITTLE = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}


def once() -> dict[str, Any]:
    """`compiler_options` for a program that runs once."""
    return _known(tuple(ONCE.items()))


def little() -> dict[str, Any]:
    """`compiler_options` for one that runs a few times."""
    return _known(tuple(LITTLE.items()))


@functools.cache
def _known(options: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Those that this version of XLA knows."""
    known = {}
    for name, value in options:
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
            known[name] = value
    return known
