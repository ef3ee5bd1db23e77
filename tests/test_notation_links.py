"""The book's extension that links symbols to the notation page, on a tiny project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "book" / "_ext"

CONFIGURATION = f"""
import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_parser", "notation_links"]
myst_enable_extensions = ["dollarmath"]
source_suffix = {{".md": "markdown"}}
notation_page = "book/notation"
notation_chapters = ["chapters/*"]
html_theme = "basic"
"""

NOTATION = r"""
# Notation

| symbol | meaning |
| --- | --- |
| $n$ | transitions in a window |
| $d$, $m$ | numbers of features |
| $r$ | reward |
| $P$ | the block's weights |
| $P(s' \mid s, a)$ | transition kernel |
| $\tilde w$ | $[1\,;\ w]$ |
| $L(\theta)$ | population loss |
| $\Delta = (U, W)$ | offset |

## Second meanings

| symbol | in | there it is |
| --- | --- | --- |
| $r$ | {doc}`../chapters/two` | radius |
"""


def build(folder: Path, chapters: dict[str, str], notation: str = NOTATION) -> dict[str, str]:
    """Build a book of these chapters; return the pages, or fail with Sphinx's message."""
    source = folder / "source"
    chapters = {"two": "# The chapter that the notation page names\n", **chapters}
    names = [f"chapters/{name}" for name in chapters]
    toctree = "\n".join(["```{toctree}", *names, "book/notation", "```"])
    pages = {f"chapters/{name}.md": text for name, text in chapters.items()}
    pages |= {"conf.py": CONFIGURATION, "index.md": f"# Book: $n$\n\nHere $n$.\n\n{toctree}\n"}
    pages["book/notation.md"] = notation
    for name, text in pages.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html"]
    run = subprocess.run(
        [*command, str(source), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    built = {path.stem: path for path in (folder / "html").rglob("*.html")}
    return {name: path.read_text(encoding="utf-8") for name, path in built.items()}


def links(page: str) -> list[tuple[str, str]]:
    """The page's links to symbols: where each goes and the formula in it."""
    pattern = r'<a class="notation[^"]*" href="\.\./book/notation\.html#([^"]+)"[^>]*>(.*?)</a>'
    found = re.findall(pattern, page, flags=re.DOTALL)
    return [(anchor, re.sub(r"<[^>]*>", "", text)) for anchor, text in found]


def test_the_first_use_of_each_symbol_leads_to_its_row(tmp_path):
    text = r"""
# Chapter with $n$ in its title

A window of $n$ steps, once more $n$. Sizes are $d = 6$ and $m$, then $d$.
Reward $r(s, a)$. Weights $P$ and the kernel $P(\cdot \mid s)$, $P$ again.

- $\tilde{w}\in \mathbb R^q$ and $L$, later $L(\theta)$ and $L(\theta_0)$
- $\Delta$ but not $\Delta^2$, $2n$, $n^2 = 4$ or $x = n$
"""
    pages = build(tmp_path, {"one": text})
    assert links(pages["one"]) == [
        ("notation-n", r"\(n\)"),
        ("notation-d", r"\(d = 6\)"),
        ("notation-d", r"\(m\)"),
        ("notation-r", r"\(r(s, a)\)"),
        ("notation-P", r"\(P\)"),
        ("notation-P-s-mid-s-a", r"\(P(\cdot \mid s)\)"),
        ("notation-tilde-w", r"\(\tilde{w}\in \mathbb R^q\)"),
        ("notation-L-theta", r"\(L\)"),
        ("notation-Delta-U-W", r"\(\Delta\)"),
    ]
    anchors = set(re.findall(r'<tr[^>]* id="([^"]+)"', pages["notation"]))
    assert {anchor for anchor, _ in links(pages["one"])} < anchors
    assert 'title="Notation: transitions in a window"' in pages["one"]
    # Formulas in a tooltip would be raw LaTeX.
    assert 'title="Notation"' in pages["one"]
    assert "[1" not in "".join(re.findall(r'title="Notation[^"]*"', pages["one"]))


def test_only_chapters_are_linked_and_never_inside_other_links(tmp_path):
    text = "# Chapter\n\nSee [the page about $n$](https://example.org), where $n$ is.\n"
    pages = build(tmp_path, {"one": text})
    assert links(pages["one"]) == [("notation-n", r"\(n\)")]
    assert "where <a" in pages["one"]
    assert 'class="notation' not in pages["index"]
    assert 'class="notation' not in pages["notation"]


def test_a_second_meaning_holds_in_the_chapters_that_its_row_names(tmp_path):
    text = "# Chapter\n\nThe letter $r < 1$ is.\n"
    pages = build(tmp_path, {"one": text, "two": text})
    assert links(pages["one"]) == [("notation-r", r"\(r &lt; 1\)")]
    assert links(pages["two"]) == [("notation-r-again", r"\(r &lt; 1\)")]
    assert 'title="Notation: radius"' in pages["two"]


def test_a_symbol_with_two_rows_is_refused(tmp_path):
    doubled = NOTATION.replace(r"| $r$ | reward |", "| $r$ | reward |\n| $r$ | rank |")
    with pytest.raises(AssertionError, match="r has two rows"):
        build(tmp_path, {"one": "# Chapter\n\n$r$\n"}, doubled)
