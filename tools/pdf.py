"""Print the book, built as a single page, into a PDF with Chromium.

jupyter-book build --builder singlehtml .
python tools/pdf.py
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Error, Request, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
# Of its own accord Chromium asks several services on the internet for news.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
TIMEOUT_MS = 300_000

# On paper nothing scrolls: what is too wide for a line breaks or shrinks.
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm; }
html { font-size: 11px; }
pre, pre * { white-space: pre-wrap !important; overflow-wrap: anywhere; }
/* A box that could scroll would move to the next page as a whole. */
pre, div[class*="highlight"] { break-inside: auto !important; overflow: visible !important; }
pre { orphans: 3; widows: 3; }
table { font-size: 85%; }
table :is(th, td) { padding: 0.2rem 0.3rem !important; overflow-wrap: break-word; }
div.cell_output, div.output, .pst-scrollable-table-container { overflow: visible !important; }
img { max-width: 100% !important; height: auto; break-inside: avoid; }
h2:has(> .section-number) { break-before: page; }
h1, h2, h3, h4 { break-after: avoid; }
tr, figure, mjx-container[display="true"] { break-inside: avoid; }
.headerlink, .header-article, .prev-next-footer, .bd-footer, details > summary,
.toggle-button, .copybtn, .sidebar-toggle { display: none !important; }
"""
FOOTER = (
    '<div style="width: 100%; font-size: 8px; text-align: center">'
    '<span class="pageNumber"></span></div>'
)

# A table whose columns cannot become narrower shrinks as a whole, as long as it can be read.
SHRINK = """() => {
  const limit = document.querySelector("article").getBoundingClientRect().right;
  for (const table of document.querySelectorAll("article table")) {
    // Its letters shrink in steps, so that once may not be enough.
    for (let zoom = 1, times = 0; times < 5; times++) {
      const { left, right } = table.getBoundingClientRect();
      zoom *= (limit - left) / (right - left);
      if (right <= limit || zoom < 0.6) break;
      table.style.zoom = zoom;
    }
  }
}"""
# Wider than its page: Chromium would cut it off.
TOO_WIDE = """() => {
  const main = document.querySelector("article");
  const limit = main.getBoundingClientRect().right + 1;
  return [...main.querySelectorAll("table, img, pre, mjx-container[display='true'] > mjx-math")]
    .filter(e => e.getBoundingClientRect().right > limit)
    .map(e => `${e.tagName} ${e.innerText.replace(/\\s+/g, " ").slice(0, 60)}`);
}"""
UNRENDERED = """() => [...document.querySelectorAll(".math")]
  .filter(e => !e.querySelector("mjx-container")).map(e => e.innerText.slice(0, 60))"""
FAILED = """() => [...document.querySelectorAll("mjx-merror, .MathJax_Error")]
  .map(e => e.innerText.slice(0, 60))"""


def chromium() -> str:
    """Return the browser to print with: the one that CHROMIUM names, or the first on the path.

    Raises:
        FileNotFoundError: if there is none.
    """
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else NAMES:
        if path := shutil.which(name):
            return path
    raise FileNotFoundError("no Chromium: install Debian's package, or set CHROMIUM to its path")


def print_pdf(page_file: Path, target: Path) -> list[str]:
    """Print a page into a PDF once its formulas stand; return what is wrong with it."""
    arguments = [
        *QUIET,
        *(["--no-sandbox"] if hasattr(os, "geteuid") and not os.geteuid() else []),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            # The width of A4 less its margins, at 96 pixels to the inch.
            page = browser.new_page(viewport={"width": 673, "height": 1000})
            page.set_default_timeout(TIMEOUT_MS)
            failed: list[str] = []

            def note(request: Request) -> None:
                # Of scripts only MathJax matters on paper: there is no search, for one.
                if request.resource_type != "script":
                    failed.append(f"not found: {request.url}")

            page.on("requestfailed", note)
            page.emulate_media(media="print", color_scheme="light")
            page.goto(page_file.as_uri(), timeout=TIMEOUT_MS)
            page.add_style_tag(content=STYLE)
            if not page.evaluate("() => Boolean(window.MathJax && MathJax.startup)"):
                return ["not rendered: the page has no MathJax"]
            page.evaluate("() => MathJax.startup.promise")
            page.evaluate("() => document.fonts.ready")
            page.evaluate(SHRINK)
            problems = failed + [
                f"not rendered: {formula}" for formula in page.evaluate(UNRENDERED)
            ]
            problems += [f"error in a formula: {formula}" for formula in page.evaluate(FAILED)]
            problems += [f"cut off: {element}" for element in page.evaluate(TOO_WIDE)]
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                printed = Path(folder) / target.name
                page.pdf(
                    path=printed,
                    prefer_css_page_size=True,
                    print_background=True,
                    display_header_footer=True,
                    header_template="<span></span>",
                    footer_template=FOOTER,
                    outline=True,
                    tagged=True,
                )
                printed.replace(target)
        finally:
            browser.close()
    return problems


def main(arguments: list[str] | None = None) -> None:
    """Print the book; exit non-zero if it cannot be, or if something is cut off."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = ROOT / "_build" / "singlehtml" / "whole.html"
    parser.add_argument("--page", type=Path, default=default, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "icrl-flax.pdf")
    options = parser.parse_args(arguments)
    if not options.page.exists():
        sys.exit(f"error: no page at {options.page}: build the book with --builder singlehtml")
    try:
        problems = print_pdf(options.page.resolve(), options.out.resolve())
    except (FileNotFoundError, Error) as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
