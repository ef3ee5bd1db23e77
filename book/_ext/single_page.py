"""Make the whole book as one page, from which a browser prints the PDF.

Some extensions know the builder `singlehtml` by name and others only `html`.  As soon
as one of them is of the first kind, Sphinx forgets the second for this builder.
"""

from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def lend_handlers(app: Sphinx) -> None:
    """Let one page be written as many pages are, where nothing else is said."""
    if app.builder.name == "singlehtml":
        handlers = app.registry.translation_handlers
        handlers["singlehtml"] = {**handlers.get("html", {}), **handlers.get("singlehtml", {})}
        # Otherwise MathJax is loaded only if the first document has formulas.
        app.set_html_assets_policy("always")


def move_to_top(app: Sphinx, error: Exception | None) -> None:
    """Put the page where the paths in it are right, under a name of its own.

    Sphinx writes it to the first document's folder, with paths from the top.
    """
    if error is None and app.builder.name == "singlehtml":
        site = Path(app.outdir)
        written = site / f"{app.config.root_doc}.html"
        text = written.read_text(encoding="utf-8").replace('"../_static/', '"_static/')
        (site / "whole.html").write_text(text, encoding="utf-8")
        written.unlink()


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("builder-inited", lend_handlers)
    app.connect("build-finished", move_to_top)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
