"""What of the library a notebook's results may depend on: the modules that its code reaches.

A chapter costs minutes, so it is executed again only if something that it uses has
changed: not for another chapter's module, a new rule that it does not name, a docstring
or a comment.  Names are followed from the notebook's cells through the packages'
`__init__` to the module that defines them, and from there along import statements.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "icrl_flax"
# They look for rules and families while they run, so their imports do not say which.
DYNAMIC = {f"{PACKAGE}._registry", f"{PACKAGE}.verification"}


class Library:
    """The source of the package below a folder."""

    def __init__(self, root: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.packages: set[str] = set()
        for path in sorted((root / PACKAGE).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            if name.endswith(".__init__"):
                name = name.removesuffix(".__init__")
                self.packages.add(name)
            self.trees[name] = ast.parse(path.read_text(encoding="utf-8"))
        self.imports = {name: list(imports(tree)) for name, tree in self.trees.items()}

    def home(self, module: str, name: str) -> str | None:
        """The module that defines `module.name`; None if it is not the library's."""
        if f"{module}.{name}" in self.trees:
            return f"{module}.{name}"
        tree = self.trees.get(module)
        if tree is None:
            return None
        if module in self.packages:
            for source, imported in self.imports[module]:
                if imported == name:
                    return self.home(source, name)
            if module == f"{PACKAGE}.rules":  # each rule is an attribute of its package
                for candidate, other in self.trees.items():
                    if candidate.startswith(f"{module}.") and name in classes(other):
                        return candidate
        return module

    @functools.cache  # noqa: B019  one library, for as long as the tool runs
    def reached_from(self, module: str) -> frozenset[str]:
        """The module and all that it imports, directly or not."""
        found, waiting = set(), [module]
        while waiting:
            here = waiting.pop()
            if here in found or here not in self.trees:
                continue
            found.add(here)
            if here in self.packages:
                continue  # whoever goes through it names what it wants
            for source, name in self.imports[here]:
                home = self.home(source, name) if name else source
                if home is not None:
                    waiting.append(home)
        return frozenset(found)

    def used_by(self, cells: Iterable[str]) -> set[str]:
        """The modules that the code of a notebook's cells reaches."""
        found: set[str] = set()
        for module in used(self, cells):
            whole = module in self.packages
            members = [m for m in self.trees if whole and m.startswith(f"{module}.")]
            for each in (module, *members):
                found |= self.reached_from(each)
        if found & DYNAMIC and any("discover" in cell or "verify" in cell for cell in cells):
            for module in self.trees:
                if module.startswith(f"{PACKAGE}.rules."):
                    found |= self.reached_from(module)
        return found

    @functools.cache  # noqa: B019
    def digest(self, module: str) -> str:
        """A hash of what a module does: without docstrings, comments and layout."""
        tree = ast.parse(ast.unparse(self.trees[module]))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [s for s in body if not is_text(s)] or [ast.Pass()]  # type: ignore[attr-defined]
        if module in self.packages:  # of which each name that is used has been followed
            tree.body = [s for s in tree.body if not isinstance(s, (ast.ImportFrom, ast.Assign))]
        return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, or the text below a constant."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def classes(tree: ast.Module) -> set[str]:
    """The classes that a module defines."""
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of each import from the library; the name is "" for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            yield from ((str(node.module), alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (alias.name, "") for alias in node.names if alias.name.split(".")[0] == PACKAGE
            )


def used(library: Library, cells: Iterable[str]) -> Iterator[str]:
    """The modules that define what cells name; a package where it is used as a whole."""
    modules: dict[str, str] = {}  # variables that stand for a package or a module
    for cell in cells:
        tree = ast.parse(cell)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE:
                        modules[alias.asname or PACKAGE] = alias.name if alias.asname else PACKAGE
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                for alias in node.names:
                    home, path = (
                        library.home(str(node.module), alias.name),
                        f"{node.module}.{alias.name}",
                    )
                    if home == path:
                        modules[alias.asname or alias.name] = path
                    elif home is not None:
                        yield home
        inner = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        for node in ast.walk(tree):
            if id(node) in inner or not isinstance(node, (ast.Attribute, ast.Name)):
                continue
            yield from _chain(library, modules, node)
        # In `a.b.c` the innermost parts are inner nodes: the outermost one tells the chain.


def _chain(library: Library, modules: dict[str, str], node: ast.expr) -> Iterator[str]:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in modules:
        return
    module = modules[node.id]
    for name in reversed(names):
        home, path = library.home(module, name), f"{module}.{name}"
        if home != path:
            if home is not None:
                yield home
            return
        module = path
    yield module
