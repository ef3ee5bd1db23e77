"""Offer every notebook page as an executed notebook, and to open it in Colab or Binder.

The executed notebooks are written beside the pages.  Where the book's repository is
known, from the environment alone, the pages also have buttons that open them elsewhere,
and each notebook starts with a cell that fetches the repository when it runs in Colab.
A fork's book so points at the fork; a book built at home has neither buttons nor cell.

    ICRL_REPOSITORY      owner/name on GitHub, or the https address of a repository
    GITHUB_REPOSITORY    owner/name, as GitHub Actions sets it, with
    GITHUB_SERVER_URL    where that is, https://github.com if it is not set
"""

import ast
import json
import os
import posixpath
import re
import subprocess
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
from written_pages import rewrite

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

    @property
    def pages(self) -> str:
        """Where GitHub publishes the branch gh-pages; nothing is known of other places."""
        if self.server != GITHUB:
            return ""
        site = f"{self.owner.lower()}.github.io"
        return f"https://{site}/" if self.name == site else f"https://{site}/{self.name}/"

    def binder(self, path: str, commit: str = "HEAD") -> str:
        """Address that opens a notebook in Binder, in the repository's environment."""
        place = f"git/{quote(self.address, safe='')}"
        if self.server == GITHUB:
            place = f"gh/{self.owner}/{self.name}"
        urlpath = quote(f"lab/tree/{path}", safe="")
        return f"https://mybinder.org/v2/{place}/{commit}?urlpath={urlpath}"


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
# In Colab only: fetch the book at its commit and install its library.
import sys

if "google.colab" in sys.modules:
    import importlib.metadata
    import os
    import subprocess

    folder = "/content/{name}"
    os.makedirs(folder, exist_ok=True)
    if not os.path.isdir(folder + "/notebooks"):
        git = ["git", "-C", folder]
        subprocess.run([*git, "init", "--quiet"], check=True)
        fetch = ["fetch", "--quiet", "--depth=1", "{address}", "{commit}"]
        subprocess.run([*git, *fetch], check=True)
        subprocess.run([*git, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    if os.getcwd() != folder + "/{directory}":
        # A package that is loaded must not be replaced on disk by another version.
        owners = importlib.metadata.packages_distributions()
        modules = {{name.partition(".")[0] for name in sys.modules}}
        kept = {{owner for name in modules for owner in owners.get(name, ())}}
        versions = {{owner.lower(): importlib.metadata.version(owner) for owner in kept}}
        if "numpy" in sys.modules:
            versions["numpy"] = sys.modules["numpy"].__version__
        with open(folder + ".loaded", "w") as file:
            file.writelines(f"{{name}}=={{version}}\\n" for name, version in versions.items())
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        pip += ["-e", folder + "{extras}"{packages}]
        if subprocess.run([*pip, "-c", file.name]).returncode:
            subprocess.run(pip, check=True)
            raise RuntimeError("Choose Runtime, Restart session; then run this cell again.")
        # Colab's CUDA plugin fits the JAX that it had before, and the book's numbers are a CPU's.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        sys.path.insert(0, folder)
        os.chdir(folder + "/{directory}")
"""


def colab_cell(
    repository: Repository,
    docname: str,
    extras: list[str],
    packages: list[str],
    commit: str = "HEAD",
) -> str:
    """Return code that makes a notebook run in Colab and does nothing elsewhere.

    It fetches the whole repository, because chapters read committed tables by their place
    beside the notebook, and installs it so that a rule's file put there is found.

    Args:
        repository: what to fetch.
        docname: the notebook's document.
        extras: of the library.
        packages: what else to install.
        commit: of the book.
    """
    return COLAB_CELL.format(
        name=repository.name,
        address=f"{repository.address}.git",
        commit=commit,
        extras=f"[{','.join(extras)}]" if extras else "",
        directory=docname.rpartition("/")[0],
        packages="".join(f', "{package}"' for package in packages),
    )


def commit_of(environment: Mapping[str, str], folder: str | Path) -> str:
    """Return the commit that is built: as GitHub Actions says, or as git does; else HEAD."""
    if named := environment.get("GITHUB_SHA", ""):
        return named
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "HEAD"
    return found.strip() or "HEAD"


def packages_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what a notebook imports of the book's own tools, which Colab has not."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    uses_glue = re.search(r"^\s*(from|import) myst_nb\b", code, flags=re.MULTILINE)
    return ["myst-nb"] if uses_glue else []


def glued_values(app: Sphinx, docname: str) -> dict[str, str]:
    """Return the values that a notebook has computed for its own text."""
    stored = executed_copy(app, docname).with_suffix(".glue.json")
    if not stored.exists():
        return {}
    outputs = json.loads(stored.read_text(encoding="utf-8"))
    found = {}
    for name, output in outputs.items():
        text = output["data"].get("text/plain", "")
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        found[name] = ast.literal_eval(text) if quoted else text
    return found


GATE = re.compile(r"^:{3,}\{solution-(start|end)\}.*\n(?::[\w-]+:.*\n)*:{3,}$", flags=re.MULTILINE)
SOLUTION = re.compile(r"^(:{3,})\{solution\}.*?^\1$", flags=re.MULTILINE | re.DOTALL)


def without_solutions(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Return the cells, or what is left of them, that belong to no solution."""
    kept, inside = [], False
    for cell in cells:
        if cell.cell_type == "markdown":
            text = ""
            for k, part in enumerate(GATE.split(SOLUTION.sub("", cell.source))):
                inside = part == "start" if k % 2 else inside
                text += part if k % 2 == 0 and not inside else ""
            cell.source = text
            if text.strip():
                kept.append(cell)
        elif not inside:
            kept.append(cell)
    return kept


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
    app.run_anywhere_commit = commit_of(os.environ, app.srcdir)  # type: ignore[attr-defined]
    repository: Repository | None = app.run_anywhere_repository  # type: ignore[attr-defined]
    if repository is not None and not app.config.html_baseurl:
        app.config.html_baseurl = repository.pages  # type: ignore[attr-defined]


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
    commit: str = app.run_anywhere_commit  # type: ignore[attr-defined]
    binder = _button(repository.binder(path, commit), "Binder", "fas fa-cloud")
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
        if getattr(app, "blocks_hide", False):
            notebook.cells = without_solutions(notebook.cells)
        glued = glued_values(app, docname)
        for k, cell in enumerate(notebook.cells):
            cell.id = f"cell-{k}"  # a random one would change with every build
            if cell.cell_type == "markdown":
                cell.source = plain_markdown(cell.source, titles(app, docname), glued)
        if repository is not None:
            extras = app.config.run_anywhere_extras
            commit: str = app.run_anywhere_commit  # type: ignore[attr-defined]
            code = colab_cell(repository, docname, extras, packages_of(notebook), commit)
            notebook.cells.insert(0, nbformat.v4.new_code_cell(code, id="colab"))
        target = Path(app.outdir) / f"{docname}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)


def downloadable(text: str) -> str:
    """Let a browser save the notebook, which it would show as JSON."""
    return re.sub(r'(<a href="[^":]*\.ipynb") target="_blank"', r"\1 download", text)


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
    return rewrite(app, downloadable)
