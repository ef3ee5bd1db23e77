"""First screens and folded cells of a chapter, in a small book."""

import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).resolve().parent.parent / "book" / "_ext"
sys.path.append(str(EXTENSIONS))

pytest.importorskip("myst_nb", reason="needs the book's extra")
import code_cells  # noqa: E402
import full_size  # noqa: E402

CONFIGURATION = f"""
import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_nb", "code_cells", "chapter_summary", "spoken"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
nb_execution_mode = "off"
suppress_warnings = ["myst-nb.lexer"]  # of a notebook that was not executed
html_theme = "sphinx_book_theme"
exclude_patterns = ["html"]
"""
CHAPTER = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# A chapter

:::{chapter-summary}
:before: other, third
One and one is $2$.
:::

The sum of one and one is computed.

```{code-cell}
import math
```

```{code-cell}
total = 1 + 1
```

```{code-cell}
:tags: [hide-input]
:check: 'the sum is two, on "all" machines'

assert total == 2
```

```{code-cell}
:tags: [hide-input]

def add(a, b):
    \"\"\"The sum of two numbers.

    Nothing more.
    \"\"\"
```
"""
PAGES = {
    "index": "# Book\n\n```{toctree}\nchapter\nother\nthird\n```\n",
    "chapter": CHAPTER,
    "other": "# Another chapter\n",
    "third": "# A third chapter\n",
}


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """The page of the chapter."""
    folder = tmp_path_factory.mktemp("book")
    (folder / "conf.py").write_text(CONFIGURATION, "utf-8")
    for name, text in PAGES.items():
        (folder / f"{name}.md").write_text(text, "utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(folder)]
    subprocess.run([*command, str(folder / "html")], check=True)
    return BeautifulSoup((folder / "html" / "chapter.html").read_text("utf-8"), "html.parser")


def test_first_screen(chapter):
    box = chapter.select_one(".chapter-summary")
    assert box.select_one(".chapter-claim > p").get_text().startswith("One and one is")
    line = box.select_one("p.chapter-reading")
    said = "1 minute to read · 1 check passed when this page was made · read before: "
    assert line.get_text() == said + "Another chapter, A third chapter"
    assert [link["href"] for link in line.select("a")] == ["other.html", "third.html"]


def test_folded_cells_say_what_they_are(chapter):
    said = [line.get_text() for line in chapter.select("div.cell summary p.collapsed")]
    assert said == [
        "Set-up: imports and settings",
        '✓ checked: the sum is two, on "all" machines',
        "Code: The sum of two numbers",
    ]
    (open_cell,) = (
        cell for cell in chapter.select("div.cell_input") if cell.find_parent("details") is None
    )
    assert "total = 1 + 1" in open_cell.get_text()
    assert not chapter.select("summary[aria-label]"), "which would be read in its place"


@pytest.mark.parametrize(
    ("source", "check", "imports"),
    [
        ("assert x", True, False),
        ("with PRINTED:\n    assert x", True, False),
        ("np.testing.assert_allclose(a, b)", True, False),
        ("# first\nimport numpy", False, True),
        ("from a import b\nassert b", True, True),
        ("x = 'assert y'", False, False),
        ("%magic", False, False),
    ],
)
def test_kinds_of_code(source, check, imports):
    assert code_cells.is_check(source) == check
    assert code_cells.imports(source) == imports


def test_width_of_pictures(tmp_path):
    svg = tmp_path / "a.svg"
    svg.write_text('<?xml version="1.0"?>\n<svg height="72pt" version="1.1" width="144.5pt">')
    assert full_size.width(svg) == pytest.approx(144.5 * 96 / 72)
    png = tmp_path / "a.png"
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1920).to_bytes(4, "big") + (960).to_bytes(4, "big")
    physical = b"\0\0\0\x09pHYs" + (7559).to_bytes(4, "big") * 2 + b"\x01"
    png.write_bytes(head + b"\x08\x06\0\0\0" + b"crc4" + physical)
    assert full_size.width(png) == pytest.approx(960, rel=1e-3)
    assert full_size.width(tmp_path / "missing.png") is None
