"""The chapters' cross-references, and what of the library their code uses."""

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

import jupytext
import pytest

import icrl_flax
from icrl_flax.rules import discover

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.md"))
PAGES = [*CHAPTERS, *sorted((ROOT / "book").rglob("*.md"))]

# Of the numbers up to 14 the paper uses (8) for nothing that this book restates.
PAPER_EQUATIONS = [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]
PAPER_RESULTS = {
    "Theorem 3.1": ("theorem", "theorem-3-1"),
    "Theorem 3.2": ("theorem", "theorem-3-2"),
    "Theorem 3.3": ("theorem", "theorem-3-3"),
    "Lemma C.1": ("lemma", "lemma-c1"),
    "Lemma C.2": ("lemma", "lemma-c2"),
    "Proposition 3.1": ("proposition", "proposition-3-1"),
    "Algorithm 1": ("algorithm", "algorithm-1"),
    "Algorithm 2": ("algorithm", "algorithm-2"),
    "Assumption 1": ("assumption", "assumption-1"),
}

BLOCK = re.compile(r"^:{3,}\{prf:(\w+)\} *(.*)\n((?::[\w-]+:.*\n)*)", flags=re.MULTILINE)
LABEL = re.compile(r"^\(([\w-]+)\)=$|^:(?:label|name): *(\S+)$", flags=re.MULTILINE)
ROLE = re.compile(r"\{[\w:]+\}`[^`]*`")


def markdown_of(source: Path) -> str:
    """The text of a chapter without its code cells."""
    cells = jupytext.read(source).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown") + "\n"


def prose_of(text: str) -> str:
    """A chapter's sentences: no headings, no titles or options of blocks, no code."""
    text = re.sub(r"^(```+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^(#|:{3,}|:[\w-]+:).*$", "", text, flags=re.MULTILINE)


def unlinked_first_mentions(text: str) -> list[str]:
    """Names of results and equations that a chapter mentions before it links to them."""
    prose = prose_of(text)
    links = [match.span() for match in ROLE.finditer(prose)]

    def linked(match: re.Match[str]) -> bool:
        return any(start < match.start() and match.end() < end for start, end in links)

    found = []
    for name in PAPER_RESULTS:
        pattern = re.escape(name).replace(r"\ ", r"\s+") + r"(?!\d)"
        first = re.search(pattern, prose)
        if first is not None and not linked(first):
            found.append(name)
    equations: dict[str, re.Match[str]] = {}
    for mention in re.finditer(r"\beqs?\.\s+\(?(\d+)\)?", prose, flags=re.IGNORECASE):
        equations.setdefault(mention[1], mention)
    return found + [f"eq. ({n})" for n, first in equations.items() if not linked(first)]


TEXTS = {source: markdown_of(source) for source in CHAPTERS}


@pytest.mark.parametrize("number", PAPER_EQUATIONS)
def test_every_equation_of_the_paper_has_its_number_its_label_and_a_link(number):
    whole = "\n".join(TEXTS.values())
    blocks = whole.count(rf"\tag{{{number}}}")
    assert blocks == 1, f"eq. ({number}) stands in {blocks} blocks"
    opening = rf"^\(eq-{number}\)=\n(?:\$\$|\\begin\{{equation\*\}})\n"
    (start,) = (match.start() for match in re.finditer(opening, whole, flags=re.MULTILINE))
    # The label belongs to the block with the number, not to the one before.
    assert re.search(r"\\tag\{(\d+)\}", whole[start:])[1] == str(number)
    assert f"<eq-{number}>`" in whole, f"nothing refers to eq. ({number})"


def test_no_other_number_is_given_to_an_equation():
    numbers = re.findall(r"\\tag\{([^}]*)\}", "\n".join(TEXTS.values()))
    assert sorted(map(int, numbers)) == PAPER_EQUATIONS


@pytest.mark.parametrize(("name", "place"), PAPER_RESULTS.items(), ids=list(PAPER_RESULTS))
def test_every_result_of_the_paper_is_a_block_with_its_number(name, place):
    kind, label = place
    number = name.partition(" ")[2]
    found = [
        options
        for text in TEXTS.values()
        for block, title, options in BLOCK.findall(text)
        if block == kind and title.startswith(f"{number} of the paper")
    ]
    assert len(found) == 1, f"{name} stands in {len(found)} blocks"
    assert f":label: {label}\n" in found[0]
    assert ":nonumber:" in found[0], "the book's own number would stand beside the paper's"


def test_every_block_but_proofs_can_be_referred_to():
    for source, text in TEXTS.items():
        for kind, title, options in BLOCK.findall(text):
            assert kind == "proof" or ":label:" in options, f"{source.name}: {kind} {title}"


def test_proofs_are_blocks():
    for source, text in TEXTS.items():
        assert not re.search(r"^\*+Proof", text, flags=re.MULTILINE), source.name


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_no_formula_is_cut_by_a_line_that_starts_a_list(source):
    """A line that starts with a minus or a plus and a blank is an item, inside $…$ too."""
    prose = re.sub(r"^\$\$.*?\$\$", "", prose_of(TEXTS[source]), flags=re.MULTILINE | re.DOTALL)
    for paragraph in prose.split("\n\n"):
        for formula in re.findall(r"(?<!\\)\$(.*?)(?<!\\)\$", paragraph, flags=re.DOTALL):
            assert not re.search(r"\n *[-+*] ", formula), formula


def test_what_has_no_number_is_linked_by_words():
    """A reference without a text of its own would read "Theorem", and nothing more."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    without = set(re.findall(r"^:label: (\S+)\n:nonumber:", text, flags=re.MULTILINE))
    assert without
    assert not without & set(re.findall(r"\{prf:ref\}`([\w-]+)`", text))


def test_no_label_is_used_twice():
    labels = Counter(
        a or b for page in PAGES for a, b in LABEL.findall(page.read_text(encoding="utf-8"))
    )
    assert labels
    assert not [label for label, times in labels.items() if times > 1]


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_the_first_mention_of_a_result_is_a_link(source):
    missing = unlinked_first_mentions(TEXTS[source])
    assert not missing, f"link the first mention in {source.name} of {', '.join(missing)}"


def test_the_check_of_first_mentions_sees_what_it_should():
    linked = "By {prf:ref}`Lemma C.1 <lemma-c1>`, then Lemma C.1, {ref}`eq. (2) <eq-2>`, eq. (2)."
    assert unlinked_first_mentions(linked) == []
    assert unlinked_first_mentions("# Lemma C.1\n\n:::{prf:lemma} C.1\nText.\n:::\n") == []
    assert unlinked_first_mentions("Eq. (14) and Lemma\nC.1 and Theorem 3.14") == [
        "Lemma C.1",
        "eq. (14)",
    ]
    assert unlinked_first_mentions("Lemma C.2, {prf:ref}`Lemma C.2 <lemma-c2>`") == ["Lemma C.2"]


ROOMS = (
    "mdps",
    "experience",
    "attention",
    "attention.symbolic",  # which needs SymPy, and is therefore no part of `attention` itself
    "rules",
    "control",
    "training",
    "experiments",
    "theory",
    "plots",
)


def public_names() -> dict[str, set[str]]:
    """What chapters may use, by the dotted name of the package that offers it."""
    names = {"icrl_flax": {*icrl_flax.__all__, *(room for room in ROOMS if "." not in room)}}
    for room in ROOMS:
        module = importlib.import_module(f"icrl_flax.{room}")
        names[module.__name__] = set(module.__all__)
    names["icrl_flax.attention"].add("symbolic")
    names["icrl_flax.rules"] |= {kind.__name__ for kind in discover().values()}
    return names


def private_uses(code: str, public: dict[str, set[str]]) -> list[str]:
    """Imports and attributes of the library in some code that are not among the public names.

    Code that is a text in the code, to be written to a file, is looked at too.
    """
    found, aliases = [], {}

    def use(package: str, name: str) -> None:
        if name not in public.get(package, ()):
            found.append(f"{package}.{name}")

    def dotted(node: ast.expr) -> str | None:
        """The package that an expression names, if it names one."""
        if isinstance(node, ast.Name):
            return aliases.get(node.id)
        if isinstance(node, ast.Attribute) and (package := dotted(node.value)):
            return name if (name := f"{package}.{node.attr}") in public else None
        return None

    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                if each.name.partition(".")[0] == "icrl_flax":
                    if (each.name, each.asname) != ("icrl_flax", "icrl"):
                        found.append(f"import {each.name} as {each.asname}")
                    aliases["icrl"] = "icrl_flax"
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("icrl_flax."):
            for each in node.names:
                use(node.module, each.name)
                if (full := f"{node.module}.{each.name}") in public:
                    aliases[each.asname or each.name] = full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (package := dotted(node.value)):
            use(package, node.attr)
        elif isinstance(node, ast.Constant) and "import icrl_flax" in str(node.value):
            found += private_uses(node.value, public)
    return found


@pytest.mark.parametrize("source", CHAPTERS, ids=lambda source: source.stem)
def test_chapters_use_public_names_only(source):
    pytest.importorskip("seaborn", reason="needs the book's extra")
    pytest.importorskip("sympy", reason="needs the book's extra")
    cells = jupytext.read(source).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert not private_uses(code, public_names())


def test_private_names_are_seen():
    public = {
        "icrl_flax": {"Sarsa", "rules", "attention"},
        "icrl_flax.rules": {"Td"},
        "icrl_flax.attention": {"symbolic"},
        "icrl_flax.attention.symbolic": {"symbols"},
    }
    fine = """
import icrl_flax as icrl
from icrl_flax import Sarsa, rules
from icrl_flax.attention import symbolic
icrl.Sarsa(d=3).tokens, icrl.rules.Td.name(), rules.Td, symbolic.symbols, x.rules.Sarsa
"""
    assert private_uses(fine, public) == []
    for code, name in {
        "import icrl_flax": "import icrl_flax as None",
        "import icrl_flax.rules.td as td": "import icrl_flax.rules.td as td",
        "from icrl_flax import theory": "icrl_flax.theory",
        "from icrl_flax.rules.td import Td": "icrl_flax.rules.td.Td",
        "import icrl_flax as icrl\nf(icrl.rules.sarsa.Sarsa)": "icrl_flax.rules.sarsa",
        "from icrl_flax import rules as r\nr.__path__": "icrl_flax.rules.__path__",
        "FILE = 'import icrl_flax as icrl\\nicrl.split'": "icrl_flax.split",
    }.items():
        assert private_uses(code, public) == [name]
