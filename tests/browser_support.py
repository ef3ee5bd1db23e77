"""A real browser for the tests: Debian's Chromium, driven by Playwright, offline.

Playwright's own browsers are not used, for they would have to be downloaded. Where no
Chromium is installed the tests that ask for one are skipped, but fail if CI is set: there
nobody reads what was skipped.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, Page, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",  # Chromium refuses to run as root without it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
LOCAL = ("file:", "data:", "blob:", "about:")


def chromium_path() -> str | None:
    """Chromium's executable: the one that CHROMIUM names, or the first on the path."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def node_path() -> str:
    """The Node that Playwright's package brings with it."""
    return compute_driver_executable()[0]


def ask_node(harness: Path, asked: dict[str, Any]) -> Any:
    """What a script makes of a question, both in JSON."""
    done = subprocess.run(
        [node_path(), str(harness)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium, closed at the end; without one, skips the test, or fails it under CI.

    Open it once for a module:

        @pytest.fixture(scope="module")
        def browser():
            with browser_support.chromium() as browser:
                yield browser
    """
    path = chromium_path()
    if path is None:
        absent = pytest.fail if os.environ.get("CI") else pytest.skip
        absent(f"no Chromium: set CHROMIUM or install one of {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page and what went wrong on it.

    Attributes:
        page: Playwright's page.
        errors: console errors and uncaught exceptions.
        failed: addresses of local files that could not be read.
        outside: addresses that are not local; they were not fetched.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """All of them."""
        return self.errors + self.failed + self.outside


@contextmanager
def visit(
    browser: Browser,
    path: Path,
    width: int = 1280,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    reduced_motion: Literal["no-preference", "reduce"] = "no-preference",
    java_script: bool = True,
) -> Iterator[Visit]:
    """Open a file in a fresh, offline profile, and write down what goes wrong.

    Args:
        browser: from `chromium`.
        path: the HTML file; opened by its file:// address.
        width: of the window, in CSS pixels.
        height: likewise.
        scheme: what the reader's system prefers.
        reduced_motion: likewise.
        java_script: off to see what noscript readers see.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion=reduced_motion,
        java_script_enabled=java_script,
        offline=True,
    )
    page = context.new_page()
    seen = Visit(page)

    def keep_local(route: Route) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            seen.outside.append(route.request.url)
            route.abort()

    page.route("**/*", keep_local)
    page.on("console", lambda m: seen.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on(
        "requestfailed",
        lambda r: seen.failed.append(r.url) if r.url.startswith(LOCAL) else None,
    )
    try:
        page.goto(path.resolve().as_uri())
        yield seen
    finally:
        context.close()


def overflow(page: Page) -> int:
    """CSS pixels by which the document is wider than the window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def cut_formulas(page: Page) -> list[str]:
    """Formulas of which a part can neither be seen nor be scrolled to.

    Every visible formula's drawn parts are compared with each ancestor that clips: beyond its
    left edge nothing can be reached; beyond its right one only if it scrolls.
    """
    return page.evaluate(
        """() => {
          const cut = [];
          for (const formula of document.querySelectorAll('mjx-container')) {
            if (!formula.checkVisibility()) continue;
            const math = formula.querySelector('mjx-math') ?? formula;
            const boxes = [...math.querySelectorAll('mjx-c')].map(c => c.getBoundingClientRect())
              .filter(box => box.width && box.height);
            if (!boxes.length) continue;
            const left = Math.min(...boxes.map(box => box.left));
            const right = Math.max(...boxes.map(box => box.right));
            for (let outer = formula; outer; outer = outer.parentElement) {
              const overflow = getComputedStyle(outer).overflowX;
              const window = outer === document.documentElement;
              if (overflow === 'visible' && !window) continue;
              const edge = outer.getBoundingClientRect();
              const start = edge.left - outer.scrollLeft;
              const scrolls = overflow === 'auto' || overflow === 'scroll';
              if (left < start - 2 || (right > edge.right + 2 && !scrolls)) {
                const by = Math.round(Math.max(start - left, right - edge.right));
                const where = `${outer.tagName.toLowerCase()}.${outer.className}`;
                const source = formula.parentElement.closest('[id]')?.id;
                cut.push(`below #${source}: by ${by} px in ${where}`);
                break;
              }
              if (scrolls) break;
            }
          }
          return cut;
        }"""
    )


def settle(page: Page) -> None:
    """Wait for the transitions and animations under way, halfway through which colours are
    neither the old nor the new ones. What goes on without end is left alone."""
    page.evaluate(
        """async () => {
          await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
          const ending = document.getAnimations().filter(
            animation => Number.isFinite(animation.effect.getComputedTiming().endTime));
          await Promise.allSettled(ending.map(animation => animation.finished));
        }"""
    )


def violations(page: Page, context: str | None = None) -> list[str]:
    """What axe-core calls serious or critical: rule, and the elements that break it.

    Args:
        page: an open page.
        context: a CSS selector to look inside; the whole page if not given.
    """
    # Unless told not to, axe asks for the style sheets once more, which file:// refuses.
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {[node['target'] for node in rule['nodes']]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
