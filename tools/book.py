"""Build the book while its chapters are executed: the first pages come within minutes.

    python tools/book.py                # everything; what cannot be resolved is an error
    python tools/book.py theorem_3_1    # one chapter and its page, after an edit

The landing page's notebook comes first.  As soon as it is done the site is built, with
the chapters to come marked as such; they fill in as they finish.  At the end every page
is read once more, since Sphinx is silent about the warnings of pages that it does not
read again.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from execute import ROOT, BookCache, Job, bring_up_to_date, cores, read, report

LANDING = "at_a_glance"
INDEX = ROOT / "_build" / "html" / "index.html"
COMMAND = [str(Path(sys.executable).parent / "jupyter-book"), "build", "-n", "--keep-going"]


class Site:
    """The built pages, brought up to date in another process while chapters are executed."""

    def __init__(self, cache: BookCache, jobs: list[Job]) -> None:
        self.cache, self.jobs = cache, jobs
        self.shown = len(jobs) + 1  # of how many chapters the results are missing
        self.process: subprocess.Popen[bytes] | None = None
        self.told = False

    def update(self, pending: list[Job], hand_over: Callable[[], None]) -> None:
        """Take what has finished, and start a build if there is something new to show.

        Not while one is at work: it reads the book's cache, which must not change meanwhile.
        """
        if self.process is not None and self.process.poll() is None:
            return
        if self.process is not None and not self.told and INDEX.exists():
            print(f"the first pages are there: open {INDEX}", flush=True)
            self.told = True
        hand_over()  # or Jupyter Book would execute what has just been executed
        names = {job.source.stem for job in pending}
        if LANDING not in names and 0 < len(pending) < self.shown:
            # What is to come or has failed: Jupyter Book would execute it.
            for job in self.jobs:
                self.cache.blank(job.notebook)
            self.shown = len(pending)
            self.process = self._build(names)

    def _build(self, pending: set[str]) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "ICRL_PENDING": " ".join(sorted(pending))}
        quiet = subprocess.DEVNULL
        return subprocess.Popen(
            [*COMMAND, "--quiet", "."], cwd=ROOT, env=environment, stdout=quiet, stderr=quiet
        )

    def wait(self) -> None:
        """Let a build that is at work come to its end."""
        if self.process is not None:
            self.process.wait()


def build(*options: str) -> None:
    """Build the site from what has been executed; exit as Jupyter Book does."""
    environment = {name: value for name, value in os.environ.items() if name != "ICRL_PENDING"}
    done = subprocess.run([*COMMAND, *options, "."], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main(arguments: list[str] | None = None) -> None:
    """Execute what is stale and build the book, or one page of it."""
    parser = argparse.ArgumentParser(description="Execute stale notebooks and build the book.")
    parser.add_argument("name", nargs="?", help="one chapter, without .md; default: all")
    name = parser.parse_args(arguments).name
    began = time.monotonic()
    cache = BookCache()
    if name is not None:
        page(name, cache)
    else:
        jobs = read()
        site = Site(cache, jobs)
        failed = bring_up_to_date(jobs, cache, cores(), LANDING, site.update)
        site.wait()
        report(failed)
        build("--all", "-W")
    print(f"{time.monotonic() - began:.0f} s in all", flush=True)


def page(name: str, cache: BookCache) -> None:
    """Execute one chapter if it is stale, and build what has changed."""
    (chosen,) = read([name])
    report(bring_up_to_date([chosen], cache, 1))
    for job in read():  # the others show what they have
        if job.source != chosen.source:
            cache.blank(job.notebook)
    build("--quiet")
    print(f"open {INDEX.parent / 'notebooks' / name}.html", flush=True)


if __name__ == "__main__":
    main()
