"""Argument checks: one clear `ValueError` naming the argument and the value.

Every check passes silently on a traced value: inside `jax.jit`, `jax.vmap` and
`jax.grad` there are no values to look at, so inputs are checked where a person
can act on the message, before tracing.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def _concrete(value: Any) -> np.ndarray | None:
    """The value as NumPy, or None if it is being traced."""
    return None if isinstance(value, Tracer) else np.asarray(value)


def _array(name: str, value: Any) -> Any:
    """The value itself if it is an array, and otherwise as one of JAX's."""
    if isinstance(value, (jax.Array, np.ndarray)):
        return value
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be an array of numbers, got {value!r}") from None


def as_reals(name: str, value: Any) -> Any:
    """As floating-point numbers: those of an array stay, others get the default type."""
    array = _array(name, value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if array.dtype.kind not in "iub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array.astype(jnp.result_type(float))


def as_integers(name: str, value: Any) -> Any:
    """As an array of integers, which they must be already."""
    array = _array(name, value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got dtype {array.dtype}")
    return array


def as_booleans(name: str, value: Any) -> Any:
    """As booleans: an array of them, or numbers that are all 0 or 1.

    Not even a traced array may hold anything else: ~1 of an integer is −2.
    """
    array = _array(name, value)
    if array.dtype == bool:
        return array
    numbers = _concrete(array)
    if numbers is None or not np.isin(numbers, (0, 1)).all():
        raise ValueError(f"{name} must hold booleans, or 0 and 1 alone, got {value!r}")
    return array == 1


def positive_integer(name: str, value: Any) -> None:
    """Refuse anything but an integer ≥ 1."""
    if isinstance(value, Tracer):
        return
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def seed(name: str, value: Any) -> None:
    """Refuse anything but an integer from 0 to 2⁶³ − 1, which is as far as JAX's keys go."""
    whole = not isinstance(value, bool) and isinstance(value, (int, np.integer))
    if not whole or not 0 <= value < 2**63:
        raise ValueError(f"{name} must be an integer of at least 0 and below 2**63, got {value!r}")


def _of_arrays(check: Callable[..., None]) -> Callable[..., None]:
    """A check that gets its value as NumPy's, and is left out for one that is being traced."""

    @functools.wraps(check)
    def checked(name: str, value: Any, *more: Any) -> None:
        array = _concrete(value)
        if array is not None:
            check(name, array, *more)

    return checked


def _scalar(name: str, value: Any) -> float | None:
    array = _concrete(value)
    if array is None:
        return None
    if array.ndim != 0 or array.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be one real number, got {value!r}")
    return float(array)


def _number(name: str, value: Any, fits: Callable[[float], bool], must: str) -> None:
    x = _scalar(name, value)
    if x is not None and not fits(x):
        raise ValueError(f"{name} must {must}, got {x!r}")


def discount(name: str, value: Any) -> None:
    """Refuse anything outside [0, 1)."""
    _number(name, value, lambda x: 0 <= x < 1, "lie in [0, 1)")


@_of_arrays
def discounts(name: str, array: Any) -> None:
    """Refuse an array with an entry outside [0, 1)."""
    wrong = array[~((array >= 0) & (array < 1))]
    if wrong.size:
        raise ValueError(f"{name} must lie in [0, 1), got {wrong[0]}")


def probability(name: str, value: Any) -> None:
    """Refuse anything outside [0, 1]."""
    _number(name, value, lambda x: 0 <= x <= 1, "lie in [0, 1]")


def positive(name: str, value: Any) -> None:
    """Refuse anything but a finite number > 0."""
    _number(name, value, lambda x: 0 < x < math.inf, "be positive and finite")


def non_negative(name: str, value: Any) -> None:
    """Refuse anything but a finite number ≥ 0."""
    _number(name, value, lambda x: 0 <= x < math.inf, "be finite and not negative")


def non_zero(name: str, value: Any) -> None:
    """Refuse 0 and anything that is not finite."""
    _number(name, value, lambda x: 0 < abs(x) < math.inf, "be finite and different from 0")


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse anything but one of the given strings."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")


def shape(name: str, value: Any, expected: tuple[int | None, ...]) -> None:
    """Refuse an array whose shape differs; `None` stands for any length ≥ 1."""
    actual = np.shape(value)
    fits = len(actual) == len(expected) and all(
        size >= 1 and (want is None or size == want)
        for size, want in zip(actual, expected, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        raise ValueError(f"{name} must have shape ({wanted}), got {actual}")


@_of_arrays
def finite(name: str, array: Any) -> None:
    """Refuse NaN and infinity, naming the first offending entry."""
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise ValueError(f"{name} must be finite, got {array[where]} at index {where}")


@_of_arrays
def indices(name: str, array: Any, bound: float = math.inf) -> None:
    """Refuse integers outside [0, bound)."""
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got dtype {array.dtype}")
    wrong = array[(array < 0) | (array >= bound)]
    if wrong.size:
        raise ValueError(f"{name} must lie in [0, {bound}), got {int(wrong[0])}")


@_of_arrays
def distribution(name: str, array: Any) -> None:
    """Refuse a last axis that is not a probability vector (to 1e-5)."""
    finite(name, array)
    if (array < 0).any():
        where = tuple(int(i) for i in np.argwhere(array < 0)[0])
        raise ValueError(f"{name} must not be negative, got {array[where]} at index {where}")
    total = array.astype(np.float64).sum(axis=-1)
    wrong = np.abs(total - 1) > 1e-5
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0]) if total.ndim else ()
        raise ValueError(
            f"{name} must sum to 1 along its last axis, got a sum of {total[where]:.6g}"
            + (f" at index {where}" if where else "")
        )


def interval(name: str, value: Any) -> None:
    """Refuse anything but two numbers 0 < low ≤ high."""
    low, high = value
    positive(f"{name}[0]", low)
    positive(f"{name}[1]", high)
    if not isinstance(low, Tracer) and low > high:
        raise ValueError(f"{name} must be in order, got {value!r}")


def x64(name: str) -> None:
    """Refuse to go on in float32."""
    if jnp.result_type(float) != jnp.float64:
        raise ValueError(f"{name} needs jax.config.update('jax_enable_x64', True)")


def non_zero_entries(name: str, value: Any) -> None:
    """Refuse an array with an entry that is 0 or not finite."""
    finite(name, value)
    if not isinstance(value, Tracer) and (np.asarray(value) == 0).any():
        raise ValueError(f"{name} must be different from 0, got {value!r}")
