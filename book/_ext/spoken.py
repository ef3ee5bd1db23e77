"""Say to a screen reader what the theme and Sphinx leave unsaid.

The side bar's arrows are drawn without words, what a folded cell says is replaced by "Toggle
hidden content", a signature of several lines is a list
of definitions without terms, and the bibliography a list whose entries are no items.
"""

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from written_pages import rewrite

REPLACEMENTS = {
    '<summary><span class="toctree-toggle"': (
        '<summary aria-label="Pages of this section"><span class="toctree-toggle"'
    ),
    '<summary aria-label="Toggle hidden content">': "<summary>",
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    '<dl>\n<dd><em class="sig-param">': '<dl role="presentation">\n<dd><em class="sig-param">',
}


def speak(text: str) -> str:
    """Add the words to a page."""
    for silent, speaking in REPLACEMENTS.items():
        text = text.replace(silent, speaking)
    return text


def setup(app: Sphinx) -> ExtensionMetadata:
    """Do it when the pages have been written."""
    return rewrite(app, speak)
