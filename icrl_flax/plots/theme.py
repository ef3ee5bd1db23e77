"""One look for every figure, and for the numbers beside them."""

import matplotlib.pyplot as plt
import seaborn as sns

from icrl_flax.plots.formats import show_figures
from icrl_flax.plots.numbers import readable_numbers

PALETTE = sns.color_palette("colorblind")
"""Colours of the curves, in order: colour-blind safe."""


def theme() -> None:
    """One look for every figure: seaborn's, colour-blind safe, on a white ground.

    In a notebook, drawings are SVG and matrices PNG of twice the resolution, with no text
    smaller than nine points. And for what its cells return: numbers with six digits, without
    their types.
    """
    readable_numbers()
    show_figures()
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update(
        {
            "axes.titlelocation": "left",
            "axes.titlesize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
        }
    )
