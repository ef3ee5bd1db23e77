"""Numbers and values in a page, written for readers: what cells print and return.

    4.2e-12 becomes 4.2·10⁻¹², 0.12345678901234567 becomes 0.123457, np.float64(0.5) becomes 0.5,
    a dict becomes a table, or `key: value` within a line; the footer of a series goes.

Nothing else of a value changes, and the executed notebook keeps it as it was. In the text a group
of three digits stays with the one before it. Tables of many rows are folded.
"""

import ast
import html
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

DIGITS = 6
"""Significant digits of a number that was written with more than `RAW`: others keep theirs."""
RAW = 11
ROWS = 15
"""A table with more rows than this is folded."""

# A number, and not a part of a name, of a version or of a date.
NUMBER = re.compile(
    r"(?<![\w.\-+\\/:])([-+−]?)(\d+\.?\d*|\.\d+)(?:e([-+]?\d+))?(?![\w/]|[.:]\w|-\d)"
)
WRAPPED = re.compile(r"\bnp\.(?:float|int|uint|bool)\w*\(([^()]*)\)")
ARRAY = re.compile(r"\b(?:Array|array)\((\[[^()]*\]|[-\d.e+]+)(?:, *dtype=\w+)?\)")
FOOTER = re.compile(r"\n?^(?:Name: [^\n]*, )?(?:Length: \d+, )?dtype: \w+$", re.MULTILINE)
DICT = re.compile(r"\{[^{}]*:[^{}]*\}")
CELL = re.compile(r"<(td|th)([^>]*)>([^<>]*)</\1>")
GROUP = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(mantissa: str, exponent: int) -> str:
    """Write a number with a power of ten; a mantissa of 1 is left out."""
    power = "10" + str(exponent).translate(RAISED)
    return power if float(mantissa) == 1 else f"{mantissa}·{power}"


def readable(match: re.Match[str]) -> str:
    """One number."""
    sign, digits, exponent = match.groups()
    if sum(c.isdigit() for c in digits.lstrip("0.")) > RAW and "." in digits:
        digits, _, moved = f"{float(digits):.{DIGITS}g}".partition("e")
        exponent = str(int(exponent or 0) + int(moved or 0)) if exponent or moved else None
    if exponent is None:
        return sign + digits
    if int(exponent) == 0:
        return sign + digits
    return sign + power_of_ten(digits.removesuffix("."), int(exponent))


def numbers(text: str) -> str:
    """All numbers of a line or of a table's cell."""
    return NUMBER.sub(readable, text)


def columns(text: str) -> str:
    """All numbers of printed text; what follows after two blanks or more stays in its place."""
    written, shift, end = [], 0, 0
    for match in NUMBER.finditer(text):
        between = text[end : match.start()]
        if "\n" in between:
            shift = 0
        new = readable(match)
        longer = len(new) - len(match.group())
        # Right-aligned: the blanks before it give way; otherwise those before the next one.
        head, blanks = between.rstrip(" "), len(between) - len(between.rstrip(" "))
        if blanks > 1:
            take = min(max(longer + shift, 1 - blanks), blanks - 1)
            take = take if longer + shift > 0 else longer + shift
            between, shift = head + " " * (blanks - take), longer + shift - take
        else:
            shift += longer
        written += [between, new]
        end = match.end()
    return "".join(written) + text[end:]


def literal(text: str) -> Any:
    """The value that a text writes, with nan and inf; None if it writes none."""
    try:
        plain = re.sub(r"\b(nan|inf)\b", r"'\1'", text.strip())
        return ast.literal_eval(plain.replace("-'inf'", "'-inf'"))
    except (ValueError, SyntaxError):
        return None


def words(value: Any) -> str:
    """A value in a line: names without quotes, no brackets about what a comma separates."""
    if isinstance(value, dict):
        return ", ".join(f"{words(key)}: {words(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple, set)):
        return ", ".join(map(words, value))
    return str(value)


def in_line(match: re.Match[str]) -> str:
    """A dict within printed text."""
    value = literal(match.group())
    return words(value) if isinstance(value, dict) else match.group()


def plain_text(text: str) -> str:
    """What a cell prints or returns as text."""
    text = FOOTER.sub("", text)
    while (inner := WRAPPED.sub(r"\1", text)) != text:
        text = inner
    text = DICT.sub(in_line, ARRAY.sub(r"\1", text))
    return columns(text)


def dict_table(text: str) -> str | None:
    """A dict that a cell returns as a table in HTML, None for anything else."""
    while (inner := WRAPPED.sub(r"\1", text)) != text:
        text = inner
    value = literal(ARRAY.sub(r"\1", text))
    if not isinstance(value, dict) or not value:
        return None
    rows = list(value.items())
    inner = [each for _, each in rows]
    if all(isinstance(each, dict) and each.keys() == inner[0].keys() for each in inner):
        head = "".join(f"<th>{html.escape(words(key))}</th>" for key in inner[0])
        head = f"<thead><tr><th></th>{head}</tr></thead>"
        inner = [list(each.values()) for each in inner]
    else:
        head, inner = "", [[each] for each in inner]
    body = "".join(
        f"<tr><th>{html.escape(words(key))}</th>"
        + "".join(f"<td>{html.escape(words(each))}</td>" for each in row)
        + "</tr>"
        for (key, _), row in zip(rows, inner, strict=True)
    )
    return table(f'<table class="dataframe">{head}<tbody>{body}</tbody></table>')


def table(text: str) -> str:
    """A table in HTML: its numbers, which do not break, and its rows folded if there are many."""

    def cell(match: re.Match[str]) -> str:
        name, attributes, content = match.groups()
        changed = numbers(content)
        fits = NUMBER.fullmatch if name == "th" else NUMBER.search
        if fits(content.strip()) and "class=" not in attributes:
            attributes += ' class="number"'
        return f"<{name}{attributes}>{changed}</{name}>"

    text = FOOTER.sub("", CELL.sub(cell, text))
    rows = text.partition("<tbody")[2].count("<tr")
    if "<details" not in text and rows > ROWS:
        text = (
            f'<details class="long-table"><summary>Table of {rows} rows</summary>{text}</details>'
        )
    return text


def output_of(node: nodes.Node) -> bool:
    """Whether a node is in what a cell has printed or returned."""
    while node is not None:
        if isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output":
            return True
        node = node.parent
    return False


def write(node: nodes.Element, text: str) -> None:
    """Replace what a node holds by a text."""
    node.clear()
    node += nodes.Text(text)


def rewrite(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Write the outputs and the numbers of a page anew."""
    if app.builder.format != "html":
        return
    for block in list(document.findall(nodes.literal_block)):
        if not output_of(block):
            continue
        text = block.astext()
        if (made := dict_table(text)) is not None:
            raw = nodes.raw("", made, format="html", classes=["output", "text_html"])
            block.replace_self(raw)
        else:
            block.rawsource = plain_text(text)  # as the highlighter asks: equal to the text
            write(block, block.rawsource)
    for raw in document.findall(nodes.raw):
        if output_of(raw) and "<table" in raw.astext():
            write(raw, table(raw.astext()))
    for entry in document.findall(nodes.entry):  # of a table in Markdown that a cell has made
        if output_of(entry):
            for text in list(entry.findall(nodes.Text)):
                if not isinstance(text.parent, nodes.math):
                    text.parent.replace(text, nodes.Text(numbers(text)))
    for glued in document.findall(nodes.inline):
        if "pasted-text" in glued["classes"]:
            write(glued, numbers(glued.astext()))
    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, (nodes.literal_block, nodes.raw, nodes.math, nodes.math_block)):
            continue
        if GROUP.search(text):
            text.parent.replace(text, nodes.Text(GROUP.sub("\N{NO-BREAK SPACE}", text)))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.connect("doctree-resolved", rewrite)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
