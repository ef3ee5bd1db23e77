"""What a site has beside its chapters: old addresses, page not found, map, cards for links.

A few lines each, since the well-known extensions for them (sphinx-reredirects,
sphinx-notfound-page, sphinx-sitemap, sphinxext-opengraph) draw pictures, want the site's
address, or fetch. Where the book's repository is known, `run_anywhere` has set that address.
"""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlparse

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

REDIRECT = """<!DOCTYPE html>
<html lang="en">
<title>This page has moved</title>
<link rel="canonical" href="{target}">
<meta name="robots" content="noindex">
<meta http-equiv="refresh" content="0; url={target}">
<script>location.replace({script} + location.search + location.hash)</script>
<p>This page is now <a href="{target}">here</a>.</p>
</html>
"""
DESCRIPTION = 200  # characters that search engines and messengers show
LOCAL = re.compile(r'\b(href|src|action)="(?![a-z]+:|#|/)([^"]*)"')


def describe(document: nodes.document) -> str:
    """Return the first paragraph of a page's text, cut at a word."""
    for paragraph in document.findall(nodes.paragraph):
        parents = (nodes.section, nodes.document)
        text = " ".join(re.sub(r"\\[a-zA-Z]+|[{}$\\]", "", paragraph.astext()).split())
        if isinstance(paragraph.parent, parents) and len(text) > 40:
            short = text[: DESCRIPTION - 1]
            return text if len(text) <= DESCRIPTION else f"{short.rpartition(' ')[0]}…"
    return ""


def add_card(
    app: Sphinx, page: str, template: str, context: dict[str, Any], document: nodes.document | None
) -> None:
    """Give a page what a shared link to it shows: title, description, picture."""
    text = describe(document) if document is not None else ""
    text = text or app.config.html_title or app.config.project
    title = re.sub(r"<[^>]*>", "", context.get("title", "")) or app.config.project
    named = {"og:title": html.unescape(title), "og:description": text, "og:type": "article"}
    base = app.config.html_baseurl
    if base:
        named["og:url"] = urljoin(base, app.builder.get_target_uri(page))
        if app.config.site_picture:
            named["og:image"] = urljoin(base, f"_static/{app.config.site_picture}")
    tags = [f'<meta name="description" content="{html.escape(text)}" />']
    tags += [f'<meta property="{n}" content="{html.escape(v)}" />' for n, v in named.items()]
    tags.append('<meta name="twitter:card" content="summary_large_image" />')
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def not_found(app: Sphinx) -> list[tuple[str, dict[str, Any], str]]:
    """Return the page that GitHub shows for an address that does not exist."""
    links = '<a href="index.html">first page</a> or <a href="search.html">search the book</a>'
    body = f"<h1>No such page</h1>\n<p>Go to the {links}.</p>"
    return [("404", {"title": "No such page", "body": body}, "page.html")]


def write_others(app: Sphinx, error: Exception | None) -> None:
    """Write the redirects and, if the site has an address, its map."""
    if error is not None or app.builder.name != "html":
        return
    site = Path(app.outdir)
    for old, new in app.config.site_redirects.items():
        page = site / f"{old}.html"
        relative = f"{'../' * old.count('/')}{new}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        text = REDIRECT.format(target=quote(relative), script=json.dumps(relative))
        page.write_text(text, encoding="utf-8")
    base = app.config.html_baseurl
    if base:
        # Shown below any address, it has to say where its own files are.
        missing = site / "404.html"
        root = urlparse(base).path
        text = LOCAL.sub(rf'\1="{root}\2"', missing.read_text(encoding="utf-8"))
        missing.write_text(text, encoding="utf-8")
        pages = (urljoin(base, f"{name}.html") for name in sorted(app.env.found_docs))
        lines = "\n".join(f"<url><loc>{html.escape(page)}</loc></url>" for page in pages)
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        head = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{space}">'
        (site / "sitemap.xml").write_text(f"{head}\n{lines}\n</urlset>\n", encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    app.add_config_value("site_redirects", {}, "html")  # from old documents to new ones
    app.add_config_value("site_picture", "", "html")  # below _static
    app.connect("html-page-context", add_card)
    app.connect("html-collect-pages", not_found)
    app.connect("build-finished", write_others, priority=950)  # after all that rewrites pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}
