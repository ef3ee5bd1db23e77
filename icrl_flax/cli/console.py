"""How the commands talk to whoever typed them: lines, errors, signals, code pages."""

import codecs
import contextlib
import io
import os
import signal
import sys
import unicodedata
from collections.abc import Iterator

USAGE_ERROR, INTERRUPTED, TERMINATED = 2, 130, 143


class UsageError(ValueError):
    """What whoever typed the command can mend: one line, without a traceback."""


@contextlib.contextmanager
def usage(kind: type[ValueError] = ValueError) -> Iterator[None]:
    """Inside, inputs are read and checked, and an error of this kind is about them.

    Where something is computed it is not ValueError: that of a bug keeps its traceback.
    """
    try:
        yield
    except kind as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """What is printed inside arrives, or is an error: nothing stays in a buffer to fail later."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        # Python would try the rest again when it exits, and report that in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError(f"standard output: {error.strerror}") from error


def say(line: str) -> None:
    """Print a line at once."""
    with printing():
        print(line)


def complain(line: str) -> None:
    """Print a line on standard error, if anybody can read it there."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


def drop_unread() -> None:
    """What standard error did not take is lost; or Python would try again when it exits.

    And its status would be 120, whatever the command's is.
    """
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What a code page lacks, in its nearest ASCII: alpha for α, 2 for ², u for µ."""
    assert isinstance(error, UnicodeEncodeError)
    text = ""
    for character in error.object[error.start : error.end]:
        words = unicodedata.name(character, "").split()
        if words[:1] == ["GREEK"] and len(words) > 3:
            text += words[3].lower()
        elif not unicodedata.combining(character):
            simple = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            text += _SIGNS.get(character) or simple or "?"
    return text, error.end


_SIGNS = {"•": "*", "µ": "u", "−": "-", "–": "-", "’": "'", "′": "'", "≤": "<=", "≥": ">="}
_SIGNS |= {"²": "^2", "·": "*", "½": "1/2", "⋆": "*", "×": "x", "∞": "inf"}


def accept_any_code_page() -> None:
    """From now on every character can be printed, wherever to."""
    codecs.register_error("icrl_flax.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="icrl_flax.plain")


class Terminated(KeyboardInterrupt):
    """SIGTERM, inside `terminable`."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM interrupts as Ctrl-C does; a second one ends the process at once."""

    def interrupt(number: int, _: object) -> None:
        signal.signal(number, former)
        raise Terminated

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class Stop:
    """Turns the first Ctrl-C or SIGTERM into a flag, so that work can stop between two chunks.

    Attributes:
        status: the exit status that is due, None while nobody has asked to stop.
    """

    def __enter__(self) -> "Stop":
        self.status: int | None = None
        self._former = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def _request(self, number: int, _: object) -> None:
        self.status = 128 + number
        self.__exit__()  # a second one stops at once

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
