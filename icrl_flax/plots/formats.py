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


def panels(figure: Figure) -> int:
    """How many axes a figure has, colour bars not counted."""
    return sum(axes.get_label() != "<colorbar>" for axes in figure.axes)


def as_svg(figure: Figure) -> str:
    """The figure as SVG.

    Letters are drawn as paths, so that they look the same on every machine, and nothing in the
    text depends on when or where it was written.
    """
    enlarge_small_text(figure)
    with plt.rc_context({"svg.hashsalt": "icrl_flax", "svg.fonttype": "path"}):
        written = BytesIO()
        figure.savefig(written, format="svg", bbox_inches="tight", metadata={"Date": None})
    return written.getvalue().decode()


def as_png(figure: Figure) -> bytes:
    """The figure as PNG with two points of the picture for one of the page.

    One point of the page is 1/96 inch, as in an SVG, where axes can be counted; here the
    picture's field Comment says how many panels there are.
    """
    enlarge_small_text(figure)
    written = BytesIO()
    said = {"Comment": f"panels: {panels(figure)}"}
    figure.savefig(written, format="png", bbox_inches="tight", dpi=192, metadata=said)
    return written.getvalue()


def shown(figure: Figure) -> dict[str, str | bytes]:
    """The figure in the one format that suits it, by its MIME type.

    SVG, but PNG for a figure with a matrix and for one of too many points.
    """
    if not has_matrix(figure):
        text = as_svg(figure)
        if len(text) <= HEAVY:
            return {"image/svg+xml": text}
    return {"image/png": as_png(figure)}


def show_figures() -> None:
    """Let this kernel show figures so. Outside of IPython nothing is changed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    # The back end sets formats of its own once, when it is loaded: let it do so before.
    plt.switch_backend(plt.get_backend())
    display = shell.display_formatter
    for formatter in display.formatters.values():
        formatter.pop(Figure, None)
    display.mimebundle_formatter.for_type(Figure, shown)
