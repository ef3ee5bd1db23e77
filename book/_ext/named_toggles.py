"""Give the side bar's arrows, which the theme draws without words, a name to read out."""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

NAMELESS = '<summary><span class="toctree-toggle"'
NAMED = '<summary aria-label="Pages of this section"><span class="toctree-toggle"'


def name_toggles(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages that were built."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if NAMELESS in text:
            page.write_text(text.replace(NAMELESS, NAMED), encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Name them when the pages have been written."""
    app.connect("build-finished", name_toggles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
