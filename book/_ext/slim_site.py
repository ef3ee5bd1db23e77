"""Leave out of the built site what its pages never load.

The theme and MathJax bring themselves along in several variants, three times the
weight of the book.  What stays of MathJax is the variant in use, with everything that
it loads on demand: TeX's extensions, fonts, its menu, and speech in English.
"""

import re
from pathlib import Path, PurePosixPath

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.typing import ExtensionMetadata

MATHJAX = "_static/mathjax"
# Below MathJax's folder.
KEPT = (
    "tex-chtml.js",
    "a11y/*",
    "input/tex/extensions/*",
    "output/chtml/fonts/woff-v2/*",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
    "ui/*",
)
# In the whole site: maps for the authors of scripts and styles, translations of the
# theme, and fonts in a format that no browser prefers.
NEVER_LOADED = ("_static/**/*.map", "_static/locales/**/*", "_static/vendor/**/*.ttf")
# Draws the icons a second time, as SVG: the style sheet has a font for them.
SCRIPT = "_static/scripts/fontawesome.js"
TAG = re.compile(rf'[ \t]*<script[^>]*src="[^"]*{re.escape(SCRIPT)}[^"]*"[^>]*></script>\n?')


def slim(site: Path) -> int:
    """Remove what no page of a site loads; return how many bytes that saved.

    Raises:
        FileNotFoundError: if the variant of MathJax in use is not there.
    """
    superfluous = [path for pattern in NEVER_LOADED for path in site.glob(pattern)]
    mathjax = site / MATHJAX
    if mathjax.exists():
        if not (mathjax / KEPT[0]).exists():
            raise FileNotFoundError(f"{mathjax / KEPT[0]} is missing: MathJax has changed")
        for path in mathjax.rglob("*"):
            name = PurePosixPath(path.relative_to(mathjax).as_posix())
            if not any(name.match(pattern) for pattern in KEPT):
                superfluous.append(path)
    if (site / SCRIPT).exists():
        superfluous.append(site / SCRIPT)
        for page in site.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            without = TAG.sub("", text)
            if without != text:
                page.write_text(without, encoding="utf-8")
    saved = 0
    for path in superfluous:
        if path.is_file():
            saved += path.stat().st_size
            path.unlink()
    for folder in sorted((site / "_static").rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return saved


def slim_when_built(app: Sphinx, error: Exception | None) -> None:
    """Slim the site after everything has been copied into it."""
    if error is None and app.builder.format == "html":
        try:
            slim(Path(app.outdir))
        except FileNotFoundError as missing:
            raise ExtensionError(str(missing)) from missing


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    # After the extensions that copy their files when the build has finished.
    app.connect("build-finished", slim_when_built, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
