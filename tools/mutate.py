"""Which wrong sign, index or factor would the tests not notice?

Makes one small change at a time to the functions on which the book's claims rest
and runs the tests that concern them. A mutant that no test fails for has survived:
a test is missing, or the change makes no difference.

    python tools/mutate.py                 # or: python tools/mutate.py prompt

Importing and compiling would take most of the time. So the code of a mutant is put
into the functions that are there already, and JAX runs operation by operation.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import io
import os
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

ARGUMENTS = "bad_input::test_wrong_argument"
HEADS = (  # those that train or solve nothing, which would take minutes operation by operation
    "heads::test_the_heads_of_a_block_add_up",
    "heads::test_one_head_with_an_axis_is_one_head_without",
    "heads::test_split_and_embed_undo_each_other",
    "heads::test_module_holds_every_head",
    "heads::test_mixed_heads_are_the_same_rule",
    "heads::test_what_is_off_the_manifold_is_not_mixed_away",
    "heads::test_identity_blocks",
)

# Tests that concern each module, quick ones first: files, or one function of a file.
TESTS = {
    "construction": ("construction", *HEADS),
    "prompt": ("prompt", ARGUMENTS, "lemma_c1", "construction", *HEADS),
    "block": ("block", ARGUMENTS, *HEADS),
    "lemma_c1": ("lemma_c1", *HEADS),
    "rules.sarsa": ("sarsa", "construction", ARGUMENTS),
    "rules.actor_critic": ("actor_critic", "construction", ARGUMENTS),
    "alignment": ("alignment", *HEADS),
}

OTHER_OPERATOR = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Mutant(NamedTuple):
    """One change: the bytes [start, end) of a module's source become `new`."""

    line: int
    start: int
    end: int
    old: str
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def variants(node: ast.expr, parent: ast.AST) -> Iterator[ast.expr]:
    """What a slip of the pen might have made of one expression."""
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
            if value and not isinstance(parent, ast.UnaryOp):
                yield ast.Constant(value - 1)
        case ast.Constant(value=str() as sums) if "->" in sums:  # of `einsum`
            operands, _, result = sums.partition("->")
            for operand in operands.split(","):
                swapped = operand[1] + operand[0] + operand[2:]
                yield ast.Constant(f"{operands.replace(operand, swapped)}->{result}")
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not()):
            yield node.operand
        case ast.BinOp(left=left, right=right, op=op):
            if type(op) in OTHER_OPERATOR:
                yield ast.BinOp(left, OTHER_OPERATOR[type(op)](), right)
            yield left
            if isinstance(op, ast.Mult | ast.MatMult):
                yield right
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                if type(op) in OTHER_OPERATOR:
                    other = copy.deepcopy(node)
                    other.ops[i] = OTHER_OPERATOR[type(op)]()
                    yield other
        case ast.BoolOp(op=op):
            yield ast.BoolOp(OTHER_OPERATOR[type(op)](), node.values)
        case ast.IfExp():
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Attribute(attr="T"):
            yield node.value
    index = isinstance(parent, ast.Slice) or node is getattr(parent, "slice", None)
    if index and isinstance(node, ast.Name):
        yield ast.BinOp(node, ast.Add(), ast.Constant(1))


def skipped(node: ast.AST) -> list[ast.AST | None]:
    """Parts of a node that hold types, messages or decorations rather than mathematics."""
    match node:
        case ast.FunctionDef(name="draw"):  # random sizes, for checks by hand
            return list(ast.iter_child_nodes(node))
        case ast.FunctionDef():
            return [*node.decorator_list, node.returns]
        case ast.arg() | ast.AnnAssign():
            return [node.annotation]
        case ast.Raise() | ast.JoinedStr() | ast.keyword(arg="strict" | "static"):
            return list(ast.iter_child_nodes(node))
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return [node.value]
    return []


def mutants(source: bytes) -> Iterator[Mutant]:
    """Every single change to a module's source."""
    lines = source.splitlines(keepends=True)
    offsets = [sum(map(len, lines[:k])) for k in range(len(lines))]

    def walk(node: ast.AST) -> Iterator[Mutant]:
        """Of all expressions inside a node."""
        hidden = skipped(node)
        for child in ast.iter_child_nodes(node):
            if child in hidden:
                continue
            if isinstance(child, ast.expr):
                start = offsets[child.lineno - 1] + child.col_offset
                end = offsets[(child.end_lineno or 0) - 1] + (child.end_col_offset or 0)
                for other in variants(child, node):
                    new = f"({ast.unparse(ast.fix_missing_locations(other))})"
                    yield Mutant(child.lineno, start, end, ast.unparse(child), new)
            yield from walk(child)

    yield from walk(ast.parse(source))


def functions(namespace: dict[str, Any], module: str) -> Iterator[types.FunctionType]:
    """What a module defines, methods and properties too, without what is wrapped around it."""
    for member in namespace.values():
        if isinstance(member, type) and member.__module__ == module:
            yield from functions(dict(vars(member)), module)
            continue
        for attribute in ("fget", "__func__"):
            member = getattr(member, attribute, None) or member
        while hasattr(member, "__wrapped__"):
            member = member.__wrapped__
        if isinstance(member, types.FunctionType) and member.__module__ == module:
            yield member


def put(source: bytes, module: types.ModuleType) -> None:
    """Make the functions of a module do what another source of it says."""
    namespace: dict[str, Any] = {"__name__": module.__name__}
    exec(compile(source, str(module.__file__), "exec"), namespace)
    there = functions(vars(module), module.__name__)
    targets = {function.__qualname__: function for function in there}
    for function in functions(namespace, module.__name__):
        target = targets[function.__qualname__]
        target.__defaults__, target.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
        if not function.__closure__:  # dataclasses' own methods have one
            target.__code__ = function.__code__


def passes(test: str) -> bool:
    """Whether all tests of a file, or of one function in it, pass."""
    options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider"]
    file, *function = test.split("::")
    node = "::".join([f"tests/test_{file}.py", *function])
    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        return pytest.main([*options, node]) == 0


def survives(mutant: bytes, module: types.ModuleType, tests: Iterable[str]) -> bool:
    """Whether no test fails; a module that does not even load has not survived."""
    try:
        put(mutant, module)
    except Exception:
        return False
    return all(map(passes, tests))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="of icrl_flax")
    options = parser.parse_args()
    os.environ["JAX_DISABLE_JIT"] = "1"
    os.chdir(ROOT)
    made = killed = 0
    for name in options.modules:
        tests = TESTS[name]
        if not passes(tests[0]):
            sys.exit(f"error: {tests[0]} fails without any mutant")
        module = importlib.import_module(f"icrl_flax.{name}")
        path = Path(str(module.__file__))
        source = path.read_bytes()
        for mutant in mutants(source):
            made += 1
            if survives(mutant.apply(source), module, tests):
                line = f"{path.relative_to(ROOT)}:{mutant.line}"
                print(f"{line}: {mutant.old}  →  {mutant.new}", flush=True)
            else:
                killed += 1
        if not survives(source, module, tests):
            sys.exit(f"error: a test of {name} fails without any mutant")
        print(f"{killed} of {made} mutants killed, {name} done", flush=True)


if __name__ == "__main__":
    main()
