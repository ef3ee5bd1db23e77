"""The book's reference pages: complete, without repetition, and true to the source."""

import html
import importlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_gallery_rules import GALLERY

from icrl_flax.rules import discover

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "book" / "_ext"
sys.path.append(str(EXTENSIONS))

api_reference = pytest.importorskip("api_reference", reason="needs the book's extra")

DIRECTIVE = re.compile(r"^\.\. ([\w:-]+):: (\S+)", flags=re.MULTILINE)
ROOMS = (
    "icrl_flax",
    *(
        f"icrl_flax.{room}"
        for room in ("mdps", "experience", "attention", "rules", "control", "training")
    ),
    *(f"icrl_flax.{room}" for room in ("experiments", "theory", "plots")),
)


def documented() -> list[tuple[str, str]]:
    """Directive and full path of every object on the reference pages."""
    pages = sorted((ROOT / "book" / "api").glob("*.md"))
    texts = [page.read_text(encoding="utf-8") for page in pages]
    found = [
        entry
        for text in texts
        for entry in DIRECTIVE.findall(text)
        if "." in entry[1] or entry[0] == "library-rest"
    ]
    paths = {path.rpartition(".")[2]: path for name, path in found if name != "library-rest"}
    for package in (path for name, path in found if name == "library-rest"):
        rest = api_reference.rest(package, paths)
        found += [("of the rest", path) for path in rest.values()]
        paths |= rest
    return [entry for entry in found if entry[0] != "library-rest"]


def resolve(path: str):
    """The object that a full path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ROOMS)
def test_every_public_name_is_documented_exactly_once(name):
    package = importlib.import_module(name)
    paths = [path for _, path in documented() if path.startswith("icrl_flax")]
    found = Counter(
        name
        for name in package.__all__
        for path in paths
        if path.rpartition(".")[2] == name and resolve(path) is getattr(package, name)
    )
    missing = sorted(set(package.__all__) - set(found))
    assert not missing, f"add to a page in book/api/: {', '.join(missing)}"
    assert max(found.values()) == 1, f"documented twice: {found.most_common(3)}"


@pytest.mark.parametrize("name", GALLERY)
def test_rules_of_the_gallery_are_documented(name):
    """Those that came with the library: a file that somebody adds asks for no page."""
    objects = [resolve(path) for _, path in documented()]
    assert objects.count(discover()[name]) == 1, f"add {name} to book/api/rules.md"


def test_nothing_stands_on_two_pages():
    objects = [resolve(path) for directive, path in documented() if directive != "py:data"]
    twice = [path for _, path in documented() if [p for _, p in documented()].count(path) > 1]
    assert not twice
    # By identity, since an object may be reached under two paths.
    assert max(Counter(map(id, objects)).values()) == 1


def test_directives_fit_what_they_document():
    for directive, path in documented():
        obj = resolve(path)
        if directive == "autoclass":
            assert isinstance(obj, type), path
        elif directive == "autofunction":
            assert inspect.isroutine(inspect.unwrap(obj)), path


LIBRARY = '''
"""A library."""

import dataclasses
import functools
from typing import NamedTuple

import equinox as eqx
from jaxtyping import Array, Float

Loss = dict


def wrapped(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


def made(default):
    return eqx.field(static=True, default=default)


class Point(eqx.Module):
    """A point with |x| ≤ 1.

    Args:
        x: of the point; see `double`, or `numpy`.

    Raises:
        ValueError: never.
    """

    x: Float[Array, " double"]
    """Hidden, since it is described above."""
    size: int = made(9)
    """Own words: not a type."""

    @property
    def norm(self) -> float:
        """Norm of x: the Euclidean one."""
        return 0.0


class Pair(NamedTuple):
    """Two of them.

    Attributes:
        a, b: each with *heads axes.
    """

    a: Point
    b: Point


@wrapped
def double(point: Point, by: float | Float[Array, ""] = 2.0, *, out: "Pair | None" = None) -> Pair:
    """The point twice, w̃ and V̄⋆21.

    Returns:
        both: a pair.
    """
'''

PAGE = """
Reference
=========

.. autoclass:: library.Point
.. autoclass:: library.Pair
.. autofunction:: library.double
"""

CONFIGURATION = f"""
import sys
sys.path += [{str(EXTENSIONS)!r}, "."]
extensions = ["api_reference"]
autodoc_default_options = {{"members": True, "undoc-members": True}}
napoleon_custom_sections = [("Attributes", "params_style")]
api_reference_pages = ["index.rst"]
nitpick_ignore_regex = [("py:class", "Float|Array|NamedTuple|eqx.*|equinox.*")]
html_theme = "basic"
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The text of a reference page, and the page, for a library of three names."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "library.py").write_text(LIBRARY, encoding="utf-8")
    (folder / "index.rst").write_text(PAGE, encoding="utf-8")
    (folder / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html", ".", "html"]
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=200
    )
    assert run.returncode == 0, run.stderr
    return (folder / "html" / "index.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """The page without its tags, every run of white space one blank."""
    text = re.sub(r"<head>.*?</head>|<[^>]*>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text)).replace("¶", "")


def test_signatures_are_the_source_s_own(page):
    text = text_of(page)
    assert "class library.Point(x: Float[Array, 'double'], size: int = 9)" in text
    assert "class library.Pair(a: Point, b: Point)" in text
    assert "library.double(point: Point, by: float | Float[Array, ''] = 2.0" in text
    assert "out: Pair | None = None) → Pair" in text
    assert '<a class="reference internal" href="#library.Point"' in page


def test_docstrings_are_shown_as_they_read(page):
    text = text_of(page)
    assert "A point with |x| ≤ 1." in text
    assert "each with *heads axes" in text
    assert "The point twice, w̃ and V̄⋆21." in text
    # A colon in an attribute's or a result's text does not make its start a type.
    for sentence in ("Norm of x: the Euclidean one.", "both: a pair."):
        assert sentence in text
    assert 'href="#library.double"' in page
    assert '<code class="docutils literal notranslate"><span class="pre">numpy</span>' in page


def test_described_fields_are_not_repeated(page):
    text = text_of(page)
    assert "Hidden" not in text
    assert "Own words: not a type." in text
    assert "Alias for field number" not in text
