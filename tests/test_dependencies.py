"""tools/dependencies.py: which modules of the library a notebook's results depend on."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LIBRARY = {
    "__init__.py": """
        from icrl_flax.training import train
        from icrl_flax.rules.sarsa import Sarsa
        __all__ = ["Sarsa", "train"]
    """,
    "_draws.py": "def uniform(): return 1",
    "training/__init__.py": "from icrl_flax.training.loop import train",
    "training/loop.py": """
        from icrl_flax import _draws
        def train():
            from icrl_flax.training.checkpoint import save  # within a function
            return save(_draws.uniform())
    """,
    "training/checkpoint.py": "def save(x): return x",
    "rules/__init__.py": "def discover(): return {}",
    "rules/base.py": "class Rule: pass",
    "rules/sarsa.py": "from icrl_flax.rules.base import Rule\nclass Sarsa(Rule): pass",
    "rules/td.py": "from icrl_flax.rules.base import Rule\nclass Td(Rule): pass",
    "theory/__init__.py": "from icrl_flax.theory.flow import solve\n"
    "from icrl_flax.theory.basin import radius",
    "theory/flow.py": "def solve(): return 1",
    "theory/basin.py": "def radius(): return 2",
    "_registry.py": "def rules(): return {}",
    "verification.py": "from icrl_flax import _registry\ndef verify(): return _registry.rules()",
}


def load():
    spec = importlib.util.spec_from_file_location(
        "dependencies", ROOT / "tools" / "dependencies.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / "icrl_flax" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip())
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")

    for name, text in LIBRARY.items():
        write(name, text)
    return write


@pytest.fixture
def modules(tmp_path, write):
    def modules(*cells):
        found = load().Library(tmp_path).used_by(cells)
        return {module.removeprefix("icrl_flax.") for module in found}

    return modules


def test_a_name_leads_to_its_module_and_what_that_imports(modules):
    expected = {"training.loop", "training.checkpoint", "_draws"}
    assert modules("import icrl_flax as icrl", "icrl.train()") == expected
    assert modules("from icrl_flax import train") == expected
    assert modules("from icrl_flax.training import train as fit") == expected
    assert modules("import icrl_flax", "icrl_flax.training.train") == expected


def test_a_member_of_a_package_leads_to_its_module_alone(modules):
    assert modules("from icrl_flax import theory", "theory.solve()") == {"theory.flow"}
    assert modules("import icrl_flax as icrl\nicrl.theory.radius()") == {"theory.basin"}


def test_a_rule_is_an_attribute_of_its_package(modules):
    assert modules("import icrl_flax as icrl\nicrl.rules.Td()") == {"rules.td", "rules.base"}


def test_a_package_used_as_a_whole_is_all_of_its_modules(modules):
    assert {"theory.flow", "theory.basin"} < modules("from icrl_flax import theory\ndir(theory)")


def test_what_looks_for_rules_depends_on_all_of_them(modules):
    found = modules("from icrl_flax.verification import verify", "verify()")
    assert {"rules.sarsa", "rules.td", "_registry"} < found


def test_a_notebook_without_the_library(modules):
    assert modules("import numpy as np", "np.ones(3)") == set()


def digests(tmp_path):
    library = load().Library(tmp_path)
    return {module: library.digest(module) for module in library.trees}


def test_docstrings_comments_and_layout_change_no_digest(tmp_path, write):
    before = digests(tmp_path)
    write("_draws.py", '"""Draws."""\n\n# A remark.\ndef uniform():\n    return (1)')
    assert digests(tmp_path) == before


@pytest.mark.parametrize("text", ["def uniform(): return 2", "def uniform(x): return 1", ""])
def test_code_changes_a_digest(tmp_path, write, text):
    before = digests(tmp_path)
    write("_draws.py", text or "pass")
    after = digests(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"icrl_flax._draws"}


def test_a_new_rule_changes_nothing_that_was_there(tmp_path, write, modules):
    cells = ("import icrl_flax as icrl", "icrl.train(icrl.Sarsa())")
    before, kept = digests(tmp_path), modules(*cells)
    write("rules/new.py", "from icrl_flax.rules.base import Rule\nclass New(Rule): pass")
    assert modules(*cells) == kept
    assert {name: digests(tmp_path)[name] for name in before} == before


def test_the_books_chapters_reach_what_they_name():
    """On the library itself: training reaches its loop, and not the command line."""
    library = load().Library(ROOT)
    found = library.used_by(["import icrl_flax as icrl", "icrl.train(icrl.Sarsa())"])
    assert {"icrl_flax.training.loop", "icrl_flax.rules.sarsa"} < found
    assert not any(module.startswith("icrl_flax.cli") for module in found)
    assert not any(module.startswith("icrl_flax.theory") for module in found)
    assert "icrl_flax.rules.gtd2" not in found
