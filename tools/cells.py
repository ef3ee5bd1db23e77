"""Lint and format the cells of the notebooks, which ruff cannot read as Markdown.

    python tools/cells.py                      # or, to mend: python tools/cells.py --fix
    python tools/cells.py notebooks/the_setting.md

Each notebook becomes an .ipynb without outputs in a temporary folder, where ruff knows
what a cell is. What ruff changes there is put back into the text, and nothing else.
`jupytext --pipe` would write the whole notebook anew: it folds captions at another place and
quotes options in another way, so that none of the book's notebooks comes back as it was
(https://github.com/jupytext/jupytext/issues/789 has more of what it changes).
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
RUFF = (sys.executable, "-m", "ruff")
WIDTH = "78"  # characters fit beside the book's margin without scrolling


def code(notebook: NotebookNode) -> Iterator[str]:
    """The text of each code cell."""
    return (cell.source for cell in notebook.cells if cell.cell_type == "code")


def mend(path: Path, fixed: Path) -> None:
    """Replace the cells of a notebook that differ from those of its fixed copy.

    Raises:
        ValueError: if a cell is not found in the text as it was read.
    """
    text = path.read_text("utf-8")
    pairs = zip(code(jupytext.read(path)), code(jupytext.read(fixed)), strict=True)
    for old, new in pairs:
        if old == new:
            continue
        if f"\n{old}\n```\n" not in text:
            raise ValueError(f"{path}: this cell is not in the text as it was read:\n{old}")
        text = text.replace(f"\n{old}\n```\n", f"\n{new}\n```\n")
    path.write_text(text, "utf-8")


def check(notebooks: list[Path], fix: bool = False) -> bool:
    """Whether ruff finds nothing; `fix` first lets it mend what it can."""
    with tempfile.TemporaryDirectory() as folder:
        copies = {path: Path(folder, f"{path.stem}.ipynb") for path in notebooks}
        for path, copy in copies.items():
            jupytext.write(jupytext.read(path), copy)
        if fix:
            ruff("check", folder, "--fix", "--quiet", "--exit-zero")
            ruff("format", folder, "--quiet", "--line-length", WIDTH)
            for path, copy in copies.items():
                mend(path, copy)
        # Unknown names, which the library's shapes would be, are errors in a cell.
        lint = ruff("check", folder, "--extend-select", "F821", "--output-format", "concise")
        return ruff("format", folder, "--check", "--line-length", WIDTH) and lint


def ruff(command: str, folder: str, *options: str) -> bool:
    """Run ruff on a folder, with the project's settings; whether it had nothing to say."""
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", *options]
    # From within: then it names cells by notebook and number, without the folder.
    return subprocess.run([*RUFF, command, *settings], cwd=folder, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all, if none is named")
    parser.add_argument("--fix", action="store_true", help="format, and fix what ruff can")
    options = parser.parse_args()
    notebooks = options.notebooks or sorted((ROOT / "notebooks").glob("*.md"))
    sys.exit(not check(notebooks, options.fix))


if __name__ == "__main__":
    main()
