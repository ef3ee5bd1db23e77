"""Dataclasses as options: their fields, defaults, and the first sentences of their docstrings."""

import collections
import dataclasses
import re
from typing import Annotated, Any, get_type_hints

import docstring_parser
import tyro
from tyro.constructors import StructConstructorSpec, StructFieldSpec, StructTypeInfo


def fields_of(*kinds: Any) -> set[str]:
    """The names of all fields of some dataclasses."""
    return {field.name for kind in kinds for field in dataclasses.fields(kind)}


def options(kind: Any, name: str, taken: set[str]) -> Any:
    """The type of a dataclass's options, which begin with `name.` if one of them is taken.

    Of no class there are none, and the value is None.
    """
    if kind is None:
        return Annotated[Any, tyro.conf.arg(name="", constructor=lambda: None)]
    return Annotated[kind, tyro.conf.arg(name=name if fields_of(kind) & taken else "")]


def sentence(text: str | None) -> str:
    """The first sentence of a docstring, or of what it says of an argument."""
    paragraph = re.split(r"\n\s*\n", (text or "").strip())[0]
    return re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split()))[0]


structs = tyro.constructors.ConstructorRegistry()


@structs.struct_rule
def _options(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A dataclass's fields, with the first sentences of what it and its bases say of them."""
    if not dataclasses.is_dataclass(info.type) or info.type.__module__.startswith("tyro."):
        return None
    texts = collections.ChainMap(
        *(
            {each.arg_name: each.description for each in docstring_parser.parse(doc).params}
            for doc in (base.__doc__ or "" for base in info.type.__mro__)
        )
    )
    hints = get_type_hints(info.type, include_extras=True)
    fields = []
    for field in dataclasses.fields(info.type):
        default = tyro.MISSING
        if isinstance(info.default, info.type):
            default = getattr(info.default, field.name)
        elif field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        text = sentence(texts.get(field.name))
        if field.init:
            fields.append(StructFieldSpec(field.name, hints[field.name], default, text))
    return StructConstructorSpec(info.type, tuple(fields))
