"""Show the library's signatures and docstrings as they were written, of all that is public.

Autodoc prints annotations as the interpreter holds them: aliases spelt out, private
paths of other packages.  Here a signature is the source's own text, in which shapes
stand as the author wrote them, and every public name of the library is a link.  The
directive `library-rest` documents what a package offers and no page does: a rule in a new
file has its place without an edit.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

DOCUMENTED = re.compile(r"^\.\. (?:auto(?:class|function|data)|py:data):: (\S+)", flags=re.M)
REST = re.compile(r"^\.\. library-rest:: (\S+)", flags=re.M)
# A word between single backquotes, which are not part of double ones or of a role.
CODE = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")
# What reStructuredText would take for markup: |s| and *heads.
MARKUP = re.compile(r"(?<!\\)\||(?<![\\*\w])\*(?=\w)(?![^*\n]*\w\*)")
# In "Shape of P: one head has …" it is punctuation.
COLON, HELD_COLON = re.compile(r":(?=\s)"), "\ue000"


def pages(app: Sphinx) -> list[str]:
    """Return the texts of the pages that document the library."""
    patterns = app.config.api_reference_pages
    found = (page for pattern in patterns for page in sorted(Path(app.srcdir).glob(pattern)))
    return [page.read_text(encoding="utf-8") for page in found]


def documented_paths(app: Sphinx) -> dict[str, str]:
    """Return the full path of everything that the pages document, by its last name."""
    if "paths" not in app.env.temp_data:
        paths: dict[str, str] = {}
        for path in (path for text in pages(app) for path in DOCUMENTED.findall(text)):
            paths.setdefault(path.rpartition(".")[2], path)
        for package in (package for text in pages(app) for package in REST.findall(text)):
            paths |= rest(package, paths)
        app.env.temp_data["paths"] = paths
    return app.env.temp_data["paths"]


def rest(package: str, documented: dict[str, str]) -> dict[str, str]:
    """Return what a package offers beside the documented names: full paths by name.

    It offers what `__all__` lists, and the values of its function `discover`, if it has one.
    """
    module = importlib.import_module(package)
    found = getattr(module, "discover", dict)().values()
    names = [*module.__all__, *sorted(each.__name__ for each in found)]
    return {name: f"{package}.{name}" for name in names if name not in documented}


class LibraryRest(SphinxDirective):
    """Document what a package offers and no page documents; of what is found, the settings."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of autodoc's directives."""
        (package,) = self.arguments
        module, lines = importlib.import_module(package), []
        written = {path for text in pages(self.env.app) for path in DOCUMENTED.findall(text)}
        for name, path in documented_paths(self.env.app).items():
            if path in written or path != f"{package}.{name}":
                continue
            kind = getattr(module, name)
            if isinstance(kind, type):
                lines += [f".. autoclass:: {path}"]
                lines += [] if name in module.__all__ else ["   :no-members:"]
            elif inspect.isroutine(inspect.unwrap(kind)):
                lines += [f".. autofunction:: {path}"]
            else:
                lines += [f".. py:data:: {path}"]  # whose words only its own module has
            lines += [""]
        return self.parse_text_to_nodes("\n".join(lines))


class Links(ast.NodeTransformer):
    """Turn the documented names in an annotation into what Sphinx makes links of."""

    def __init__(self, paths: dict[str, str]) -> None:
        self.paths = paths

    def visit_Name(self, node: ast.Name) -> ast.expr:
        path = self.paths.get(node.id)
        return ast.parse(f"~{path}", mode="eval").body if path else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if isinstance(parts[-1], ast.Constant) and isinstance(parts[-1].value, str):
            # A shape, not the name of a class: jaxtyping's " n" is one axis.
            parts[-1].value = parts[-1].value.strip()
            return node
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        if set(re.findall(r"\w+", node.value)) & self.paths.keys():  # not defined yet
            return self.visit(ast.parse(node.value, mode="eval").body)
        return node


def written(annotation: ast.expr | None, paths: dict[str, str]) -> str | None:
    """Return the text of an annotation, with links."""
    if annotation is None:
        return None
    return ast.unparse(Links(paths).visit(annotation))


def source_of(obj: Any) -> ast.AST | None:
    """Return the definition of a function or a class, None if it has no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]
    except (OSError, TypeError):
        return None


def signature_of_function(function: Any, paths: dict[str, str]) -> tuple[str, str | None] | None:
    """Return the arguments and the result of a function as its source has them."""
    source = source_of(inspect.unwrap(function))
    if not isinstance(source, ast.FunctionDef):
        return None
    arguments = source.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in ("self", "cls"):
        arguments.args.remove(positional[0])
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            argument.annotation = Links(paths).visit(argument.annotation)
    return f"({ast.unparse(arguments)})", written(source.returns, paths)


def fields_of(kind: type) -> Iterator[tuple[str, ast.AnnAssign]]:
    """Yield the fields that a class and its bases declare, the class's own last."""
    for base in reversed(kind.__mro__):
        if base.__module__.partition(".")[0] == kind.__module__.partition(".")[0]:
            source = source_of(base)
            for statement in getattr(source, "body", []):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    yield statement.target.id, statement


def default_of(parameter: inspect.Parameter, field: ast.AnnAssign) -> str | None:
    """Return the default value of a field, None if it has none.

    The value itself where it is plain, for a helper may have made it; otherwise the
    source's words for it.
    """
    if parameter.default is inspect.Parameter.empty:
        return None
    if parameter.default is None or isinstance(parameter.default, bool | int | float | str):
        return repr(parameter.default)
    value = field.value
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        value = {word.arg: word.value for word in value.keywords}.get("default")
    return "..." if value is None else ast.unparse(value)


def signature_of_class(kind: type, paths: dict[str, str]) -> tuple[str, str | None] | None:
    """Return the arguments that make an instance of a class."""
    if "__init__" in vars(kind) and inspect.getsourcefile(kind.__init__) == inspect.getsourcefile(
        kind
    ):
        found = signature_of_function(kind.__init__, paths)
        return found and (found[0], None)
    declared = dict(fields_of(kind))
    shown = []
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in declared:
            return None
        annotation = written(declared[name].annotation, paths)
        default = default_of(parameter, declared[name])
        shown.append(f"{name}: {annotation}" + ("" if default is None else f" = {default}"))
    return f"({', '.join(shown)})", None


def as_written(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, result: str
) -> tuple[str, str | None] | None:
    """Replace autodoc's signature by the source's."""
    paths = documented_paths(app)
    if what == "class" and isinstance(obj, type):
        if getattr(obj, "_is_protocol", False) or inspect.isabstract(obj):
            return "", None
        return signature_of_class(obj, paths)
    if what in ("function", "method"):
        return signature_of_function(obj, paths)
    return None


def hold_colon(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep colons from napoleon, which takes the words before them for a type."""
    inside = False
    for k, line in enumerate(lines):
        if not line.strip():
            inside = False
        if inside or (k == 0 and what in ("attribute", "property", "data")):
            lines[k] = COLON.sub(HELD_COLON, line)
        if line in ("Returns:", "Yields:"):
            inside = True


def to_restructured_text(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Set backquoted words as code, with links, and escape what is not markup."""
    paths = documented_paths(app)

    def code(match: re.Match[str]) -> str:
        path = paths.get(match[1])
        return f":py:obj:`~{path}`" if path else f"``{match[1]}``"

    for k, line in enumerate(lines):
        pieces = re.split(r"(``.*?``|:[\w:]+:`.*?`)", CODE.sub(code, line))
        pieces[::2] = [MARKUP.sub(r"\\\g<0>", piece) for piece in pieces[::2]]
        lines[k] = "".join(pieces).replace(HELD_COLON, ":")


def skip_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields that the class's own list of arguments describes."""
    place = app.env.temp_data
    owner: Any = importlib.import_module(place["autodoc:module"])
    owner = getattr(owner, place.get("autodoc:class") or "", None)
    if what == "class" and isinstance(owner, type):
        described = rf"^ +([\w, ]+, )?{name}(, [\w, ]+)?:"
        if re.search(described, owner.__doc__ or "", flags=re.MULTILINE):
            return True
    return None


def resolve_alias(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Link a type to a name that stands for one, which Sphinx files under data."""
    if node.get("refdomain") != "py" or node.get("reftype") != "class":
        return None
    python = env.get_domain("py")
    return python.resolve_xref(
        env, node["refdoc"], app.builder, "data", node["reftarget"], node, content
    )


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    # Glob patterns of the pages that document the library.
    app.add_config_value("api_reference_pages", [], "env")
    app.connect("missing-reference", resolve_alias)
    app.add_directive("library-rest", LibraryRest)
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", hold_colon, priority=400)
    # After napoleon, at 500, has turned its sections into fields.
    app.connect("autodoc-process-docstring", to_restructured_text, priority=600)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
