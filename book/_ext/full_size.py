"""Make each figure a link to its picture: a telephone shows it alone, to be enlarged.

Sphinx does so only for pictures that a page scales by an option of their own.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

PICTURE = re.compile(r'(<figure\b[^>]*>\s*)(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)')
LINK = r'\1<a class="image-reference" href="\3">\2</a>'


def link(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages that were built."""
    if exception is not None or app.builder.name != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        linked = PICTURE.sub(LINK, text)
        if linked != text:
            page.write_text(linked, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Do it when the pages have been written."""
    app.connect("build-finished", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
