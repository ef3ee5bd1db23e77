"""Every public function says what it takes and returns, and the tests enforce it."""

import ast
import importlib
import importlib.util
import pathlib
import pkgutil

import jax.numpy as jnp
import jaxtyping
import pytest

import icrl_flax
from icrl_flax import Examples, Sarsa, augment
from icrl_flax.rules import discover
from icrl_flax.theory.moments import fold_pairs

PACKAGE_FOLDER = pathlib.Path(icrl_flax.__file__).parent


def unannotated(source: str) -> list[str]:
    """Public functions and methods in a module's source that lack an annotation, and which."""
    found = []

    def visit(body, prefix):
        for node in body:
            special = node.name.endswith("__") if hasattr(node, "name") else False
            if not hasattr(node, "name") or (node.name.startswith("_") and not special):
                continue
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
                every += [each for each in (given.vararg, given.kwarg) if each]
                bare = [each.arg for each in every if each.annotation is None]
                bare = [name for name in bare if not (prefix and name in ("self", "cls"))]
                bare += ["return"] * (node.returns is None)
                found.extend(f"{prefix}{node.name}: {name}" for name in bare)

    visit(ast.parse(source).body, "")
    return found


def modules() -> list[str]:
    """The library's modules, private ones left out."""
    names = [info.name for info in pkgutil.walk_packages(icrl_flax.__path__, "icrl_flax.")]
    return ["icrl_flax", *(name for name in names if "._" not in name)]


MODULES = modules()
NOT_ENFORCED = {name for name in MODULES if name.startswith("icrl_flax.cli")}  # see conftest.py


def test_the_walk_meets_every_file():
    files = {
        ".".join(path.relative_to(PACKAGE_FOLDER.parent).with_suffix("").parts)
        for path in PACKAGE_FOLDER.rglob("[!_]*.py")
    }
    packages = {
        name for name in MODULES if importlib.util.find_spec(name).submodule_search_locations
    }
    assert files == {*MODULES} - packages


@pytest.mark.parametrize("name", MODULES)
def test_public_functions_are_annotated(name):
    source = pathlib.Path(importlib.util.find_spec(name).origin)
    assert unannotated(source.read_text(encoding="utf-8")) == []


def test_what_counts_as_unannotated():
    source = """
def f(x: int, *rest, y=1, **options) -> int: ...
def g(self): ...
def _private(x): ...
class C:
    def __init__(self, x): ...
    def fine(self, x: int) -> int: ...
    @classmethod
    def of(cls, x: int): ...
    def _private(self): ...
    class Inner:
        def h(self) -> None: ...
        def i(self, x) -> None: ...
class _Private:
    def f(self): ...
"""
    assert unannotated(source) == [
        "f: y",
        "f: rest",
        "f: options",
        "g: self",
        "g: return",
        "C.__init__: x",
        "C.__init__: return",
        "C.of: return",
        "C.Inner.i: x",
    ]


@pytest.mark.parametrize("name", sorted({*MODULES} - NOT_ENFORCED))
def test_annotations_are_enforced(name):
    """Also in modules that nothing imports before some test does."""
    if name == "icrl_flax.plots":
        pytest.importorskip("seaborn")
    module = importlib.import_module(name)
    assert type(module.__spec__.loader).__module__.startswith("jaxtyping.")


WRONG = {
    "a rule of the paper": lambda: Sarsa(d=2).policy(jnp.zeros((3, 2)), jnp.zeros(2)),
    "a rule found by its file": lambda: discover()["td-lambda"].draw(0, 3),
    "the theory": lambda: fold_pairs(jnp.zeros((2, 3, 4, 5))),
    "a dataclass": lambda: Examples(*(jnp.zeros(shape) for shape in ((2, 3, 4), (3, 5), (2, 5)))),
    "a number for an array": lambda: augment(1.0),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_wrong_types_are_refused(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


def test_marked_as_typed():
    assert (PACKAGE_FOLDER / "py.typed").is_file()
