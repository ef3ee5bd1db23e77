"""Make the whole book as one page, from which a browser prints the PDF.

Some extensions know the builder `singlehtml` by name and others only `html`.  As soon
as one of them is of the first kind, Sphinx forgets the second for this builder.
"""

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def lend_handlers(app: Sphinx) -> None:
    """Let one page be written as many pages are, where nothing else is said."""
    if app.builder.name == "singlehtml":
        handlers = app.registry.translation_handlers
        handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("builder-inited", lend_handlers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
