"""Theorems, proofs, exercises and solutions: ids that are unique, an index with titles, previews.

sphinx-proof and sphinx-exercise give the inside of every block, and the title of one without
a number, an identifier that is there already; the index of sphinx-proof lists labels; and
sphinx-exercise fails if `hide_solutions` meets a solution of several cells
(https://github.com/executablebooks/sphinx-exercise/issues/89). What a link shows when pointed at
is written into the page, since a page opened from the disk may read no other.
"""

import re
from functools import cache
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.domains import Index, IndexEntry
from sphinx.util.typing import ExtensionMetadata
from sphinx_exercise.nodes import solution_node
from sphinx_proof.domain import ProofDomain

SHARED = {"proof-content", "exercise-content", "solution-content"}
TITLE = re.compile(r'(<div class="proof [^>]*\bid="([^"]*)"[^>]*>\s*<p class="[^"]*") id="\2"')
PROOF = re.compile(r'(<div class="proof admonition") id="proof"')
LINK = re.compile(r'<a class="reference internal" href="([^"#]*)#((?:[\w-]*equation|eq|theorem|'
                  r'lemma|proposition|assumption|corollary|remark)[\w.-]*)"')  # fmt: skip


class Theorems(Index):
    """The blocks of the book, by kind and with their titles."""

    name, localname, shortname = "prf", "Theorems", "Theorems"

    def generate(self, docnames: Any = None) -> tuple[list[tuple[str, list[IndexEntry]]], bool]:
        """Return the entries of each kind."""
        kinds: dict[str, list[IndexEntry]] = {}
        titles = getattr(self.domain.env, "block_titles", {})
        for label, block in getattr(self.domain.env, "proof_list", {}).items():
            kind, name = block["realtype"].capitalize(), block["docname"]
            title = titles.get(label, label)
            chapter = self.domain.env.titles[name].astext()
            kinds.setdefault(kind, []).append(IndexEntry(title, 0, name, label, chapter, "", ""))
        return [(kind, sorted(kinds[kind])) for kind in sorted(kinds)], False


def take_over(app: Sphinx, config: Config) -> None:
    """Hide solutions here, where those of several cells have been put together."""
    app.blocks_hide = config.hide_solutions  # type: ignore[attr-defined]
    config.hide_solutions = False  # type: ignore[attr-defined]


def read(app: Sphinx, document: nodes.document) -> None:
    """Leave out solutions if they are hidden, and remember the titles of the blocks."""
    if app.blocks_hide:  # type: ignore[attr-defined]
        for node in list(document.findall(solution_node)):
            node.parent.remove(node)
    env = app.env
    if not hasattr(env, "block_titles"):
        env.block_titles = {}  # type: ignore[attr-defined]
    for node in document.findall(nodes.Element):
        if node.get("label") in getattr(env, "proof_list", {}) and node.children:
            title = node.children[0].astext().strip().strip("()")
            kind = str(node.get("realtype", "")).capitalize()
            env.block_titles[node["label"]] = title or kind  # type: ignore[attr-defined]


def remove_shared(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Leave the sections inside blocks without an identifier."""
    for section in document.findall(nodes.section):
        section["ids"] = [name for name in section["ids"] if name not in SHARED]


@cache
def parsed(page: Path) -> BeautifulSoup:
    """A written page, as it was before any preview."""
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def target(page: Path, name: str) -> Tag | None:
    """The block or the equation that has an identifier."""
    found = parsed(page).find(id=name) if page.exists() else None
    if isinstance(found, Tag) and found.name == "span":
        found = found.find_next("div", class_="math")
    return found if isinstance(found, Tag) and {"proof", "math"} & set(found["class"]) else None


def write(app: Sphinx, error: Exception | None) -> None:
    """Mend the written pages and add what their links to other pages show."""
    if error is not None or app.builder.name not in ("html", "singlehtml"):
        return
    site = Path(app.outdir)
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    changed = {}
    for page, text in pages.items():
        changed[page] = PROOF.sub(r"\1", TITLE.sub(r"\1", text))
    if app.builder.name == "html":
        for page in changed:
            here = dirname(page.relative_to(site).as_posix())
            added = {}
            for path, name in dict.fromkeys(LINK.findall(pages[page])):
                other = site / normpath(join(here, path)) if path else page
                if path and (found := target(other, name)) is not None:
                    inner = re.sub(r' id="[^"]*"', "", str(found))
                    inner = re.sub(r' href="[^"]*"', "", inner)
                    added[name] = f'<template data-preview="{path}#{name}">{inner}</template>'
            end = changed[page].rfind("</body>")
            changed[page] = changed[page][:end] + "".join(added.values()) + changed[page][end:]
    parsed.cache_clear()
    for page, text in changed.items():
        if text != pages[page]:
            page.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    ProofDomain.indices = [Theorems]
    app.connect("config-inited", take_over, priority=1000)
    app.connect("doctree-read", read)
    app.connect("doctree-resolved", remove_shared)
    app.connect("build-finished", write)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
