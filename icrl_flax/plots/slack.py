"""How much inequalities give away."""

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from icrl_flax.plots.theme import PALETTE


def slack_figure(
    ratios: dict[str, dict[str, Float[np.ndarray, "..."]]],
    hostile: dict[str, dict[str, Float[np.ndarray, "..."]]] | None = None,
) -> Figure:
    """Larger side over smaller side, on a logarithmic axis: a panel each, a box per inequality.

    Args:
        ratios: by the panel's title and the inequality's name; boxes, with whiskers to the
            extremes.
        hostile: the same for points drawn as crosses.
    """
    labels = list(next(iter(ratios.values())))
    figure, panels = plt.subplots(
        1,
        len(ratios),
        figsize=(3.2 * len(ratios) + 1.2, 0.36 * len(labels) + 1.1),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes, (title, rows) in zip(panels[0], ratios.items(), strict=True):
        axes.boxplot(
            [np.ravel(rows[label]) for label in labels],
            orientation="horizontal",
            whis=(0, 100),
            widths=0.6,
            medianprops={"color": "black"},
        )
        for number, label in enumerate(labels if hostile else [], 1):
            values = np.ravel(hostile[title][label])  # pyright: ignore[reportOptionalSubscript]
            look = {"color": PALETTE[3], "ms": 4, "mew": 0.9}
            axes.plot(values, np.full(values.size, number), "x", **look)
        axes.axvline(1, color="black", lw=1, ls="--")
        axes.set(xscale="log", xlabel="larger side / smaller side", title=title)
    panels[0, 0].set_yticks(range(1, len(labels) + 1), labels)
    panels[0, 0].invert_yaxis()
    return figure
