"""Features of observations: what turns a few numbers, or one, into a vector for a token.

Each is a function of an array of observations, whose last axis becomes that of the features,
and has a `size`. Any function will do in its place. All end with a factor `scale`: the step
size α is in a block's weights, and a rule whose update is quadratic in the features, as
SARSA's is, takes with scale·ψ the steps that it would take with ψ and scale²·α.
"""

import abc
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from icrl_flax import _checks

ObservationFeatures = Callable[[Any], Float[np.ndarray, "*batch k"]]
"""Anything that turns observations into features."""


@dataclasses.dataclass(frozen=True)
class OneHot:
    """Numbered observations 0 … n − 1, one feature each: a table.

    Args:
        n: how many there are.
        scale: the feature that is not 0.
    """

    n: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive_integer("n", self.n)
        _checks.positive("scale", self.scale)

    @property
    def size(self) -> int:
        return self.n

    def __call__(self, observation: Any) -> Float[np.ndarray, "*batch k"]:
        _checks.indices("observation", np.asarray(observation), self.n)
        return self.scale * np.eye(self.n)[np.asarray(observation)]


@dataclasses.dataclass(frozen=True)
class _InABox(abc.ABC):
    """Observations of several numbers, each brought from [low, high] to [0, 1] and cut there.

    Args:
        low: the least number of each.
        high: the largest.
        scale: a factor on all features.
    """

    low: Sequence[float]
    high: Sequence[float]
    scale: float = dataclasses.field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, float), np.asarray(self.high, float)
        _checks.shape("low", low, (None,))
        _checks.shape("high", high, low.shape)
        for name, value in (("low", low), ("high", high)):
            _checks.finite(name, value)
        if not (low < high).all():
            place = int(np.argmax(~(low < high)))
            raise ValueError(
                f"low must be below high, got {low[place]} and {high[place]} at index {place}"
            )
        _checks.positive("scale", self.scale)

    def unit(self, observation: Any) -> Float[np.ndarray, "*batch numbers"]:
        """Observations in the unit cube.

        Raises:
            ValueError: if they have another number of numbers, or one is not finite.
        """
        x, low = np.asarray(observation, float), np.asarray(self.low, float)
        if x.shape[-1:] != low.shape:
            raise ValueError(f"observation must have {low.size} numbers, got shape {x.shape}")
        _checks.finite("observation", x)
        return np.clip((x - low) / (np.asarray(self.high, float) - low), 0, 1)


@dataclasses.dataclass(frozen=True)
class Fourier(_InABox):
    """cos(π cᵀx) for all c with entries 0 … order (Konidaris et al. 2011).

    Divided by √(k/2), k their number, so that the vector's length is about `scale`.

    Args:
        low: the least number of each.
        high: the largest.
        order: the highest frequency, in half waves over the box.
        scale: a factor on all features.
    """

    order: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive_integer("order", self.order)

    @property
    def size(self) -> int:
        return (self.order + 1) ** len(self.low)

    def __call__(self, observation: Any) -> Float[np.ndarray, "*batch k"]:
        angles = np.pi * self.unit(observation) @ _waves(self.order, len(self.low))
        return self.scale * np.cos(angles) / (self.size / 2) ** 0.5


@dataclasses.dataclass(frozen=True)
class Radial(_InABox):
    """Gaussian bumps on a grid of centres, as wide as the grid is, their sum 1.

    Args:
        low: the least number of each.
        high: the largest.
        centres: along each number, at least 2.
        scale: a factor on all features.
    """

    centres: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.centres, bool) or self.centres < 2:
            raise ValueError(f"centres must be an integer of at least 2, got {self.centres!r}")

    @property
    def size(self) -> int:
        return self.centres ** len(self.low)

    def __call__(self, observation: Any) -> Float[np.ndarray, "*batch k"]:
        x = self.unit(observation)
        places = np.linspace(0, 1, self.centres)
        bumps = np.exp(-0.5 * ((x[..., None] - places) * (self.centres - 1)) ** 2)
        bumps = bumps / bumps.sum(axis=-1, keepdims=True)
        return self.scale * _products(bumps)


@dataclasses.dataclass(frozen=True)
class TileCoding(_InABox):
    """Several grids of tiles, shifted against each other; of each the tile that is hit is on.

    Divided by the root of the number of grids, so that the vector's length is `scale`.

    Args:
        low: the least number of each.
        high: the largest.
        tiles: along each number, in each grid.
        tilings: how many grids; grid j is shifted by j/tilings of a tile times 1, 3, 5, …
        scale: a factor on all features.
    """

    tiles: int = 4
    tilings: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.positive_integer("tiles", self.tiles)
        _checks.positive_integer("tilings", self.tilings)

    @property
    def size(self) -> int:
        return self.tilings * (self.tiles + 1) ** len(self.low)

    def __call__(self, observation: Any) -> Float[np.ndarray, "*batch k"]:
        x = self.unit(observation)
        odd = 2 * np.arange(x.shape[-1]) + 1
        shifts = (np.arange(self.tilings)[:, None] * odd / self.tilings) % 1
        tile = np.floor(x[..., None, :] * self.tiles + shifts).astype(int)
        one_hot = np.eye(self.tiles + 1)[np.minimum(tile, self.tiles)]
        flat = _products(one_hot).reshape(*x.shape[:-1], -1)
        return self.scale * flat / self.tilings**0.5


@functools.cache
def _waves(order: int, numbers: int) -> Float[np.ndarray, "numbers k"]:
    """All vectors with entries 0 … order, one in each column."""
    return np.array(list(itertools.product(range(order + 1), repeat=numbers)), float).T


def _products(parts: Float[np.ndarray, "*batch numbers k"]) -> Float[np.ndarray, "*batch kk"]:
    """All products of one entry of each row."""
    out = parts[..., 0, :]
    for place in range(1, parts.shape[-2]):
        out = (out[..., :, None] * parts[..., place, None, :]).reshape(*out.shape[:-1], -1)
    return out
