"""What of a chapter's code is open when its page is opened, and what a folded cell says.

A chapter's first cell, which imports, is folded as "Set-up"; a cell that asserts, as a check, with
what it checks if the cell's option `check` says it; a long cell that only makes a figure or a
table, as the code of it.  Tags of MyST-NB (`hide-input`) fold any other, which then says what
its option `code` or its first docstring does; `made-with` folds a cell with what it prints.
"""

import ast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

LONG = 25
"""Lines above which a cell with an output is folded."""
PRINTED = 6
"""Lines above which what a check prints is folded with it."""


def is_check(source: str) -> bool:
    """Whether the code asserts something."""
    try:
        found = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return False
    return any(
        isinstance(node, ast.Assert)
        or (isinstance(node, ast.Attribute) and node.attr.startswith("assert_"))
        for node in found
    )


def imports(source: str) -> bool:
    """Whether the code begins with an import."""
    lines = (line for line in source.splitlines() if line.strip() and line.lstrip()[0] != "#")
    return next(lines, "").startswith(("import ", "from "))


def shows(cell: nodes.container) -> str:
    """What a cell leads to: "figure", "table", "output" or "" for nothing."""
    output = cell.children[-1]
    if output.get("nb_element") != "cell_code_output":
        return ""
    if any(output.findall(nodes.image)):
        return "figure"
    return (
        "table" if any("<table" in raw.astext() for raw in output.findall(nodes.raw)) else "output"
    )


def printed(cell: nodes.container) -> int:
    """How many lines a cell prints, 0 if it also shows something else."""
    output = cell.children[-1]
    if output.get("nb_element") != "cell_code_output" or shows(cell) != "output":
        return 0
    blocks = output.findall(nodes.literal_block)
    return sum(len(block.astext().splitlines()) for block in blocks)


def purpose(source: str) -> str:
    """The first line of the first docstring in some code, "" if there is none."""
    try:
        found = ast.walk(ast.parse(source))
    except SyntaxError:
        return ""
    kinds = (ast.FunctionDef, ast.ClassDef)
    texts = (ast.get_docstring(node) for node in found if isinstance(node, kinds))
    return next((text.partition("\n")[0].rstrip(".") for text in texts if text), "")


def fold(cell: nodes.container, kind: str, words: str) -> None:
    """Fold the code of a cell under some words."""
    cell.setdefault("hide_mode", "input")
    cell["prompt_show"] = cell["prompt_hide"] = words
    cell["classes"].append(kind)


def arrange(app: Sphinx, document: nodes.document) -> None:
    """Fold what is to be folded on a page, and count its checks."""
    checks, first = 0, True
    for cell in document.findall(nodes.container):
        if cell.get("nb_element") != "cell_code" or not cell.children:
            continue
        if cell.children[0].get("nb_element") != "cell_code_source":
            continue
        source, shown = cell.children[0].astext(), shows(cell)
        metadata = cell.get("cell_metadata", {})
        folded = cell.get("hide_mode") is not None
        if first and imports(source) and not folded:
            fold(cell, "set-up", "Set-up: imports and settings")
        elif "made-with" in metadata.get("tags", []):
            cell["hide_mode"] = "all"
            fold(cell, "made-with", "Made with: versions and machine")
        elif folded and is_check(source) and shown != "figure":
            checks += 1
            said = metadata.get("check")
            if printed(cell) > PRINTED:
                cell["hide_mode"] = "all"
            fold(cell, "check", f"✓ checked: {said}" if said else "✓ checked")
        elif folded or (shown in ("figure", "table") and len(source.splitlines()) > LONG):
            what = f"Code of the {shown}" if shown else "Code"
            said = metadata.get("code") or ("" if shown == "figure" else purpose(source))
            fold(cell, "code-of", f"{what}: {said}" if said else what)
        first = False
    app.env.metadata[app.env.docname]["checks"] = checks


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("doctree-read", arrange, priority=400)  # before the summary, which counts
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
