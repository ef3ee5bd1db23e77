"""What several extensions do: change the pages once they have been written."""

from collections.abc import Callable
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def rewrite(
    app: Sphinx,
    change: Callable[[str], str],
    builders: tuple[str, ...] = ("html", "dirhtml", "singlehtml"),
) -> ExtensionMetadata:
    """Apply `change` to the text of each HTML page of a build that succeeds.

    Args:
        app: the application that calls an extension's `setup`.
        change: from a page's text to what it becomes.
        builders: which builders' pages.

    Returns:
        What the `setup` of an extension returns.
    """

    def finished(app: Sphinx, exception: Exception | None) -> None:
        if exception is not None or app.builder.name not in builders:
            return
        for page in Path(app.outdir).rglob("*.html"):
            before = page.read_text(encoding="utf-8")
            if (after := change(before)) != before:
                page.write_text(after, encoding="utf-8")

    app.connect("build-finished", finished)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
