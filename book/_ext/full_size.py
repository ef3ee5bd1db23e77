"""Make each figure a link to its picture, and say how wide it was drawn.

A telephone shows the picture alone, to be enlarged; Sphinx links only pictures that a page scales
by an option of their own. In the page a style sheet shrinks a figure no further than its smallest
text can be read (`icrl_flax.plots` writes none below nine points), for which it has to know its
width in points of the page, 1/96 inch.
"""

import re
from functools import cache
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from written_pages import rewrite

PICTURE = re.compile(r'(<figure\b[^>]*>\s*)(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)')
LINK = r'\1<a class="image-reference" href="\3">\2</a>'
DRAWN = re.compile(r'<img\b(?![^>]*\bstyle=)([^>]*?\bsrc="(?:\.\./)*_images/([^"/]+)")')
POINTS = re.compile(r'<svg\b[^>]*?\bwidth="([\d.]+)pt"', re.DOTALL)
PHYSICAL = b"pHYs"
"""The part of a PNG that says how many of its points are a metre."""


def link(text: str) -> str:
    """Put the links into a page."""
    return PICTURE.sub(LINK, text)


@cache
def width(picture: Path) -> float | None:
    """How many points of a page a picture is wide, None if it does not say."""
    if not picture.exists():
        return None
    content = picture.read_bytes()[:2000]
    if picture.suffix == ".svg":
        found = POINTS.search(content.decode(errors="replace"))
        return float(found[1]) * 96 / 72 if found else None
    start = content.find(PHYSICAL)
    if picture.suffix != ".png" or start < 0:
        return None
    per_metre = int.from_bytes(content[start + 4 : start + 8], "big")
    return int.from_bytes(content[16:20], "big") / per_metre * 96 / 0.0254


def setup(app: Sphinx) -> ExtensionMetadata:
    """Do it when the pages have been written; no links in the one that is printed."""

    def measured(match: re.Match[str]) -> str:
        drawn = width(Path(app.outdir, "_images", match[2]))
        style = f'style="--drawn: {drawn:.0f}px"' if drawn else ""
        return f"<img {style}{match[1]}"

    rewrite(app, lambda text: DRAWN.sub(measured, text))
    return rewrite(app, link, builders=("html", "dirhtml"))
