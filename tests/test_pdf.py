"""Printing one page with Chromium: the PDF, and what it says is wrong with a page."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

pdf = pytest.importorskip("pdf", reason="needs Playwright")

try:
    pdf.chromium()
except FileNotFoundError as missing:
    pytestmark = pytest.mark.skip(reason=str(missing))

# As MathJax leaves a page: a promise that is kept, and a container for each formula.
PAGE = """<!doctype html><meta charset="utf-8"><title>Book</title>
<script>window.MathJax = {{startup: {{promise: Promise.resolve()}}}}</script>
<article>
<h1>Chapter</h1>
<span class="math"><mjx-container>x</mjx-container></span>
{body}
</article>"""


def print_page(folder: Path, body: str) -> tuple[bytes, list[str]]:
    """Print a page with this body; return the PDF and what is wrong."""
    page = folder / "page.html"
    page.write_text(PAGE.format(body=body), encoding="utf-8")
    problems = pdf.print_pdf(page, folder / "book.pdf")
    return (folder / "book.pdf").read_bytes(), problems


def test_a_good_page_is_printed(tmp_path):
    long_line = "<pre>" + "x = 1; " * 100 + "</pre>"
    table = "<table><tr>" + "<td>words that wrap</td>" * 12 + "</tr></table>"
    printed, problems = print_page(tmp_path, long_line + table)
    assert printed.startswith(b"%PDF-")
    assert problems == []
    # Nothing temporary is left.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.pdf", "page.html"]


def test_a_table_shrinks_as_far_as_it_can_be_read(tmp_path):
    table = '<table style="width: {}px"><tr><td>numbers</td></tr></table>'
    assert print_page(tmp_path, table.format(900))[1] == []
    assert print_page(tmp_path, table.format(1300))[1] == ["cut off: TABLE numbers"]


def test_what_does_not_fit_or_render_is_reported(tmp_path):
    body = (
        '<table style="width: 2000px"><tr><td>a wide table</td></tr></table>'
        '<span class="math">\\(raw\\)</span>'
        '<span class="math"><mjx-container><mjx-merror>bad</mjx-merror></mjx-container></span>'
        '<img src="nowhere.png" alt="missing"><script src="nowhere.js"></script>'
    )
    _, problems = print_page(tmp_path, body)
    assert [problem.partition(":")[0] for problem in problems] == [
        "not found",
        "not rendered",
        "error in a formula",
        "cut off",
    ]
    assert problems[0].endswith("nowhere.png")
    assert "a wide table" in problems[3]


def test_a_page_without_mathjax_is_refused_at_once(tmp_path):
    (tmp_path / "page.html").write_text("<article>text</article>", encoding="utf-8")
    problems = pdf.print_pdf(tmp_path / "page.html", tmp_path / "book.pdf")
    assert problems == ["not rendered: the page has no MathJax"]
    assert not (tmp_path / "book.pdf").exists()


def test_without_a_built_page_it_says_what_to_do(tmp_path):
    with pytest.raises(SystemExit, match=r"no page at .*nowhere\.html: build the book"):
        pdf.main(["--page", str(tmp_path / "nowhere.html")])
