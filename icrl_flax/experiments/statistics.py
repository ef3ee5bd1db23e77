"""What several runs say together: means and their intervals, shares, exponents."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped

# SciPy takes half a second to import, so that each function does it when it is called.
Numbers = Float[Array | np.ndarray, "..."] | float
LEVEL = 0.95
"""Of all intervals."""


class Interval(NamedTuple):
    """An estimate with its 95 % interval.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval.
    """

    mean: Any
    low: Any
    high: Any

    @property
    def half(self) -> Any:
        """Half the width: the number behind ±."""
        return (self.high - self.low) / 2


def mean_interval(values: Any, log: bool = False) -> Interval:
    """Mean over the first axis, and Student's interval: for independent runs or MDPs.

    Args:
        values: one for each run.
        log: of the logarithms, taken back: geometric mean, for losses.
    """
    import scipy.stats

    values = np.asarray(values, float)
    values = np.log(values) if log else values
    quantile = scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)
    mean, half = values.mean(axis=0), quantile * scipy.stats.sem(values, axis=0)
    ends = mean, mean - half, mean + half
    return Interval(*map(np.exp, ends) if log else ends)


def bootstrap_interval(
    statistic: Callable[..., Any],
    *values: Shaped[Array | np.ndarray, "..."],
    axes: Sequence[int] = (0,),
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """The two ends of the percentile interval of a statistic, by drawing again what was drawn.

    Args:
        statistic: a function of `values`.
        values: arrays with the same sizes along `axes`, which are drawn together.
        axes: what was drawn at random, such as seeds and MDPs: each independently.
        resamples: how many times.
        seed: seed of all randomness.
    """
    rng = np.random.default_rng(seed)
    values = tuple(map(np.asarray, values))

    def again() -> Any:
        drawn = values
        for axis in axes:
            size = drawn[0].shape[axis]
            index = rng.integers(0, size, size)
            drawn = tuple(each.take(index, axis) for each in drawn)
        return statistic(*drawn)

    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    return np.quantile([again() for _ in range(resamples)], tails, axis=0)


def interquartile_mean(values: Any, axes: Sequence[int] = (0,)) -> Any:
    """Mean of the middle half over some axes together: no outlier moves it."""
    import scipy.stats

    values = np.moveaxis(np.asarray(values), axes, range(len(axes)))
    return scipy.stats.trim_mean(values.reshape(-1, *values.shape[len(axes) :]), 0.25)


def share_of_oracle(returns: Numbers, uniform: Numbers, oracle: Numbers) -> Any:
    """Returns on the scale on which the uniform policy has 0 and the optimal one 1."""
    return (returns - uniform) / (oracle - uniform)


def exponent(x: Any, y: Any) -> Any:
    """k of the power law y ~ xᵏ: the slope of log y on log x, by least squares.

    Args:
        x: positive numbers.
        y: positive numbers for each x; a second axis gives an exponent for each column.
    """
    return np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0]
