"""Buttons and notebooks for other places: download, Colab, Binder."""

import html
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTENSIONS = ROOT / "book" / "_ext"
sys.path.append(str(EXTENSIONS))

from plain_markdown import plain_markdown  # noqa: E402
from run_anywhere import Repository, colab_cell, repository_from  # noqa: E402

CONFIGURATION = f"""
import sys
sys.path.append({str(EXTENSIONS)!r})
extensions = ["myst_nb", "run_anywhere"]
nb_execution_mode = "off"
html_theme = "sphinx_book_theme"
run_anywhere_extras = ["gym", "theory"]
exclude_patterns = ["html", "jupyter_execute"]
"""


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Build a book of one executed notebook and one page."""
    source = folder / "source"
    (source / "notebooks").mkdir(parents=True)
    (source / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
    contents = "# Book\n\n```{toctree}\nnotebooks/one\n```\n"
    (source / "index.md").write_text(contents, encoding="utf-8")
    output = nbformat.v4.new_output("stream", name="stdout", text="forty-two\n")
    cells = [
        nbformat.v4.new_markdown_cell("# One\n\nSee {doc}`../index`.", id="title"),
        nbformat.v4.new_code_cell("print('forty-two')", outputs=[output], id="answer"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, source / "notebooks" / "one.ipynb")
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "ICRL_REPOSITORY")
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
    assert 'href="one.ipynb"' in text
    assert not outside(text)
    for word in ("colab", "binder", "fa-rocket"):
        assert word not in text.lower()
    notebook = notebook_of(tmp_path)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code"]
    # Executed, and readable outside the book.
    assert notebook.cells[1].outputs[0].text == "forty-two\n"
    assert notebook.cells[0].source == "# One\n\nSee Book."
    assert [cell.id for cell in notebook.cells] == ["cell-0", "cell-1"]
    assert ".ipynb" not in page(tmp_path, "index")


def test_on_github_the_buttons_lead_to_the_repository_that_builds(tmp_path):
    run = build(tmp_path, GITHUB_REPOSITORY="a-fork/its-name")
    assert run.returncode == 0, run.stderr
    text = page(tmp_path, "notebooks/one")
    assert outside(text) == {"colab.research.google.com", "mybinder.org"}
    colab = "https://colab.research.google.com/github/a-fork/its-name"
    assert f'href="{colab}/blob/gh-pages/notebooks/one.ipynb"' in text
    binder = "https://mybinder.org/v2/gh/a-fork/its-name/HEAD"
    assert f'href="{binder}?urlpath=lab%2Ftree%2Fnotebooks%2Fone.ipynb"' in text
    assert 'href="one.ipynb"' in text
    # Buttons are text and icons of the theme: nothing is loaded from elsewhere.
    assert not re.findall(r'(?:src|<link[^>]*href)="https?:', text)
    first = notebook_of(tmp_path).cells[0]
    assert first.cell_type == "code"
    assert "https://github.com/a-fork/its-name.git" in first.source
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


def test_the_first_cell_installs_in_colab_and_does_nothing_elsewhere(monkeypatch, tmp_path):
    repository = Repository("https://github.com", "me", "book")
    code = compile(colab_cell(repository, "notebooks/one", ["gym", "theory"]), "cell", "exec")
    commands, places = [], []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(os, "chdir", places.append)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(code, {})
    assert not commands
    assert not places

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(code, {})
    (clone, install) = commands
    assert clone[:2] == ["git", "clone"]
    assert clone[-2:] == ["https://github.com/me/book.git", "/content/book"]
    assert install[:4] == [sys.executable, "-m", "pip", "install"]
    assert install[-1] == "/content/book[gym,theory]"
    assert places == ["/content/book/notebooks"]

    # Run again, it installs nothing.
    monkeypatch.setattr(os.path, "isdir", lambda folder: folder == "/content/book")
    exec(code, {})
    assert len(commands) == 2
    assert len(places) == 2


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
