"""Execute the book's notebooks, each at most once per change.

Jupyter Book keeps executed notebooks in a jupyter-cache, which looks a notebook
up by the text of its code cells alone: after an edit of the library it would go
on showing the results of the older library
(https://github.com/jupyter-book/jupyter-book/issues/1633).  This script decides by itself what
is stale, executes that with nbmake, and puts the results into the same cache, so
that the build of the book which follows finds everything there and executes
nothing.

A notebook is stale unless the key stored beside its executed copy equals
`freshness_key` of its source as it is now.  The longest are executed first, on all
cores; runs of training that several of them need are made once, in `_build/runs`.

    python tools/execute.py theorem_3_1    # this one, if it is stale
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jupytext
import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dependencies import Library

ROOT = Path(__file__).resolve().parent.parent
CELL_TIMEOUT_SECONDS = 1800
EXPECTED = ROOT / "tools" / "chapter_seconds.json"
"""How long each chapter took on two quiet cores, for those who execute it the first time."""

TIMED = {"at_a_glance", "figure_3", "speed"}
"""Chapters that print how long a program runs: compiled as everywhere else."""

QUICK_COMPILER = "--xla_backend_optimization_level=1 --xla_cpu_parallel_codegen_split_count=1"
"""Less than two thirds of the compiler's time, for programs that are as fast, or faster."""


def freshness_key(source: Path, library: Library | None = None) -> str:
    """Hash everything that the outputs of the notebook `source` may depend on.

    That is its code (prose costs no execution), the modules of the library that it
    reaches (docstrings and comments aside), the pinned packages, the version of
    Python, and the committed results, the experiments and the benchmarks if its code
    names their folders; modification times play no part, so a fresh checkout of the
    same commit has the same keys.
    """
    digest = hashlib.sha256()
    for name, content in _inputs(source, library or Library(ROOT)):
        # Hashing the content by itself keeps the border between two inputs:
        # moving text from one file to the next must change the key.
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _inputs(source: Path, library: Library) -> Iterator[tuple[str, bytes]]:
    yield "python", platform.python_version().encode()
    cells = [cell.source for cell in code_cells(as_jupytext_reads(source))]
    code = json.dumps(cells)
    yield source.name, code.encode()
    for module in sorted(library.used_by(cells)):
        yield module, library.digest(module).encode()

    # A new table must not cost the execution of a chapter that reads none.
    folders = ("benchmarks", "experiments", "results", "weights")
    read = [folder for folder in folders if f"../{folder}" in code]
    for folder in read:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT).as_posix(), path.read_bytes()

    # Comments are left out: rewording one should not cost an hour of training.
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in pins if line.strip() and not line.startswith("#")]
    yield "requirements.txt", "\n".join(pins).encode()


@dataclass(frozen=True)
class Executed:
    """Where the results of one notebook are kept."""

    notebook: Path  # the executed copy
    key: Path  # what it was executed from, and how long that took

    @classmethod
    def of(cls, source: Path) -> "Executed":
        """Return the places that belong to the notebook `source`."""
        folder = ROOT / "_build" / "notebooks"
        return cls(folder / f"{source.stem}.ipynb", folder / f"{source.stem}.key.json")

    def stored(self) -> dict[str, Any]:
        """Return what is known of the last execution; nothing if there was none."""
        try:
            return json.loads(self.key.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def seconds(self, key: str) -> float | None:
        """Return how long the execution under `key` took, None if there is none."""
        stored = self.stored()
        fresh = stored.get("key") == key and self.notebook.exists()
        return stored["seconds"] if fresh else None


class BookCache:
    """The jupyter-cache in which Jupyter Book looks for executed notebooks."""

    def __init__(self) -> None:
        # The place where Jupyter Book looks unless _config.yml names another.
        self._cache = get_cache(ROOT / "_build" / ".jupyter_cache")

    def blank(self, notebook: NotebookNode) -> None:
        """Make the book show `notebook` without outputs, unless it has some to show."""
        try:
            self._cache.match_cache_notebook(notebook)
        except KeyError:
            bundle = CacheBundleIn(notebook, "", data={"execution_seconds": 0.0})
            self._cache.cache_notebook_bundle(bundle, check_validity=False)

    def forget(self, notebook: NotebookNode) -> None:
        """Drop what the book would show for `notebook`, if it would show anything."""
        with suppress(KeyError):
            record = self._cache.match_cache_notebook(notebook)
            self._cache.remove_cache(cast(int, record.pk))  # of a row: no longer a column

    def store(self, notebook: NotebookNode, executed: Executed, seconds: float) -> None:
        """Make the book show the outputs of the executed copy for `notebook`."""
        # The look-up compares all metadata of the cells, to which nbmake has added
        # times: only the outputs are taken over into the notebook as it is read.
        results = nbformat.read(executed.notebook, as_version=4)
        for cell, result in zip(code_cells(notebook), code_cells(results), strict=True):
            cell.outputs = result.outputs
            cell.execution_count = result.execution_count
        notebook.metadata.language_info = results.metadata.language_info
        data = {"execution_seconds": seconds}
        bundle = CacheBundleIn(notebook, str(executed.notebook), data=data)
        # nbmake has judged the notebook; jupyter-cache's own check would refuse
        # one with an empty or a skipped cell.
        self._cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def as_jupytext_reads(source: Path) -> NotebookNode:
    """Read a notebook the way it is executed."""
    return jupytext.read(source, fmt="md:myst")


def as_the_book_reads(source: Path) -> NotebookNode:
    """Read a notebook the way MyST-NB does, on which its cache look-up rests."""
    return read_myst_markdown_notebook(source.read_text(encoding="utf-8"), path=source)


def check_readable(source: Path) -> None:
    """Stop with a message where Jupytext and the book would disagree silently."""
    if not is_myst_markdown_notebook(source.read_text(encoding="utf-8")):
        sys.exit(f"{_name(source)}: no Jupytext MyST front matter at its top")
    notebook = as_the_book_reads(source)
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        sys.exit(f"{_name(source)}: its front matter must name the kernel python3")
    codes = [
        [cell.source for cell in code_cells(reading)]
        for reading in (notebook, as_jupytext_reads(source))
    ]
    if codes[0] != codes[1]:
        sys.exit(f"{_name(source)}: MyST-NB and Jupytext see different code in it")


def execute(source: Path, reading: NotebookNode, notebook: Path, patient: bool = False) -> bool:
    """Execute with nbmake what was read of `source`, and leave it in `notebook` if it succeeds."""
    # nbmake ignores files below a folder called _build, and runs a notebook in
    # the folder where it lies: here one beside notebooks/, so that a relative
    # path means the same as in the source.
    with tempfile.TemporaryDirectory(prefix=".notebooks-", dir=ROOT) as folder:
        copy = Path(folder) / notebook.name
        jupytext.write(reading, copy)
        command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "--overwrite"]
        command += [f"--nbmake-timeout={CELL_TIMEOUT_SECONDS}", str(copy)]
        # The settings in pyproject.toml are for the tests of the library.
        command += ["-c", os.devnull, "--rootdir", folder, "--noconftest"]
        command += ["-p", "no:cacheprovider"]
        if patient and (nice := shutil.which("nice")):
            command = [nice, "-n", "10", *command]

        def attempt() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                command,
                cwd=ROOT,
                env=kernel_environment(source.stem),
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        run = attempt()
        # Two kernels that start at the same time may be given the same free port.
        if run.returncode != 0 and "Address already in use" in run.stdout:
            run = attempt()
        if run.returncode != 0:  # in one piece, whatever else is running
            print(run.stdout, flush=True)
        else:
            notebook.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(notebook)
    return run.returncode == 0


def kernel_environment(chapter: str) -> dict[str, str]:
    """Return the environment without what a user may have set up for Jupyter.

    With a place for the programs that JAX compiles and one for trained blocks, unless the
    user has named one.
    """
    environment = dict(os.environ)
    # A kernel called python3 that was installed elsewhere must not win over the
    # one of this environment, nor may a start-up file change its state.
    environment.pop("JUPYTER_PATH", None)
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"
    environment["IPYTHONDIR"] = str(ROOT / "_build" / "ipython")
    # With a back end set here the figures would not reach the notebook.
    environment.pop("MPLBACKEND", None)
    # A cell with !icrl-flax must find this environment's, activated or not.
    scripts = str(Path(sys.executable).parent)
    environment["PATH"] = scripts + os.pathsep + environment.get("PATH", "")
    # Most of what a changed library compiles is what it compiled before.
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / "_build" / "xla-cache"))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    # Each core has a chapter of its own: threads of NumPy's would only wait for each other,
    # which makes products of small matrices up to twenty times slower.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Most of a chapter's time is the compiler's. A graphics card has another one.
    if chapter not in TIMED and not shutil.which("nvidia-smi"):
        environment.setdefault("XLA_FLAGS", QUICK_COMPILER)
    # Chapters train the same rules from the same seeds.
    environment.setdefault("ICRL_RUNS", str(ROOT / "_build" / "runs"))
    return environment


@dataclass(frozen=True)
class Job:
    """One notebook, read once: it may be edited while another one is executed."""

    source: Path
    key: str
    notebook: NotebookNode  # as the book reads it
    reading: NotebookNode  # as it is executed
    executed: Executed
    expected: float  # seconds

    @classmethod
    def of(cls, source: Path, library: Library | None = None) -> "Job":
        """Read the notebook `source` as it is now."""
        executed = Executed.of(source)
        known = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
        expected = executed.stored().get("seconds", known.get(source.stem, 60.0))
        key = freshness_key(source, library)
        readings = as_the_book_reads(source), as_jupytext_reads(source)
        return cls(source, key, *readings, executed, expected)

    @property
    def stale(self) -> bool:
        """Whether it has to be executed."""
        return self.executed.seconds(self.key) is None

    def forget(self, cache: BookCache) -> None:
        """Drop the results of an older library before the notebook is executed.

        So neither a failure nor an interruption can leave them behind.
        """
        self.executed.key.unlink(missing_ok=True)
        self.executed.notebook.unlink(missing_ok=True)
        cache.forget(self.notebook)

    def run(self, patient: bool = False) -> float | None:
        """Execute the notebook; return how long that took, None if it failed.

        Patient is who leaves the processor to others: the page that a reader waits for.
        """
        print(f"{_name(self.source)}: executing", flush=True)
        start = time.monotonic()
        succeeded = execute(self.source, self.reading, self.executed.notebook, patient)
        seconds = time.monotonic() - start
        verdict = "executed in" if succeeded else "FAILED after"
        print(f"{_name(self.source)}: {verdict} {seconds:.0f} s", flush=True)
        return seconds if succeeded else None

    def keep(self, cache: BookCache, seconds: float) -> None:
        """Hand the results of a successful execution to the book."""
        stored = json.dumps({"key": self.key, "seconds": seconds})
        partial = self.executed.key.with_suffix(".partial")
        partial.write_text(stored, encoding="utf-8")
        partial.replace(self.executed.key)
        cache.store(self.notebook, self.executed, seconds)


class Progress:
    """What is left, told as notebooks finish, in the pace that this machine has shown."""

    def __init__(self, stale: list[Job], at_once: int) -> None:
        self.left = {job.source.stem: job.expected for job in stale}
        self.count, self.at_once, self.began = len(stale), at_once, time.monotonic()
        self.expected = self.took = 0.0
        longest = max([0.0, *self.left.values()])
        if stale:
            total = max(longest, sum(self.left.values()) / at_once)
            print(
                f"{len(stale)} notebooks to execute, {at_once} at a time: about {_minutes(total)}",
                flush=True,
            )
            for job in stale:
                print(f"  {_name(job.source)}  {_minutes(job.expected)}", flush=True)

    def finished(self, job: Job, seconds: float | None) -> None:
        """Count a notebook."""
        self.expected += self.left.pop(job.source.stem)
        self.took += seconds or job.expected
        left = max([0.0, *self.left.values(), sum(self.left.values()) / self.at_once])
        left *= self.took / max(self.expected, 1e-9)
        done = self.count - len(self.left)
        print(f"{done} of {self.count} done, about {_minutes(left)} left", flush=True)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def bring_up_to_date(
    jobs: list[Job],
    cache: BookCache,
    at_once: int,
    first: str | None = None,
    between: Callable[[list[Job], Callable[[], None]], None] = lambda left, hand_over: hand_over(),
) -> list[Job]:
    """Execute the stale notebooks, hand all results to the book, return what failed.

    Args:
        jobs: notebooks, of which some are stale.
        cache: the book's.
        at_once: how many kernels.
        first: the stem of the notebook to begin with; then come the longest.
        between: is called every second and after each notebook, with those that are still to
            come, and with a function that hands the book what has finished: it says when.
    """
    stale = []
    for job in jobs:
        seconds = job.executed.seconds(job.key)
        if seconds is None:
            job.forget(cache)
            stale.append(job)
        else:
            print(f"{_name(job.source)}: unchanged", flush=True)
            # Also when unchanged, since the book's cache may have been cleared.
            cache.store(job.notebook, job.executed, seconds)
    stale.sort(key=lambda job: (job.source.stem != first, -job.expected, job.source.stem))
    progress = Progress(stale, at_once)
    failed, finished = [], []

    def hand_over() -> None:
        for job, seconds in finished:
            job.keep(cache, seconds)
        finished.clear()

    # A notebook keeps one core busy most of the time.  The book's cache is a
    # database that belongs to this thread.
    with ThreadPoolExecutor(at_once) as pool:
        # The one to begin with goes before the others where cores are short.
        running = {
            pool.submit(job.run, first not in (None, job.source.stem)): job for job in stale
        }
        while running or finished:
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                job, seconds = running.pop(future), future.result()
                progress.finished(job, seconds)
                if seconds is None:
                    failed.append(job)
                else:
                    finished.append((job, seconds))
            between(list(running.values()), hand_over)
    return failed


def _name(source: Path) -> str:
    return source.relative_to(ROOT).as_posix()


def read(names: list[str] | None = None) -> list[Job]:
    """Read the notebooks of these names, or all.

    Exits with a message for a name that none has, and for one that the book would misread.
    """
    sources = sorted((ROOT / "notebooks").glob("*.md"))
    unknown = sorted(set(names or []) - {source.stem for source in sources})
    if unknown:
        known = ", ".join(source.stem for source in sources)
        sys.exit(f"no notebook is called {unknown[0]!r}; there are {known}")
    for source in sources:
        check_readable(source)
    library = Library(ROOT)  # read once for all of them
    chosen = [source for source in sources if not names or source.stem in names]
    return [Job.of(source, library) for source in chosen]


def cores() -> int:
    """How many processors this process may use."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return len(usable)


def report(failed: list[Job]) -> None:
    """Exit with the names of those that failed, if any did."""
    if failed:
        sys.exit("failed: " + ", ".join(sorted(_name(job.source) for job in failed)))


def main(arguments: list[str] | None = None) -> None:
    """Bring notebooks up to date; exit non-zero if one of them fails."""
    parser = argparse.ArgumentParser(description="Execute every stale notebook.")
    parser.add_argument("names", nargs="*", help="file names without .md; default: all")
    parser.add_argument(
        "--at-once", type=int, default=cores(), help="how many; default: one for each core"
    )
    parser.add_argument(
        "--times", action="store_true", help=f"write how long each took into {EXPECTED.name}"
    )
    options = parser.parse_args(arguments)
    if options.at_once < 1:
        parser.error(f"--at-once must be at least 1, got {options.at_once}")
    jobs = read(options.names)
    report(bring_up_to_date(jobs, BookCache(), options.at_once))
    if options.times:
        seconds = {job.source.stem: round(job.executed.stored()["seconds"]) for job in jobs}
        EXPECTED.write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
