"""Theorems, exercises and what links to them show, in a small book."""

import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from bs4 import BeautifulSoup

EXTENSIONS = Path(__file__).resolve().parent.parent / "book" / "_ext"
sys.path.append(str(EXTENSIONS))

from run_anywhere import without_solutions  # noqa: E402

CONFIGURATION = f"""
import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_nb", "sphinx_proof", "sphinx_exercise", "blocks", "site_pages"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
nb_execution_mode = "off"
suppress_warnings = ["myst-nb.lexer"]  # of a notebook that was not executed
html_theme = "sphinx_book_theme"
site_redirects = {{"old/02_two": "two"}}
exclude_patterns = ["html"]
"""
INDEX = """# Book

This paragraph says in a few words what the book is about, for search engines.

See {prf:ref}`the theorem <theorem-1>` and the {ref}`list <prf-prf>`.

```{toctree}
two
```
"""
TWO = """---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {name: python3, display_name: Python 3}
---
# Two

:::{prf:theorem} Of addition
:label: theorem-1
:nonumber:
$1 + 1 = 2$.
:::

:::{prf:proof}
Counted.
:::

:::{prf:proof}
Counted again.
:::

:::{exercise-start}
:label: add
:::
Add.
:::{exercise-end}
:::

:::{solution-start} add
:label: sum
:class: dropdown
:::
The sum is a secret.

```{code-cell}
1 + 1
```
:::{solution-end}
:::
"""


def build(folder: Path, *options: str) -> Path:
    folder.mkdir()
    for name, text in (("conf.py", CONFIGURATION), ("index.md", INDEX), ("two.md", TWO)):
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html", *options]
    run = subprocess.run(
        [*command, str(folder), str(folder / "html")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("book") / "source")


def soup(site: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((site / page).read_text("utf-8"), "html.parser")


def test_identifiers_are_unique_and_theorems_keep_theirs(site):
    names = [element["id"] for element in soup(site, "two.html").select("[id]")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert "theorem-1" in names


def test_the_index_has_titles(site):
    (entry,) = soup(site, "prf-prf.html").select("article a[href='two.html#theorem-1']")
    assert entry.get_text() == "Of addition"


def test_a_link_to_another_page_carries_what_it_shows(site):
    (template,) = soup(site, "index.html").select("template")
    assert template["data-preview"] == "two.html#theorem-1"
    assert "1 + 1 = 2" in template.get_text()
    assert not template.select("[id]")


def test_solutions_are_shown_or_hidden(site, tmp_path):
    assert "a secret" in (site / "two.html").read_text("utf-8")
    hidden = soup(build(tmp_path / "source", "-D", "hide_solutions=1"), "two.html")
    assert "a secret" not in hidden.get_text()
    assert "Add." in hidden.get_text()


def test_notebooks_lose_the_same_solutions():
    cells = jupytext.reads(TWO, "md:myst").cells
    left = "".join(cell.source for cell in without_solutions(cells))
    assert left.rstrip().endswith(":::{exercise-end}\n:::")
    short = jupytext.reads("A\n\n:::{solution} add\nB\n:::\n\nC", "md:myst").cells
    assert [cell.source.split() for cell in without_solutions(short)] == [["A", "C"]]


def test_pages_beside_the_chapters(site):
    description = soup(site, "index.html").select_one("meta[name=description]")
    assert description is not None
    assert str(description["content"]).startswith("This paragraph says in a few words")
    assert "../two.html" in (site / "old" / "02_two.html").read_text("utf-8")
    assert "No such page" in (site / "404.html").read_text("utf-8")
    assert not (site / "sitemap.xml").exists()  # without an address there is no map


def test_with_an_address_there_is_a_map_and_404_works_anywhere(tmp_path):
    address = "https://me.github.io/book/"
    site = build(tmp_path / "source", "-D", f"html_baseurl={address}")
    assert f"<loc>{address}two.html</loc>" in (site / "sitemap.xml").read_text("utf-8")
    for link in soup(site, "404.html").select("link[rel=stylesheet], a.reference.internal"):
        assert str(link["href"]).startswith(("/book/", "#"))
