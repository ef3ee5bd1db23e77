"""Full float32 products on every device."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


def full_precision(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Run (and trace) `function` with matrix products in the precision of their inputs.

    On a GPU JAX may round the factors of a float32 product to ten bits of
    mantissa. Training here ends at squared errors of 1e-12, which that would hide.
    """

    @functools.wraps(function)
    def wrapped(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return wrapped
