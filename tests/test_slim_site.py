"""What the built site can do without, on a folder that looks like one."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "book" / "_ext"))

from slim_site import slim

NEEDED = [
    "_static/mathjax/tex-chtml.js",
    "_static/mathjax/input/tex/extensions/cancel.js",
    "_static/mathjax/output/chtml/fonts/woff-v2/MathJax_Main-Regular.woff",
    "_static/mathjax/sre/mathmaps/en.json",
    "_static/mathjax/ui/menu.js",
    "_static/scripts/bootstrap.js",
    "_static/vendor/fontawesome/webfonts/fa-solid-900.woff2",
    "notebooks/data.map",
]
SUPERFLUOUS = [
    "_static/mathjax/tex-svg-full.js",
    "_static/mathjax/input/mml.js",
    "_static/mathjax/sre/mathmaps/de.json",
    "_static/scripts/bootstrap.js.map",
    "_static/scripts/fontawesome.js",
    "_static/locales/de/LC_MESSAGES/booktheme.mo",
    "_static/vendor/fontawesome/webfonts/fa-solid-900.ttf",
]
SCRIPTS = (
    '  <script defer src="../_static/scripts/fontawesome.js?digest=5"></script>\n'
    '  <script defer src="../_static/scripts/bootstrap.js?digest=5"></script>\n'
)


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder with every kind of file."""
    for name in NEEDED + SUPERFLUOUS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("ten bytes.", encoding="utf-8")
    (tmp_path / "notebooks" / "one.html").write_text(f"<p>π</p>\n{SCRIPTS}", encoding="utf-8")
    return tmp_path


def test_only_what_no_page_loads_goes(site):
    assert slim(site) == 10 * len(SUPERFLUOUS)
    left = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert left == {*NEEDED, "notebooks/one.html"}
    # No empty folders stay behind.
    assert not (site / "_static" / "locales").exists()


def test_pages_do_not_ask_for_the_script_that_is_gone(site):
    slim(site)
    text = (site / "notebooks" / "one.html").read_text(encoding="utf-8")
    assert text == "<p>π</p>\n" + SCRIPTS.splitlines(keepends=True)[1]


def test_slimming_twice_changes_nothing(site):
    slim(site)
    before = sorted(path for path in site.rglob("*"))
    assert slim(site) == 0
    assert sorted(path for path in site.rglob("*")) == before


def test_another_mathjax_is_not_thrown_away(site):
    (site / "_static" / "mathjax" / "tex-chtml.js").unlink()
    with pytest.raises(FileNotFoundError, match=r"tex-chtml\.js is missing"):
        slim(site)
    assert (site / "_static" / "mathjax" / "tex-svg-full.js").exists()
