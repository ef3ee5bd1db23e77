"""The one door for rules and families of MDPs: the library's, a package's, one's own.

Whatever comes through it is known by its name to `train`, `evaluate`, `verify`,
`sweep` and `load`. The library's own are the files in `icrl_flax/rules/` and the classes
in `icrl_flax/mdps/families.py`; nothing lists them. An installed package names a module
in its entry points, group "icrl_flax". One's own come from a file, or one by one.
"""

import hashlib
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx

from icrl_flax import rules as rules_package
from icrl_flax.mdps import families as families_module
from icrl_flax.mdps.families import kebab_case
from icrl_flax.rules.base import Rule

Kind = TypeVar("Kind", bound=type)

GROUP = "icrl_flax"
"""The entry points that are asked."""
_own: dict[type, dict[str, str | None]] = {}
"""What is not the library's, and where it was defined."""
_files: dict[str, tuple[Path, str]] = {}
"""Path and SHA-256 of each imported file, by the name of its module."""
_asked: list[str] = []
"""Entry points whose modules have been imported, or are being imported."""


def rules() -> dict[str, type[Rule]]:
    """Every rule by its name.

    Raises:
        ValueError: if two have the same name.
        ImportError: if an installed package's cannot be imported.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(rules_package.__path__))
    modules = [importlib.import_module(f"{rules_package.__name__}.{name}") for name in names]
    return _named("rule", [kind for module in modules for kind in _defined_in(module)])


def families() -> dict[str, type]:
    """Every family of MDPs by its name; errors as for `rules`."""
    return _named("family", _defined_in(families_module))


def name_of(kind: type) -> str:
    """The name under which a rule or a family is known.

    It is the class's `name`, text or a method, if it has one, and else that of the class
    in kebab case; of a family without "MDPs" at its end.
    """
    name = getattr(kind, "name", None)
    if callable(name):
        name = name()
    return name if isinstance(name, str) else kebab_case(re.sub("MDPs?$", "", kind.__name__))


def register(kind: Kind) -> Kind:
    """Make a rule or a family known by its name; also a decorator of its class.

    A class that is defined again, in a notebook's cell, takes the place of the former.

    Args:
        kind: a concrete subclass of `Rule`; or a class with a method `sample(key, dtype)`
            that is an Equinox module or a frozen dataclass.

    Raises:
        ValueError: if it is neither, or its name is another's.
    """
    if _sort(kind) is None:
        raise ValueError(
            "register takes a concrete subclass of Rule, or a family of MDPs: an Equinox module "
            f"or frozen dataclass with a method sample(key, dtype); got {kind!r}"
        )
    for former in [each for each in _own if _address(each) == _address(kind)]:
        del _own[former]
    _own[kind] = _origin(kind)
    try:
        rules() if issubclass(kind, Rule) else families()
    except ValueError:
        del _own[kind]
        raise
    return kind


def import_file(path: Path | str) -> tuple[type, ...]:
    """Run a Python file, and register every concrete rule and family that it defines.

    The same file twice is imported once; when it has changed, what it defined before is
    forgotten.

    Returns:
        The classes.

    Raises:
        ValueError: if the file cannot be read, defines none, or a name is another's.
        ImportError: if the file itself fails, from its error.
    """
    path = Path(path).resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"import: cannot read {path}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    name = re.sub(r"\W", "_", f"{path.stem}_{digest[:12]}")  # the same in every process
    if name not in _files:
        module = types.ModuleType(name)
        module.__file__ = str(path)
        sys.modules[name] = module
        try:
            exec(compile(content, path, "exec"), vars(module))
        except Exception as error:
            del sys.modules[name]
            raise ImportError(f"{path} cannot be imported: {error!r}") from error
        for former in [each for each, (file, _) in _files.items() if file == path]:
            del _files[former]
            for kind in [kind for kind in _own if kind.__module__ == former]:
                del _own[kind]
        _files[name] = path, digest
    found = tuple(_defined_in(sys.modules[name]))
    if not found:
        raise ValueError(f"import: {path} defines no rule and no family of MDPs")
    return tuple(map(register, found))


def imported_files() -> tuple[Path, ...]:
    """The files of `import_file`, for processes that must know them too."""
    return tuple(path for path, _ in _files.values())


def source(kind: type) -> dict[str, str | None] | None:
    """Name and SHA-256 of the file that defines a registered class, as its record says.

    Both are of the file as it was when the class was registered; without a file, as in a
    notebook, the name is the module's. None for what is the library's.
    """
    return _own.get(kind)


def _sort(kind: Any) -> str | None:
    """ "rule", "family", or neither."""
    if not isinstance(kind, type) or inspect.isabstract(kind):
        return None
    if issubclass(kind, Rule):
        return "rule"
    parameters = vars(kind).get("__dataclass_params__")
    fixed = issubclass(kind, eqx.Module) or (parameters is not None and parameters.frozen)
    return "family" if fixed and callable(getattr(kind, "sample", None)) else None


def _defined_in(module: types.ModuleType) -> list[type]:
    """The rules and families whose code is in a module, or in one of a package's."""
    found = (
        member for _, member in inspect.getmembers(module, lambda each: _sort(each) is not None)
    )
    return [kind for kind in found if f"{kind.__module__}.".startswith(f"{module.__name__}.")]


def _address(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _origin(kind: type) -> dict[str, str | None]:
    if kind.__module__ in _files:
        path, digest = _files[kind.__module__]
        return {"file": path.name, "sha256": digest}
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        return {"file": kind.__module__, "sha256": None}
    return {
        "file": Path(file).name,
        "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest(),
    }


def _named(sort: str, built_in: Iterable[type]) -> dict[str, type]:
    _ask_packages()
    found: dict[str, type] = {}
    for kind in (*built_in, *_own):
        if _sort(kind) == sort and found.setdefault(name_of(kind), kind) is not kind:
            both = (
                f"{each.__qualname__} in {getattr(sys.modules[each.__module__], '__file__', None)}"
                for each in (found[name_of(kind)], kind)
            )
            raise ValueError(f"the name {name_of(kind)!r} is given twice: to {' and '.join(both)}")
    return found


def _ask_packages() -> None:
    """Import, once, the modules that installed packages name."""
    if _asked:
        return
    _asked.append(GROUP)  # first, since a module may register by itself
    for entry in importlib.metadata.entry_points(group=GROUP):
        package = entry.dist.name if entry.dist else "a package"
        try:
            for kind in _defined_in(importlib.import_module(entry.module)):
                register(kind)
        except Exception as error:
            _asked.clear()
            raise ImportError(
                f"the entry point {entry.name!r} of the installed package {package} cannot be "
                f"imported: {error!r}"
            ) from error
