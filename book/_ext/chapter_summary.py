"""What a chapter's first screen says: its claim, a figure, how long it takes, what to read before.

:::{chapter-summary}
:figure: name-of-a-figure-of-this-page
:before: theorem_3_1, algorithm_1
One sentence that says what the chapter shows.
:::
"""

import re
from collections.abc import Iterator

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

WORDS_A_MINUTE = 180
MINUTES_A_FORMULA = 0.25
"""For each displayed formula and each figure."""
SILENT = (nodes.literal_block, nodes.math, nodes.math_block, nodes.raw, nodes.image)

logger = logging.getLogger(__name__)


class summary_line(nodes.paragraph):
    """Minutes, checks, and what to read before; the numbers are filled in at the end."""


class ChapterSummary(SphinxDirective):
    """The box at the top of a chapter."""

    has_content = True
    option_spec = {"figure": directives.unchanged, "before": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the box, in which the figure is still missing."""
        box = nodes.container(classes=["chapter-summary"])
        box["figure"] = self.options.get("figure", "")
        self.set_source_info(box)
        words = nodes.container(classes=["chapter-claim"])
        self.state.nested_parse(self.content, self.content_offset, words)
        line = summary_line(classes=["chapter-reading"])
        for name in filter(None, map(str.strip, self.options.get("before", "").split(","))):
            line += nodes.Text(", " if line.children else "read before: ")
            link = pending_xref(
                "", nodes.inline(name, name), refdomain="std", reftype="doc", reftarget=name,
                refexplicit=False, refwarn=True, refdoc=self.env.docname,
            )  # fmt: skip
            line += link
        words += line
        box += words
        return [box]


def prose(node: nodes.Node) -> Iterator[str]:
    """The words of a page: no code, no outputs, no formulas."""
    if isinstance(node, nodes.Text):
        yield from re.findall(r"\w+", node.astext())
    elif not isinstance(node, SILENT) and "cell" not in getattr(node, "get", {}.get)(
        "classes", []
    ):
        for child in node.children:
            yield from prose(child)


def minutes(document: nodes.document) -> int:
    """How long a page takes to read: its words, formulas and figures."""
    formulas = sum(1 for _ in document.findall(nodes.math_block))
    formulas += sum(1 for _ in document.findall(nodes.figure))
    words = sum(1 for _ in prose(document))
    return max(1, round(words / WORDS_A_MINUTE + MINUTES_A_FORMULA * formulas))


def number(count: int, name: str) -> str:
    """A count with its noun."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def complete(app: Sphinx, document: nodes.document) -> None:
    """Fill in the numbers of a page's box."""
    for line in document.findall(summary_line):
        checks = app.env.metadata[app.env.docname].get("checks", 0)
        words = f"{number(minutes(document), 'minute')} to read"
        if checks:
            words += f" · {number(checks, 'check')} passed when this page was made"
        line.insert(0, nodes.Text(words + (" · " if line.children else "")))
        line.replace_self(nodes.paragraph("", "", *line.children, classes=line["classes"]))


def add_figure(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Show the figure that a box names, small and with a link to where it stands."""
    figures = {name: node for node in document.findall(nodes.figure) for name in node["ids"]}
    for box in document.findall(nodes.container):
        if "chapter-summary" not in box["classes"] or not (name := box.get("figure")):
            continue
        figure = figures.get(nodes.make_id(name))
        image = next(iter(figure.findall(nodes.image)), None) if figure is not None else None
        if image is None:
            if app.config.nb_execution_mode != "off":
                logger.warning("no figure is called %r", name, location=box)
            continue
        link = nodes.reference("", "", image.deepcopy(), refid=nodes.make_id(name), internal=True)
        box += nodes.container("", link, classes=["chapter-figure"])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_node(summary_line)
    app.add_directive("chapter-summary", ChapterSummary)
    app.connect("doctree-read", complete, priority=450)
    app.connect("doctree-resolved", add_figure)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
