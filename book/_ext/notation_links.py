"""Link each chapter's first use of a symbol to its row on the notation page.

The notation page is the only list of symbols.  Every formula in the first column
of its tables is one.  A table whose second column is headed "in" holds the letters
that mean something else in the chapters named there, which win over the rest.

A formula uses a symbol if it is the symbol, with any arguments, alone or followed by
a relation, as in "d = 6" or "θ(0)".  A symbol that is listed with arguments or with a
definition, such as "L(θ)" or "Δ = (U, W)", is also known by its name alone, unless that
name is a symbol of its own, as P is beside the kernel P(s′|s,a).
"""

import re
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.matching import Matcher
from sphinx.util.nodes import make_refnode
from sphinx.util.osutil import os_path
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

Tokens = tuple[str, ...]

# Space that says nothing about the formula.
SPACING = {r"\,", r"\;", r"\:", r"\!", r"\ ", "~", r"\quad"}
RELATIONS = {"=", "<", ">", ":", r"\colon", r"\in", r"\ne", r"\neq", r"\le", r"\leq"}
RELATIONS |= {r"\ge", r"\geq", r"\propto", r"\to", r"\mapsto", r"\approx", r"\ll", r"\gg"}
# Where a link would be confusing or is one already.
NO_LINKS = (nodes.title, nodes.caption, nodes.reference, nodes.rubric, pending_xref)


class Row(NamedTuple):
    """Where a symbol is explained."""

    symbol: Tokens
    anchor: str
    meaning: str  # empty if it has formulas in it


# By document, "" for all of them: what a symbol means there.
Symbols = dict[str, dict[Tokens, Row]]


def tokens(latex: str) -> Tokens:
    r"""Split a formula so that spelling does not matter: \tilde{w} is \tilde w."""
    found = [t for t in re.findall(r"\\[a-zA-Z]+|\\.|\S", latex) if t not in SPACING]
    short: list[str] = []
    for token in found:
        short.append(token)
        if token == "}" and len(short) > 2 and short[-3] == "{":
            short[-3:] = [short[-2]]
    return tuple(short)


def name_of(symbol: Tokens) -> Tokens:
    """Return what is left of a symbol without its arguments or its definition."""
    ends = [symbol.index(mark) for mark in ("(", "=") if mark in symbol[1:]]
    return symbol[: min(ends)] if ends else symbol


def ways_to_write(symbol: Tokens) -> list[Tokens]:
    """Return keys under which to find a symbol, the ones that are surely it first."""
    name = name_of(symbol)
    with_any_arguments = (*name, "(")
    return [symbol, with_any_arguments, name] if "(" in symbol else [symbol, name]


def used_in(formula: Tokens, symbols: dict[Tokens, Row]) -> Row | None:
    """Return the row of the symbol that a formula is or makes a statement about."""
    relations = [k for k, token in enumerate(formula) if k and token in RELATIONS]
    for end in (len(formula), *relations[:1]):
        head = formula[:end]
        ways = [head]
        if head[-1:] == (")",):
            ways = ways_to_write(head)
        for way in ways:
            if way in symbols:
                return symbols[way]
    return None


def anchor_of(latex: str) -> str:
    """Return a name for the row of a symbol that says which symbol it is."""
    words = re.findall(r"[A-Za-z0-9]+", latex)
    return "-".join(["notation", *words])


def rows_of(table: nodes.table) -> Iterator[tuple[nodes.row, list[nodes.entry]]]:
    """Yield the rows of a table's body, with their cells."""
    for body in table.findall(nodes.tbody):
        for row in body.findall(nodes.row):
            yield row, list(row.findall(nodes.entry))


def chapters_of(cell: nodes.entry, page: str) -> list[str]:
    """Return the documents that a cell links to."""
    folder = dirname(page)
    links = cell.findall(pending_xref)
    return [normpath(join(folder, link["reftarget"])).lstrip("/") for link in links]


def read_page(app: Sphinx, document: nodes.document) -> None:
    """Give every row of the notation page an anchor and remember its symbols."""
    env = app.env
    if env.docname != app.config.notation_page:
        return
    symbols: Symbols = {"": {}}
    rows: list[tuple[str, Row]] = []
    taken: set[str] = set()
    for table in document.findall(nodes.table):
        header = [cell.astext() for head in table.findall(nodes.thead) for cell in head[0]]
        local = header[1:2] == ["in"]
        for row, cells in rows_of(table):
            formulas = [formula.astext() for formula in cells[0].findall(nodes.math)]
            if not formulas:
                continue
            anchor = anchor_of(formulas[0])
            while anchor in taken:
                anchor += "-again"
            taken.add(anchor)
            row["ids"].append(anchor)
            text = cells[2 if local else 1]
            meaning = "" if any(text.findall(nodes.math)) else text.astext()
            for scope in chapters_of(cells[1], env.docname) if local else [""]:
                for formula in formulas:
                    symbol = tokens(formula)
                    if symbol in symbols.setdefault(scope, {}):
                        where = f" for {scope}" if scope else ""
                        logger.warning("%s has two rows%s", formula, where, location=row)
                    rows.append((scope, Row(symbol, anchor, meaning)))
                    symbols[scope][symbol] = rows[-1][1]
    for scope, row in rows:
        for way in ways_to_write(row.symbol):
            symbols[scope].setdefault(way, row)
    env.notation_symbols = symbols  # type: ignore[attr-defined]


def symbols_for(env: BuildEnvironment, docname: str) -> dict[Tokens, Row]:
    """Return what each symbol means in a document."""
    symbols: Symbols = getattr(env, "notation_symbols", {})
    return {**symbols.get("", {}), **symbols.get(docname, {})}


def link_first_uses(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Wrap the first use of each symbol in a link to its row."""
    page = app.config.notation_page
    chapter = Matcher(app.config.notation_chapters)
    if docname == page or not chapter(os_path(docname)):
        return
    left = symbols_for(app.env, docname)
    for formula in list(document.findall(nodes.math)):
        row = used_in(tokens(formula.astext()), left)
        if row is None or _inside(formula, NO_LINKS):
            continue
        left = {way: other for way, other in left.items() if other != row}
        title = f"Notation: {row.meaning}" if row.meaning else "Notation"
        link = make_refnode(app.builder, docname, page, row.anchor, formula.deepcopy(), title)
        link["classes"].append("notation")
        formula.replace_self(link)


def _inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def merge(app: Sphinx, env: BuildEnvironment, docnames: set[str], other: Any) -> None:
    """Take the symbols over from the process that has read the notation page."""
    if app.config.notation_page in docnames:
        env.notation_symbols = other.notation_symbols  # type: ignore[attr-defined]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_config_value("notation_page", "notation", "env")
    # Glob patterns of the documents in which symbols are linked.
    app.add_config_value("notation_chapters", ["**"], "env")
    app.connect("doctree-read", read_page)
    app.connect("doctree-resolved", link_first_uses)
    app.connect("env-merge-info", merge)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
