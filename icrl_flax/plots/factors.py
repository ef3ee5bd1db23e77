"""Results against settings that are changed one at a time."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from icrl_flax.plots.theme import PALETTE


def factors_figure(table: Any, columns: dict[str, tuple[str, str]], width: int = 5) -> Figure:
    """A panel for each factor and result, with intervals; filled where nothing is changed.

    Args:
        table: a data frame with one row for each setting: `factor`, `value`, `base` (whether
            it is the setting that all others are one change from), and the columns named next.
        columns: results by label; for each the names of its lower and upper ends.
        width: panels beside each other.
    """
    groups = list(table.groupby("factor", sort=False))
    bands = -(-len(groups) // width)
    figure, axes = plt.subplots(
        bands * len(columns),
        width,
        figsize=(2.2 * width, 2.2 * bands * len(columns)),
        sharey=False,
        squeeze=False,
    )
    limits = {}
    for label, ends in columns.items():
        values = table[[label, *ends]].to_numpy(float)
        limits[label] = (values.min() / 2, values.max() * 2)
    for number in range(bands * width):
        band, column = divmod(number, width)
        for row, (label, ends) in enumerate(columns.items()):
            place = axes[band * len(columns) + row, column]
            if number >= len(groups):
                place.set_axis_off()
                continue
            name, rows = groups[number]
            numeric = all(isinstance(value, (int, float)) for value in rows["value"])
            rows = rows.sort_values("value") if numeric else rows
            x, middle = np.arange(len(rows)), rows[label].to_numpy(float)
            bars = np.abs(rows[list(ends)].to_numpy(float).T - middle)
            place.errorbar(x, middle, bars, fmt="o-", mfc="white", color=PALETTE[0])
            base = rows["base"].to_numpy(bool)
            place.plot(x[base], middle[base], "o", color=PALETTE[0], zorder=5)
            place.set(yscale="log", xlim=(-0.5, len(rows) - 0.5), ylim=limits[label])
            names = [f"{value:g}" if numeric else value for value in rows["value"]]
            place.set_xticks(x, names, rotation=0 if numeric else 30, fontsize="small")
            if row == 0:
                place.set_title(name, fontsize="small")
            if column == 0:
                place.set_ylabel(label)
            else:
                place.tick_params(labelleft=False)
    return figure
