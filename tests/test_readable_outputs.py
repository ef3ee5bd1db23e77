"""What cells print and return stands in the built pages as readers write it."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "book" / "_ext"))

pytest.importorskip("docutils", reason="needs the book's extra")
import readable_outputs as outputs
from docutils import nodes
from docutils.utils import new_document


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("4.2e-12", "4.2·10⁻¹²"),
        ("1e-12", "10⁻¹²"),
        ("-1e-3", "-10⁻³"),
        ("a 1.0e-05.", "a 10⁻⁵."),
        ("3.5e+00", "3.5"),
        ("0.12345678901234567", "0.123457"),
        ("0.0000123456789012", "1.23457·10⁻⁵"),
        ("np.float64(0.5), (np.int64(3), np.bool_(True))", "0.5, (3, True)"),
        ("array([1., 2.])", "[1., 2.]"),
        ("500000 and 20402", "500000 and 20402"),
        ("{'a': 0.1, 'b': [1, 2]}", "a: 0.1, b: 1, 2"),
        ("range 1e-3–1e-2 (1e-4)", "range 10⁻³–10⁻² (10⁻⁴)"),
        ("x  0.5\nName: y, dtype: float64", "x  0.5"),
        # Not numbers, or not to be touched.
        ("0.10.2, 2026-11-27, 12:30:11", "0.10.2, 2026-11-27, 12:30:11"),
        ("3e5f1c, seed_1e3, ../1e-3/x, 1e-3.csv", "3e5f1c, seed_1e3, ../1e-3/x, 1e-3.csv"),
        ("0.1000, 12.50 and 0.999999994", "0.1000, 12.50 and 0.999999994"),
    ],
)
def test_text(written, read):
    assert outputs.plain_text(written) == read
    assert outputs.plain_text(read) == read, "twice is as once"


def test_columns_stay_below_each_other():
    text = "a      1.0e-12   3.4\nbb     2.0e-01  14.5\n"
    first, second = outputs.plain_text(text).splitlines()
    assert first.index("3.4") + 3 == second.index("14.5") + 4


def test_dict_is_a_table():
    made = outputs.dict_table("{'a': np.float64(0.25), 'b': nan}")
    assert re.sub("<[^>]*>", " ", made).split() == ["a", "0.25", "b", "nan"]
    nested = outputs.dict_table("{'a': {'x': 1e-3, 'y': 2}, 'b': {'x': 3, 'y': 4}}")
    assert re.sub("<[^>]*>", " ", nested).split() == ["x", "y", "a", "0.001", "2", "b", "3", "4"]
    assert outputs.dict_table("[1, 2]") is None
    assert outputs.dict_table("not Python") is None


def test_tables():
    rows = "".join(f"<tr><th>{k}</th><td>{k}.5e-9</td><td>word</td></tr>" for k in range(16))
    made = outputs.table(f"<table><tbody>{rows}</tbody></table>")
    assert "<summary>Table of 16 rows</summary>" in made
    assert '<td class="number">3.5·10⁻⁹</td><td>word</td>' in made
    assert outputs.table(made) == made
    assert "<details" not in outputs.table("<table><tbody><tr><td>1</td></tr></tbody></table>")


def test_thousands():
    assert (
        outputs.GROUP.sub("_", "10 000 of 1 234 567, 3 in 20 00")
        == "10_000 of 1_234_567, 3 in 20 00"
    )


def test_tables_in_markdown():
    """Those that a cell has made, but for their formulas and for tables of the prose."""

    def entry(output):
        text = nodes.paragraph("", "7e-16", nodes.math("", "1e-3"))
        table = nodes.table(
            "", nodes.tgroup("", nodes.tbody("", nodes.row("", nodes.entry("", text))))
        )
        return nodes.container("", table, nb_element="cell_code_output" if output else "prose")

    document = new_document("page")
    document += [entry(True), entry(False)]
    app = SimpleNamespace(builder=SimpleNamespace(format="html"))
    outputs.rewrite(app, document, "page")
    made, written = (part.astext() for part in document.findall(nodes.paragraph))
    assert (made, written) == ("7·10⁻¹⁶1e-3", "7e-161e-3")
