"""Take away the identifiers that theorems, proofs and exercises share on a page.

sphinx-proof and sphinx-exercise give the inside of every block the same one, which
HTML does not allow and nothing refers to.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

SHARED = {"proof-content", "exercise-content", "solution-content"}


def remove_shared(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Leave the sections inside blocks without an identifier."""
    for section in document.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in SHARED]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("doctree-resolved", remove_shared)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
