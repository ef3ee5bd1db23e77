"""The command line: `python -m icrl_flax train sarsa --out FILE`, `… verify`, `… sweep`.

Options, defaults and help come from the dataclasses that configure a run, and the names
of rules and families from the registry, which `--import FILE` adds to before all else.
"""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import tyro

from icrl_flax import _registry
from icrl_flax.cli import console as console
from icrl_flax.cli import evaluate as evaluate
from icrl_flax.cli import sweep as sweep
from icrl_flax.cli import train as train
from icrl_flax.cli import verify as verify
from icrl_flax.cli.console import UsageError as UsageError
from icrl_flax.cli.options import sentence, structs

DESCRIPTION = """Transformers that implement in-context reinforcement learning.

Rules and families of your own: --import FILE, a Python file that defines them, in any place
and as often as needed."""


def _values(option: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of an option that may come anywhere, and the arguments without it."""
    values, rest, words = [], [], iter(arguments)
    for word in words:
        name, given, value = word.partition("=")
        if name != option:
            rest.append(word)
        elif value := value if given else next(words, ""):
            values.append(value)
        else:
            raise ValueError(f"{option} must be followed by a value, got none")
    return values, rest


def parser(family: str | None = None) -> tyro.extras.SubcommandApp:
    """The whole command line, each command parsing to a job that main then runs.

    Args:
        family: the name of the family whose options `train` and `evaluate` have.
    """
    known = {name: kind for name, kind in _registry.families().items() if _is_typed(kind)}
    choices = Literal[tuple(known)]  # pyright: ignore[reportInvalidTypeForm]
    chosen = known.get(family) if family else None  # an unknown name is no choice: tyro says so
    rules = tyro.extras.SubcommandApp()
    for name, kind in _registry.rules().items():
        text = sentence(kind.__doc__)
        command = train.command(kind, chosen or known["random"], choices)
        rules.command(name=name, help=text)(command)
    app = tyro.extras.SubcommandApp()
    app.command(rules, name="train", help="Train a block as Algorithms 1 and 2 do.")
    others = (evaluate.command(chosen, choices), verify.command, sweep.command)
    for name, command in zip(("evaluate", "verify", "sweep"), others, strict=True):
        app.command(name=name, help=sentence(command.__doc__))(command)
    return app


def _is_typed(family: type) -> bool:
    """Whether a family can be named on the command line: what it needs are words and numbers."""
    needed = [
        field.type
        for field in dataclasses.fields(family)
        if field.init and field.default is field.default_factory  # both are missing
    ]
    return all(kind in (int, float, str, bool) for kind in needed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run.

    Returns:
        The exit status: 0; 1 if `verify` failed; 2 for what the user can mend; 130
        after Ctrl-C, 143 after SIGTERM, where work has been kept.
    """
    console.accept_any_code_page()
    try:
        with console.usage(), console.printing():
            job = _parsed(sys.argv[1:] if arguments is None else arguments)
        return job()
    except KeyboardInterrupt:
        return console.INTERRUPTED
    except UsageError as error:
        console.complain(f"error: {error}")
        return console.USAGE_ERROR
    finally:
        console.drop_unread()


def _parsed(arguments: Sequence[str]) -> Callable[[], int]:
    files, arguments = _values("--import", arguments)
    for file in files:
        _registry.import_file(Path(file))
    families, _ = _values("--family", arguments)
    return parser(*families[-1:]).cli(
        prog="icrl_flax",
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.DisallowNone,),
        registry=structs,
    )
