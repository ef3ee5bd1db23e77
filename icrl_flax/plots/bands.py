"""A curve with what it is uncertain by."""

from typing import Any

import numpy as np
from jaxtyping import Array, Real
from matplotlib.axes import Axes

Curve = Real[Array | np.ndarray, " points"]


def draw_band(
    x: Curve, low: Curve, middle: Curve, high: Curve, axes: Axes, alpha: float = 0.25, **line: Any
) -> None:
    """A line, and the band between two others in its colour.

    Args:
        x: where the three curves are given; the axis ends where they do.
        low: lower edge of the band.
        middle: the line.
        high: upper edge of the band.
        axes: where to draw.
        alpha: opacity of the band.
        line: passed on to `Axes.plot`.
    """
    (drawn,) = axes.plot(x, middle, **line)
    axes.fill_between(x, low, high, color=drawn.get_color(), alpha=alpha, lw=0)
    axes.margins(x=0)
