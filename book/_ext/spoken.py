"""Say to a screen reader what the theme and Sphinx leave unsaid.

The side bar's arrows are drawn without words, a signature of several lines is a list
of definitions without terms, and the bibliography a list whose entries are no items.
"""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

REPLACEMENTS = {
    '<summary><span class="toctree-toggle"': (
        '<summary aria-label="Pages of this section"><span class="toctree-toggle"'
    ),
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    '<dl>\n<dd><em class="sig-param">': '<dl role="presentation">\n<dd><em class="sig-param">',
}


def speak(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages that were built."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = before = page.read_text(encoding="utf-8")
        for silent, speaking in REPLACEMENTS.items():
            text = text.replace(silent, speaking)
        if text != before:
            page.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Do it when the pages have been written."""
    app.connect("build-finished", speak)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
