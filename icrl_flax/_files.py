"""Files that are old or new, and never half of each."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


class OutputError(ValueError):
    """What is wrong with a place that results are to go to."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it onto `path`.

    A crash at any moment leaves the old file or the new one.
    """
    write_together({path: write})


def write_together(files: Mapping[Path, Callable[[Path], object]]) -> None:
    """`write_atomically` for several files: none is renamed before all of them are written.

    Args:
        files: for each path what fills it; they are renamed in this order.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            # Not `tempfile`, whose files only their owner can read, whatever the umask.
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            temporaries[path] = temporary
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # the name must not reach the disk before the content
        for path, temporary in temporaries.items():
            temporary.replace(path)
        for folder in {path.parent for path in files}:
            _sync_directory(folder)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        raise


def _sync_directory(folder: Path) -> None:
    """Let the new names reach the disk, where the system can be asked to."""
    with contextlib.suppress(OSError):  # Windows opens no directory
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Name the output of which the system says that it cannot be written.

    Raises:
        OutputError: for any OSError inside, where nothing else should happen.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"out: cannot write to {out}: {reason}") from error


def new_file(path: Path) -> None:
    """Refuse a path at which something exists, or beside which nothing can be written.

    Raises:
        OutputError: in either case.
    """
    if os.path.lexists(path):
        raise OutputError(f"out: {path} exists; nothing was changed")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _probe(path.parent)


def _probe(directory: Path) -> None:
    """Write and remove a file, now rather than after minutes of work."""
    write_atomically(directory / ".writable", lambda _: None)
    (directory / ".writable").unlink()
