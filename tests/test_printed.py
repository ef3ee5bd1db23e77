"""Claims about a page's own numbers, and that chapters step aside when a reader changes one."""

import ast
import re
from pathlib import Path

import jupytext
import pytest

from icrl_flax.experiments import AsPrinted

ROOT = Path(__file__).resolve().parent.parent
CHANGES = {  # chapter: a number that a reader would change first, and another one
    "the_setting": ("WINDOWS = 1000", "WINDOWS = 200"),
    "theorem_3_1": ("N = 20", "N = 5"),
    "theorem_3_3": ("N = 20 ", "N = 5 "),
    "algorithm_1": ("mdps=10_000", "mdps=500"),
    "algorithm_2": ("mdps=10_000", "mdps=500"),
    "figure_3": ("SEEDS = 10", "SEEDS = 2"),
    "tracking": ("STEPS = 10_000", "STEPS = 500"),
    "transfer": ("mdps=2000", "mdps=500"),
    "depth": ("STEPS = 300", "STEPS = 600"),
    "seeds_and_sensitivity": ("N = 4000", "N = 1000"),
    "softmax": ("HELD_OUT = 100", "HELD_OUT = 50"),
    "gallery": ("STARTS = 16", "STARTS = 4"),
    "beyond_one_head": ("STARTS = 16", "STARTS = 4"),
    "speed": ("WINDOWS, N = 50, 20", "WINDOWS, N = 20, 20"),
}


def code_of(chapter: str) -> str:
    """A chapter as a script."""
    cells = jupytext.read(ROOT / "notebooks" / f"{chapter}.md").cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


def test_at_the_printed_settings_a_claim_is_an_assertion():
    with pytest.raises(AssertionError, match="too small"), AsPrinted(mdps=(500, 500)):
        raise AssertionError("too small")


def test_elsewhere_it_steps_aside_and_says_so(capsys):
    claims = AsPrinted(mdps=(500, 10_000), seeds=(5, 5))
    assert not claims.holds
    with claims:
        raise AssertionError("the loss is too high")
    said = capsys.readouterr().out
    assert "mdps = 500, not 10000" in said
    assert "the loss is too high" in said
    assert "seeds" not in said


def test_a_claim_that_holds_elsewhere_says_nothing(capsys):
    with AsPrinted(mdps=(500, 10_000)):
        pass
    assert capsys.readouterr().out == ""


def test_other_errors_are_never_swallowed():
    with pytest.raises(KeyError), AsPrinted(mdps=(500, 10_000)):
        raise KeyError("x")


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"settings .*none"):
        AsPrinted()
    with pytest.raises(ValueError, match=r"mdps .*500"):
        AsPrinted(mdps=(500,))


@pytest.mark.parametrize("chapter", CHANGES)
def test_the_number_to_change_stands_once_and_the_page_knows_it(chapter):
    code = code_of(chapter)
    old, new = CHANGES[chapter]
    assert code.count(old) == 1, f"{old!r} stands {code.count(old)} times"
    ast.parse(code.replace(old, new))
    if chapter != "theorem_3_1":  # which claims nothing about its sizes
        assert re.search(r"^PRINTED = icrl.experiments.AsPrinted\(", code, flags=re.MULTILINE)


@pytest.mark.parametrize("chapter", CHANGES)
def test_every_printed_value_is_the_one_in_use(chapter):
    """The second number of each pair is what the chapter's own line says."""
    code = code_of(chapter)
    for call in re.findall(r"AsPrinted\((.*?)\)\n", code, flags=re.DOTALL):
        for name, printed in re.findall(r"([A-Z_]+)=\(\1, ([\d_.]+)\)", call):
            (used,) = re.findall(rf"^{name} = ([\d_.]+)", code, flags=re.MULTILINE) or [None]
            if used is not None:
                assert float(used) == float(printed), name
