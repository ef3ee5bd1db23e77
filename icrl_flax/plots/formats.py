"""How a notebook shows figures: drawings as SVG, matrices as PNG of twice the resolution."""

import sys
from io import BytesIO

import matplotlib.pyplot as plt
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

SMALLEST = 9.0
"""Points: no text of a figure is smaller, so that a page knows how far it may shrink one."""

HEAVY = 250_000
"""Bytes above which an SVG, of many thousand points, is a PNG after all."""


def enlarge_small_text(figure: Figure) -> None:
    """Set what is smaller than `SMALLEST` to this size; what is empty stays as it is."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text() and float(text.get_fontsize()) < SMALLEST:
            text.set_fontsize(SMALLEST)


def has_matrix(figure: Figure) -> bool:
    """Whether an image or a mesh is drawn, colour bars included."""
    return any(figure.findobj(QuadMesh)) or any(axes.images for axes in figure.axes)


def as_svg(figure: Figure) -> str | None:
    """The figure as SVG, or None for one with a matrix and for one of too many points.

    Letters are drawn as paths, so that they look the same on every machine, and nothing in the
    text depends on when or where it was written.
    """
    enlarge_small_text(figure)
    if has_matrix(figure):
        return None
    with plt.rc_context({"svg.hashsalt": "icrl_flax", "svg.fonttype": "path"}):
        written = BytesIO()
        figure.savefig(written, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = written.getvalue().decode()
    return text if len(text) <= HEAVY else None


def as_png(figure: Figure) -> bytes | None:
    """The figure as PNG with two points of the picture for one of the page, if `as_svg` has none.

    One point of the page is 1/96 inch, as in an SVG.
    """
    if as_svg(figure) is not None:
        return None
    written = BytesIO()
    figure.savefig(written, format="png", bbox_inches="tight", dpi=192)
    return written.getvalue()


def show_figures() -> None:
    """Let this kernel show figures so. Outside of IPython nothing is changed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    # The back end sets formats of its own once, when it is loaded: let it do so before.
    plt.switch_backend(plt.get_backend())
    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type(Figure, as_svg)
    formatters["image/png"].for_type(Figure, as_png)
