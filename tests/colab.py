"""Run chapters as Colab does: in a kernel that has older packages loaded, from the first cell on.

    python tests/colab.py PYTHON                      # of an environment with ipykernel and pip
    python tests/colab.py PYTHON theorem_3_1

The kernel is PYTHON's. What Colab's image has in PRELOADED is imported before the first cell if
it is there, so `nox -s colab` runs this in environments with the packages of Colab's published
lists. The committed state of this folder is what the first cell fetches.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "book" / "_ext"))

from run_anywhere import Repository, colab_cell, commit_of, packages_of  # noqa: E402

# Colab's own modules and a reader's first cells; a kernel itself has loaded IPython and others.
PRELOADED = ("google.protobuf", "numpy", "pandas", "scipy.linalg", "matplotlib.pyplot", "seaborn",
             "PIL.Image", "sympy")  # fmt: skip

BEFORE = """\
import importlib, sys, types
colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
colab.output = sys.modules["google.colab.output"] = types.ModuleType("google.colab.output")
for name in {names}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
"""
AFTER = """\
from importlib.metadata import version
import icrl_flax
place = icrl_flax.__file__
assert place.startswith({folder!r}), place
for name, module in list(sys.modules.items()):
    if name in ("numpy", "pandas", "scipy", "matplotlib", "seaborn", "PIL", "IPython"):
        on_disk = version("pillow" if name == "PIL" else name)
        assert on_disk == module.__version__, (name, on_disk, module.__version__)
print(*(f"{{name}} {{version(name)}}" for name in ("numpy", "jax", "flax", "optax")))
"""


def offered(chapter: str, content: Path) -> NotebookNode:
    """Return a chapter as Colab gets it, its first cell included, with a check at its end."""
    repository = Repository(f"file://{content}", "here", "book")
    notebook = jupytext.read(ROOT / "notebooks" / f"{chapter}.md")
    cell = colab_cell(
        repository, f"notebooks/{chapter}", ["gym", "theory"], packages_of(notebook),
        commit_of({}, ROOT),
    )  # fmt: skip
    cell = cell.replace('"/content/', f'"{content}/')
    first = [new_code_cell(BEFORE.format(names=PRELOADED)), new_code_cell(cell)]
    last = new_code_cell(AFTER.format(folder=f"{content}/book"))
    notebook.cells = [*first, *notebook.cells, last]
    return notebook


def run(python: str, chapters: list[str]) -> list[str]:
    """Execute chapters with a Python's kernel; return what their last cells print.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    said = []
    with tempfile.TemporaryDirectory() as name:
        content = Path(name).resolve()
        origin = content / "here" / "book.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, origin], check=True)
        kernel = content / "jupyter" / "kernels" / "colab"
        kernel.mkdir(parents=True)
        launch = "-Xfrozen_modules=off -m ipykernel_launcher -f {connection_file}"
        command = [python, *launch.split()]
        spec = {"argv": command, "display_name": "Colab", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = str(content / "jupyter")
        os.environ.pop("PYTHONPATH", None)
        for chapter in chapters:
            notebook = offered(chapter, content)
            place = {"metadata": {"path": str(content)}}
            client = NotebookClient(notebook, timeout=1800, kernel_name="colab", resources=place)
            restarted = ""
            try:
                client.execute()
            except CellExecutionError as error:
                if "Restart session; then run this cell again" not in str(error):
                    raise
                restarted = ", after a restart"
                client.execute()
            said.append(f"{chapter}: {notebook.cells[-1].outputs[0].text.strip()}{restarted}")
    return said


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("python", help="of the environment that stands for Colab")
    parser.add_argument("chapters", nargs="*", default=["the_setting"])
    options = parser.parse_args()
    print(*run(options.python, options.chapters), sep="\n")
