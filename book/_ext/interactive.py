"""Figures to play with: `:::{interactive} NAME` and below it a sentence that stands in for it.

The sentence says what would be seen. It stays where no script runs: in notebooks, in print, and
in a browser without JavaScript. On a page the figure's scripts put the figure in its place.
"""

import posixpath
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

COMMON = ("play/icrl.js", "play/view.js", "figures/lab.js")
OWN = {
    "theorem_by_hand": ("figures/bands.js",),
    "which_point": ("figures/plane.js",),
    "watch_it_learn": ("figures/learning.js", "figures/recorded.js"),
}
# What each figure loads, below _static, in this order.
SCRIPTS = {name: (*COMMON, *own, f"figures/{name}.js") for name, own in OWN.items()}
STYLE = "figures/figures.css"
STYLES = ("play/shared.css", STYLE)


class InteractiveNode(nodes.General, nodes.Element):
    """Holds the sentence; its attribute `figure` is the figure's name."""


class Interactive(SphinxDirective):
    """The directive: its argument is a figure's name, its content the sentence."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the sentence."""
        (name,) = self.arguments
        if name not in SCRIPTS:
            raise self.error(f"figure must be one of {', '.join(SCRIPTS)}, got {name}")
        self.assert_has_content()
        node = InteractiveNode(figure=name)
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def parts(figure: str, docname: str) -> tuple[str, str]:
    """What stands before and after the sentence on a page."""
    static = posixpath.relpath("_static", posixpath.dirname(docname) or ".")
    styles = "".join(f'<link rel="stylesheet" href="{static}/{name}">\n' for name in STYLES)
    host = f'<div class="lab playable" data-lab="{escape(figure)}">'
    before = f'{styles}{host}<div class="lab-without">\n'
    scripts = "".join(
        f'<script src="{static}/{name}" defer></script>\n' for name in SCRIPTS[figure]
    )
    return before, f"</div></div>\n{scripts}"


def _on_a_page(translator: Any) -> bool:
    return translator.builder.name in ("html", "dirhtml")


def visit_html(self: Any, node: InteractiveNode) -> None:
    """Open the figure's place."""
    if _on_a_page(self):
        self.body.append(parts(node["figure"], self.builder.current_docname)[0])


def depart_html(self: Any, node: InteractiveNode) -> None:
    """Close it, and load what draws the figure."""
    if _on_a_page(self):
        self.body.append(parts(node["figure"], self.builder.current_docname)[1])


def nothing(self: Any, node: InteractiveNode) -> None:
    """Other formats have the sentence alone."""


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    other = (nothing, nothing)
    app.add_node(InteractiveNode, html=(visit_html, depart_html), latex=other, text=other)
    app.add_directive("interactive", Interactive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
