"""Buttons and notebooks for other places: download, Colab, Binder."""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "book" / "_ext"
sys.path.append(str(EXTENSIONS))

from plain_markdown import plain_markdown  # noqa: E402
from run_anywhere import Repository, colab_cell, commit_of, repository_from  # noqa: E402

CONFIGURATION = f"""
import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_nb", "run_anywhere"]
nb_execution_mode = "off"
html_theme = "sphinx_book_theme"
run_anywhere_extras = ["gym", "theory"]
exclude_patterns = ["html", "jupyter_execute"]
"""


CODE = "from myst_nb import glue\n\nprint('forty-two')"
MIME_PREFIX = "application/papermill.record/"


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Build a book of one executed notebook and one page."""
    source = folder / "source"
    (source / "notebooks").mkdir(parents=True)
    (source / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    contents = "# Book\n\n```{toctree}\nnotebooks/one\n```\n"
    (source / "index.md").write_text(contents, encoding="utf-8")
    # As MyST-NB's glue leaves a value in a notebook.
    glued = nbformat.v4.new_output(
        "display_data",
        data={"application/papermill.record/text/plain": "'42 °C'"},
        metadata={"scrapbook": {"name": "the answer", "mime_prefix": MIME_PREFIX}},
    )
    output = nbformat.v4.new_output("stream", name="stdout", text="forty-two\n")
    cells = [
        nbformat.v4.new_markdown_cell("# One\n\nSee {doc}`../index`.", id="title"),
        nbformat.v4.new_code_cell(CODE, outputs=[output, glued], id="answer"),
        nbformat.v4.new_markdown_cell("It is {glue:text}`the answer`.", id="glued"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, source / "notebooks" / "one.ipynb")
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GITHUB_", "ICRL_REPOSITORY"))
    }
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html"]
    return subprocess.run(
        [*command, str(source), str(folder / "html")],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def page(folder: Path, name: str) -> str:
    """A built page."""
    return html.unescape((folder / "html" / f"{name}.html").read_text(encoding="utf-8"))


def notebook_of(folder: Path) -> nbformat.NotebookNode:
    """The notebook that the page offers."""
    return nbformat.read(folder / "html" / "notebooks" / "one.ipynb", as_version=4)


def outside(text: str) -> set[str]:
    """Where a page's buttons lead outside."""
    links = re.findall(r'<a href="(https://[^"]*)"[^>]*class="btn', text, flags=re.DOTALL)
    return {link.split("/")[2] for link in links}


def test_without_a_repository_there_is_only_the_download(tmp_path):
    run = build(tmp_path)
    assert run.returncode == 0, run.stderr
    text = page(tmp_path, "notebooks/one")
    assert 'href="one.ipynb" download' in text
    assert not outside(text)
    for word in ("colab", "binder", "fa-rocket"):
        assert word not in text.lower()
    notebook = notebook_of(tmp_path)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"]
    # Executed, and readable outside the book.
    assert notebook.cells[1].outputs[0].text == "forty-two\n"
    assert notebook.cells[0].source == "# One\n\nSee Book."
    assert notebook.cells[2].source == "It is 42 °C."
    assert [cell.id for cell in notebook.cells] == ["cell-0", "cell-1", "cell-2"]
    assert ".ipynb" not in page(tmp_path, "index")


def test_on_github_the_buttons_lead_to_the_repository_that_builds(tmp_path):
    run = build(tmp_path, GITHUB_REPOSITORY="a-fork/its-name", GITHUB_SHA="c0ffee")
    assert run.returncode == 0, run.stderr
    text = page(tmp_path, "notebooks/one")
    assert outside(text) == {"colab.research.google.com", "mybinder.org"}
    colab = "https://colab.research.google.com/github/a-fork/its-name"
    assert f'href="{colab}/blob/gh-pages/notebooks/one.ipynb"' in text
    binder = "https://mybinder.org/v2/gh/a-fork/its-name/c0ffee"
    assert f'href="{binder}?urlpath=lab%2Ftree%2Fnotebooks%2Fone.ipynb"' in text
    assert 'href="one.ipynb" download' in text
    address = "https://a-fork.github.io/its-name/notebooks/one.html"
    assert f'<link rel="canonical" href="{address}"' in text
    # Buttons are text and icons of the theme: nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|<link rel="(?!canonical)[^>]*href)="https?:', text)
    first = notebook_of(tmp_path).cells[0]
    assert first.cell_type == "code"
    assert '"https://github.com/a-fork/its-name.git", "c0ffee"' in first.source
    assert '"[gym,theory]", "myst-nb"]' in first.source
    assert not outside(page(tmp_path, "index"))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"GITHUB_REPOSITORY": "", "ICRL_REPOSITORY": ""}, None),
        ({"GITHUB_SERVER_URL": "https://github.com"}, None),
        ({"GITHUB_REPOSITORY": "me/book"}, Repository("https://github.com", "me", "book")),
        ({"ICRL_REPOSITORY": "me/book.js"}, Repository("https://github.com", "me", "book.js")),
        (
            {"ICRL_REPOSITORY": "https://github.com/me/book.git/"},
            Repository("https://github.com", "me", "book"),
        ),
        (
            {"ICRL_REPOSITORY": "mine/first", "GITHUB_REPOSITORY": "other/second"},
            Repository("https://github.com", "mine", "first"),
        ),
        (
            {"GITHUB_REPOSITORY": "me/book", "GITHUB_SERVER_URL": "https://git.example.org:8443/"},
            Repository("https://git.example.org:8443", "me", "book"),
        ),
        (
            {"ICRL_REPOSITORY": "me/book", "GITHUB_SERVER_URL": "https://git.example.org"},
            Repository("https://github.com", "me", "book"),
        ),
    ],
)
def test_the_repository_is_read_from_the_environment(environment, expected):
    assert repository_from(environment) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ICRL_REPOSITORY", "book"),
        ("ICRL_REPOSITORY", "me/book/tree/main"),
        ("ICRL_REPOSITORY", "me/bo ok"),
        ("ICRL_REPOSITORY", 'me/book"><script>'),
        ("ICRL_REPOSITORY", "http://github.com/me/book"),
        ("ICRL_REPOSITORY", "git@github.com:me/book"),
        ("ICRL_REPOSITORY", "https://user:secret@github.com/me/book"),
        ("ICRL_REPOSITORY", "../book"),
        ("GITHUB_REPOSITORY", "https://github.com/me/book"),
        ("GITHUB_REPOSITORY", "me/"),
        ("GITHUB_SERVER_URL", "ftp://example.org"),
    ],
)
def test_odd_addresses_are_refused(variable, value):
    environment = {"GITHUB_REPOSITORY": "me/book"} | {variable: value}
    with pytest.raises(ValueError, match=variable) as error:
        repository_from(environment)
    assert repr(value) in str(error.value)


def test_an_odd_address_stops_the_build_with_its_name(tmp_path):
    run = build(tmp_path, ICRL_REPOSITORY="no repository")
    assert run.returncode != 0
    assert "ICRL_REPOSITORY must be owner/name" in run.stderr
    assert "'no repository'" in run.stderr


def test_elsewhere_than_on_github_there_is_no_colab():
    repository = Repository("https://git.example.org", "me", "book")
    assert repository.colab("gh-pages", "one.ipynb") is None
    binder = "https://mybinder.org/v2/git/https%3A%2F%2Fgit.example.org%2Fme%2Fbook/HEAD"
    assert repository.binder("one.ipynb").startswith(f"{binder}?")


def test_the_commit_is_the_one_that_is_built(tmp_path):
    assert commit_of({"GITHUB_SHA": "c0ffee"}, tmp_path) == "c0ffee"
    assert commit_of({}, tmp_path) == "HEAD"  # under no version control
    git = ["git", "-C", str(tmp_path), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=one"], check=True)
    assert re.fullmatch("[0-9a-f]{40}", commit_of({}, tmp_path))


# Stands for Colab: a kernel that has a package loaded, of which the index has a newer version,
# and a "pip" that does what pip does with constraints.
SESSION = """
import subprocess, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
import numpy
numpy.__version__ = "2.1.3"
before = dict(sys.modules)
run = subprocess.run
def instead(command, **options):
    if command[0] == "git":
        return run(command, **options)
    print(*command, sep="|")
    return subprocess.CompletedProcess(command, CONFLICT and "-c" in command)
subprocess.run = instead
exec(CODE, {})
exec(CODE, {})  # the cell run again does nothing
import os, one_of_the_book
print(os.getcwd(), one_of_the_book.__file__, os.path.exists("../results/table.csv"),
      os.environ["JAX_PLATFORMS"], sep="|")
"""


def test_the_first_cell_keeps_what_colab_has_loaded(tmp_path):
    """The commit and not HEAD is fetched, importable and with its tables beside the notebooks."""
    book, content = tmp_path / "book.git", tmp_path / "content"
    for name in ("notebooks/one.md", "results/table.csv", "one_of_the_book.py"):
        (book / name).parent.mkdir(parents=True, exist_ok=True)
        (book / name).write_text("", encoding="utf-8")
    git = ["git", "-C", str(book), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "config", "uploadpack.allowAnySHA1InWant", "true"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=one"], check=True)
    commit = commit_of({}, book)
    (book / "one_of_the_book.py").write_text("raise AssertionError", encoding="utf-8")
    subprocess.run([*git, "commit", "--quiet", "--all", "--message=two"], check=True)

    repository = Repository(f"file://{tmp_path.parent}", tmp_path.name, "book")
    code = colab_cell(repository, "notebooks/one", ["gym", "theory"], ["myst-nb"], commit)
    code = code.replace('"/content/', f'"{content}/')

    def start(conflict: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", f"CODE = {code!r}\nCONFLICT = {conflict}\n{SESSION}"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"},
            capture_output=True,
            text=True,
            check=False,
        )

    # Where a package is loaded that is too old for the library, a restart has to follow.
    session = start(1)
    assert "Restart session; then run this cell again" in session.stderr
    with_constraints, without = session.stdout.splitlines()
    assert with_constraints == f"{without}|-c|{content}/book.loaded"
    session = start(0)
    assert session.returncode == 0, session.stderr
    installed, place = session.stdout.splitlines()
    folder = content / "book"
    assert installed.split("|")[1:] == [
        *("-m", "pip", "install", "--quiet", "-e", f"{folder}[gym,theory]", "myst-nb"),
        *("-c", f"{folder}.loaded"),
    ]
    expected = [f"{folder}/notebooks", f"{folder}/one_of_the_book.py", "True", "cpu"]
    assert place.split("|") == expected
    kept = Path(f"{folder}.loaded").read_text(encoding="utf-8").splitlines()
    assert "numpy==2.1.3" in kept  # loaded, whatever lies on disk
    assert sum(line.startswith("numpy==") for line in kept) == 1

    # Elsewhere it does nothing.
    exec(compile(code.replace(str(content), "/nowhere"), "cell", "exec"), {})
    assert not Path("/nowhere").exists()


def test_a_fork_publishes_its_own_book(tmp_path):
    """The workflow's commands, as written, on a bare repository that stands for the fork."""
    server, name = tmp_path / "server", "a-fork/its-name"
    fork = server / name
    subprocess.run(["git", "init", "--quiet", "--bare", str(fork)], check=True)
    run = build(tmp_path, GITHUB_REPOSITORY=name, GITHUB_SHA="c0ffee")
    assert run.returncode == 0, run.stderr

    # The artifact, as one job leaves it to the other.
    shutil.copytree(tmp_path / "html", tmp_path / "runner" / "book")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text("utf-8"))
    *_, step = workflow["jobs"]["deploy"]["steps"]
    given = {"GITHUB_REPOSITORY": name, "GITHUB_SHA": "c0ffee", "GITHUB_ACTOR": "me"}
    given |= {"GITHUB_SERVER_URL": f"file://{server}", "TOKEN": "none", "PATH": os.environ["PATH"]}
    subprocess.run(
        ["bash", "-e", "-c", step["run"]], env=given, cwd=tmp_path / "runner", check=True
    )

    published = tmp_path / "published"
    clone = ["git", "clone", "--quiet", "--branch", "gh-pages", str(fork), str(published)]
    subprocess.run(clone, check=True)
    assert (published / ".nojekyll").exists()
    text = html.unescape((published / "notebooks" / "one.html").read_text("utf-8"))
    colab = "https://colab.research.google.com/github/a-fork/its-name/blob/gh-pages/"
    (path,) = re.findall(rf'href="{colab}([^"]*)"', text)
    # The button leads to a file of that branch, whose first cell fetches the fork's commit.
    first = nbformat.read(published / path, as_version=4).cells[0].source
    assert '"https://github.com/a-fork/its-name.git", "c0ffee"' in first


def test_extras_exist():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    configuration = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (extras,) = re.findall(r"run_anywhere_extras: \[(.*)\]", configuration)
    assert set(extras.split(", ")) <= set(project["optional-dependencies"])


def test_binder_finds_the_notebooks_that_its_button_opens():
    script = (ROOT / "postBuild").read_text(encoding="utf-8")
    assert "jupytext --quiet --to ipynb notebooks/*.md" in script
    assert os.access(ROOT / "postBuild", os.X_OK)


def test_markup_becomes_markdown():
    text = r"""(eq-2)=
\begin{equation*}
x = y \tag{2}
\end{equation*}

:::{prf:theorem} 3.1 of the paper
:label: theorem-3-1
:nonumber:

By {prf:ref}`Lemma
C.1 <lemma-c1>` and {ref}`(2) <eq-2>`, see {doc}`../index` or {cite:p}`someone`.
:::

:::{solution-start} ex-1
:class: dropdown
:::

:keep: this line, and `{code}`.

:::{solution-end}
:::
"""
    expected = r"""$$
x = y \tag{2}
$$

**Theorem (3.1 of the paper).**


By Lemma
C.1 and (2), see Home or [someone].

**Solution.**


:keep: this line, and `{code}`.

"""
    assert plain_markdown(text, {"../index": "Home"}.__getitem__) == expected
