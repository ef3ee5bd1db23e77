"""Claims about a page's own numbers, and that chapters step aside when a reader changes one."""

import ast
import re

import pytest
from changed_number import CHANGES, ROOT, code_of

from icrl_flax.experiments import AsPrinted

CONSTANT = re.compile(r"[A-Z][A-Z_]*")


def settings_of(chapter: str) -> dict[str, tuple[ast.expr, ast.expr]]:
    """What a chapter gives to `AsPrinted`: by name, the value in use and the printed one."""
    found = {}
    for node in ast.walk(ast.parse(code_of(chapter))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("AsPrinted"):
            for each in node.keywords:
                assert isinstance(each.value, ast.Tuple), ast.unparse(each)
                found[each.arg] = tuple(each.value.elts)
    return found


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


def test_every_chapter_has_a_number_to_change():
    assert set(CHANGES) == {page.stem for page in (ROOT / "notebooks").glob("*.md")}


@pytest.mark.parametrize("chapter", CHANGES)
def test_the_number_to_change_stands_once_and_the_page_knows_it(chapter):
    code = code_of(chapter)
    old, new = CHANGES[chapter]
    assert code.count(old) == 1, f"{old!r} stands {code.count(old)} times"
    ast.parse(code.replace(old, new))
    if chapter == "theorem_3_1":  # which claims nothing about its sizes
        return
    assert re.search(r"^PRINTED = icrl.experiments.AsPrinted\(", code, flags=re.MULTILINE)
    name = re.split(r"[ =,]", old)[0]
    assert name in settings_of(chapter), f"PRINTED does not know {name}"
    assert code.index("PRINTED = ") < code.index("with PRINTED:")


@pytest.mark.parametrize("chapter", CHANGES)
def test_every_printed_value_is_the_one_in_use(chapter):
    """The second number of each pair is what the chapter's own line says."""
    lines = {}
    for node in ast.parse(code_of(chapter)).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            lines.setdefault(node.targets[0].id, node.value)
    for name, (used, printed) in settings_of(chapter).items():
        if isinstance(used, ast.Name) and CONSTANT.fullmatch(used.id) and used.id in lines:
            assert ast.literal_eval(lines[used.id]) == ast.literal_eval(printed), name


class Names(ast.NodeVisitor):
    """Names that a script sets and reads, within its claims about sizes and outside them."""

    def __init__(self, script: str) -> None:
        self.inside, self.set, self.read = set(), set(), set()
        self.claim = False
        self.visit(ast.parse(script))

    def visit_With(self, node: ast.With) -> None:
        before = self.claim
        self.claim |= ast.unparse(node.items[0].context_expr) == "PRINTED"
        self.generic_visit(node)
        self.claim = before

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            (self.inside if self.claim else self.set).add(node.id)
        elif not self.claim:
            self.read.add(node.id)


@pytest.mark.parametrize("chapter", CHANGES)
def test_nothing_is_missing_where_a_claim_steps_aside(chapter):
    """Names that are set in a claim alone, after an assertion that may fail."""
    names = Names(code_of(chapter))
    assert not (names.inside - names.set) & names.read


def test_what_would_be_missing_is_seen():
    names = Names("with PRINTED:\n    assert a\n    b = 1\nfor c in b: d = c")
    assert (names.inside, names.set, names.read) == ({"b"}, {"c", "d"}, {"b", "c"})
