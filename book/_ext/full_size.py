"""Make each figure a link to its picture: a telephone shows it alone, to be enlarged.

Sphinx does so only for pictures that a page scales by an option of their own.
"""

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from written_pages import rewrite

PICTURE = re.compile(r'(<figure\b[^>]*>\s*)(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)')
LINK = r'\1<a class="image-reference" href="\3">\2</a>'


def link(text: str) -> str:
    """Put the links into a page."""
    return PICTURE.sub(LINK, text)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Do it when the pages have been written; not in the one that is printed."""
    return rewrite(app, link, builders=("html", "dirhtml"))
