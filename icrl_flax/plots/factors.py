"""Results against settings that are changed one at a time."""

from numbers import Real
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from icrl_flax.plots.theme import PALETTE


def named(value: Any) -> str:
    """A setting's value as a reader writes it."""
    return f"{value:g}" if isinstance(value, Real) else str(value)


def factors_figure(table: Any, columns: dict[str, tuple[str, str]]) -> Figure:
    """A line for each change and a panel for each result, with intervals.

    The changes of one factor stand below its name, numbers in their order. Where nothing is
    changed is a dashed line through all of them; its setting is in brackets after the name.

    Args:
        table: a data frame with one row for each setting: `factor`, `value`, `base` (whether
            it is the setting that all others are one change from), and the columns named next.
            Each factor has exactly one row with `base`, and all these have the same results.
        columns: results by label; for each the names of its lower and upper ends.

    Raises:
        ValueError: if a factor has no row with `base`, or several.
    """
    lines: list[tuple[str, Any]] = []  # what stands at the left, and the change or nothing
    for factor, rows in table.groupby("factor", sort=False):
        base = rows[rows["base"]]
        if len(base) != 1:
            raise ValueError(f"table must have one base row for {factor!r}, got {len(base)}")
        lines.append((f"{factor} ({named(base['value'].iloc[0])})", None))
        changes = rows[~rows["base"].astype(bool)]
        if all(isinstance(value, Real) for value in changes["value"]):
            changes = changes.sort_values("value")
        lines += [(named(row["value"]), row) for _, row in changes.iterrows()]
    figure, panels = plt.subplots(
        1,
        len(columns),
        figsize=(1.8 + 2.4 * len(columns), 0.7 + 0.2 * len(lines)),
        sharey=True,
        squeeze=False,
    )
    heights = np.array([k for k, (_, row) in enumerate(lines) if row is not None])
    changes = [row for _, row in lines if row is not None]
    unchanged = table[table["base"].astype(bool)].iloc[0]
    for place, (label, (low, high)) in zip(panels[0], columns.items(), strict=True):
        middle = np.array([float(row[label]) for row in changes])
        ends = np.array([[float(row[low]), float(row[high])] for row in changes]).T
        bars = np.abs(ends - middle)
        place.errorbar(middle, heights, xerr=bars, fmt="o", ms=4, lw=1.4, color=PALETTE[0])
        place.axvline(unchanged[label], color="0.3", ls="--", lw=1)
        place.axvspan(unchanged[low], unchanged[high], color="0.5", alpha=0.25, lw=0)
        place.set(xscale="log", xlabel=label)
        for k, (_, row) in enumerate(lines):
            if row is None and k:
                place.axhline(k - 0.5, color="0.85", lw=0.8)
    names = [name for name, _ in lines]
    panels[0, 0].set_yticks(range(len(lines)), names)
    for text, (_, row) in zip(panels[0, 0].get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if row is None else "normal")
    panels[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    for place in panels[0]:
        place.tick_params(axis="y", length=0)
    return figure
