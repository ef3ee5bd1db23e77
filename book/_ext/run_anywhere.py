"""Offer every notebook page as an executed notebook, and to open it in Colab or Binder.

The executed notebooks are written beside the pages.  Where the book's repository is
known, from the environment alone, the pages also have buttons that open them elsewhere,
and each notebook starts with a cell that fetches the repository when it runs in Colab.
A fork's book so points at the fork; a book built at home has neither buttons nor cell.

    ICRL_REPOSITORY      owner/name on GitHub, or the https address of a repository
    GITHUB_REPOSITORY    owner/name, as GitHub Actions sets it, with
    GITHUB_SERVER_URL    where that is, https://github.com if it is not set
"""

import os
import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import nbformat
from docutils import nodes
from plain_markdown import plain_markdown
from sphinx.application import Sphinx
from sphinx.errors import ConfigError
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata

logger = logging.getLogger(__name__)

GITHUB = "https://github.com"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
SERVER = re.compile(rf"https://{NAME}(:\d+)?")
REPOSITORY = re.compile(rf"(?P<owner>{NAME})/(?P<name>{NAME}?)(\.git)?")


class Repository(NamedTuple):
    """Where the book's source lives."""

    server: str
    owner: str
    name: str

    @property
    def address(self) -> str:
        """What git clones."""
        return f"{self.server}/{self.owner}/{self.name}"

    def colab(self, branch: str, path: str) -> str | None:
        """Address that opens a notebook of a branch in Colab, which knows GitHub alone."""
        if self.server != GITHUB:
            return None
        start = f"https://colab.research.google.com/github/{self.owner}/{self.name}"
        return f"{start}/blob/{quote(branch, safe='')}/{quote(path)}"

    def binder(self, path: str) -> str:
        """Address that opens a notebook in Binder, in the repository's environment."""
        place = f"git/{quote(self.address, safe='')}"
        if self.server == GITHUB:
            place = f"gh/{self.owner}/{self.name}"
        return f"https://mybinder.org/v2/{place}/HEAD?urlpath={quote(f'lab/tree/{path}', safe='')}"


def repository_from(environment: Mapping[str, str]) -> Repository | None:
    """Return the repository that the environment names, None if it names none.

    Raises:
        ValueError: if a variable holds what is no repository, with its name and value.
    """
    server = environment.get("GITHUB_SERVER_URL", "").rstrip("/") or GITHUB
    named = environment.get("ICRL_REPOSITORY", "")
    if named:
        variable, path = "ICRL_REPOSITORY", named.rstrip("/")
        server = GITHUB
        if path.startswith("https://"):
            server, _, path = path.removeprefix("https://").partition("/")
            server = f"https://{server}"
    else:
        variable, path = "GITHUB_REPOSITORY", environment.get("GITHUB_REPOSITORY", "")
        if not path:
            return None
        if not SERVER.fullmatch(server):
            raise ValueError(f"GITHUB_SERVER_URL must be an https address, got {server!r}")
    match = REPOSITORY.fullmatch(path)
    if match is None or not SERVER.fullmatch(server):
        raise ValueError(
            f"{variable} must be owner/name or the https address of a repository, "
            f"got {environment[variable]!r}"
        )
    return Repository(server, match["owner"], match["name"])


COLAB_CELL = """\
# In Colab only: fetch the book's repository and install its library.
import sys

if "google.colab" in sys.modules:
    import os
    import subprocess

    folder = "/content/{name}"
    if not os.path.isdir(folder):
        clone = ["git", "clone", "--quiet", "--depth=1", "{address}", folder]
        subprocess.run(clone, check=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, folder + "{extras}"], check=True)
    os.chdir(folder + "/{directory}")
"""


def colab_cell(repository: Repository, docname: str, extras: list[str]) -> str:
    """Return code that makes a notebook run in Colab and does nothing elsewhere.

    It clones rather than installs from the address, because chapters read committed
    tables by their place beside the notebook.
    """
    return COLAB_CELL.format(
        name=repository.name,
        address=f"{repository.address}.git",
        extras=f"[{','.join(extras)}]" if extras else "",
        directory=docname.rpartition("/")[0],
    )


def is_notebook(app: Sphinx, docname: str) -> bool:
    """Return whether a page was made from a notebook."""
    return "kernelspec" in app.env.metadata.get(docname, {})


def executed_copy(app: Sphinx, docname: str) -> Path:
    """Return where MyST-NB has put a page's notebook with its outputs."""
    return Path(app.outdir).parent / "jupyter_execute" / f"{docname}.ipynb"


def read_environment(app: Sphinx) -> None:
    """Find out where the repository is before anything is built."""
    try:
        app.run_anywhere_repository = repository_from(os.environ)  # type: ignore[attr-defined]
    except ValueError as error:
        raise ConfigError(str(error)) from error


def add_buttons(
    app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Add the buttons of a notebook's page to those that the theme has put there."""
    if not is_notebook(app, pagename):
        return
    path = f"{pagename}.ipynb"
    download = _button(context["pathto"](path, 1), ".ipynb", "fas fa-code")
    download["tooltip"] = "Download the executed notebook"
    buttons = context["header_buttons"]
    for group in buttons:
        if group.get("label") == "download-buttons":
            group["buttons"].insert(0, download)
    repository: Repository | None = app.run_anywhere_repository  # type: ignore[attr-defined]
    if repository is None:
        return
    binder = _button(repository.binder(path), "Binder", "fas fa-cloud")
    links = [binder | {"tooltip": "Run this page on Binder, in the book's environment"}]
    colab = repository.colab(app.config.run_anywhere_branch, path)
    if colab is not None:
        button = _button(colab, "Colab", "fas fa-play")
        links.insert(0, button | {"tooltip": "Open the executed notebook in Colab"})
    launch = {"type": "group", "tooltip": "Run this page elsewhere", "icon": "fas fa-rocket"}
    buttons.insert(0, launch | {"buttons": links, "label": "launch-buttons"})


def _button(url: str, text: str, icon: str) -> dict[str, Any]:
    label = f"run-{text.strip('.').lower()}-button"
    return {"type": "link", "url": url, "text": text, "icon": icon, "label": label}


def titles(app: Sphinx, docname: str) -> Callable[[str], str]:
    """Return what finds the title of a document by its path from another."""

    def title_of(path: str) -> str:
        other = posixpath.normpath(posixpath.join(posixpath.dirname(docname), path))
        return app.env.titles[other].astext() if other in app.env.titles else path

    return title_of


def write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Write the executed notebooks beside the pages."""
    if error is not None or app.builder.name not in ("html", "dirhtml"):
        return
    repository: Repository | None = app.run_anywhere_repository  # type: ignore[attr-defined]
    for docname in sorted(app.env.all_docs):
        if not is_notebook(app, docname):
            continue
        source = executed_copy(app, docname)
        if not source.exists():
            logger.warning("%s has no executed notebook at %s", docname, source)
            continue
        notebook = nbformat.read(source, as_version=4)
        for k, cell in enumerate(notebook.cells):
            cell.id = f"cell-{k}"  # a random one would change with every build
            if cell.cell_type == "markdown":
                cell.source = plain_markdown(cell.source, titles(app, docname))
        if repository is not None:
            code = colab_cell(repository, docname, app.config.run_anywhere_extras)
            notebook.cells.insert(0, nbformat.v4.new_code_cell(code, id="colab"))
        target = Path(app.outdir) / f"{docname}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the extension."""
    # The branch to which the built book is published, for Colab.
    app.add_config_value("run_anywhere_branch", "gh-pages", "html")
    # Extras of the library that the notebooks need.
    app.add_config_value("run_anywhere_extras", [], "html")
    app.connect("builder-inited", read_environment)
    # After the theme, at 501, has added its own buttons.
    app.connect("html-page-context", add_buttons, priority=600)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
