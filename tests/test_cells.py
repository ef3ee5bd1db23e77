"""The cells of notebooks are linted and formatted, and the rest of their text is left alone."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

cells = pytest.importorskip("cells", reason="needs Jupytext")

NOTEBOOK = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# One

A  sentence with `x=1`   and odd spaces.

```{{code-cell}} ipython3
{first}
```

```python
x=1
```

```{{code-cell}} ipython3
:tags: [hide-input]

{second}
```

:::{{note}}
The end.
:::
"""
IMPORT, ASSERTION = "import numpy as np\n\nx = np.ones(2)\nx", "assert x[0] == 1 and x[1] == 1"


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook of two cells."""

    def write(first: str = IMPORT, second: str = ASSERTION) -> Path:
        path = tmp_path / "one.md"
        path.write_text(NOTEBOOK.format(first=first, second=second), encoding="utf-8")
        return path

    return write


def test_a_clean_notebook_passes_and_stays(notebook):
    path = notebook()
    before = path.read_bytes()
    assert cells.check([path])
    assert cells.check([path], fix=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ("import os\n" + IMPORT, ASSERTION, "F401"),
        (IMPORT, "assert y == 1", "F821"),
        ("import numpy as np\nx=np.ones(2)", ASSERTION, "cell 2"),
        (IMPORT, f"print({'x, ' * 25}x)", "would be reformatted"),
    ],
    ids=["unused", "unknown", "spaces", "too wide"],
)
def test_what_ruff_finds_fails_with_the_cell(first, second, named, notebook, capfd):
    path = notebook(first, second)
    before = path.read_bytes()
    assert not cells.check([path])
    captured = capfd.readouterr()
    assert named in captured.out + captured.err
    assert "one.ipynb" in captured.out + captured.err
    assert path.read_bytes() == before


def test_what_can_be_mended_is_and_nothing_else(notebook):
    path = notebook(
        "import os\nimport numpy as np\n\nx=np.ones( 2 )\nx", "assert x[0]==1 and x[1]==1"
    )
    assert cells.check([path], fix=True)
    assert path.read_text("utf-8") == NOTEBOOK.format(first=IMPORT, second=ASSERTION)


def test_all_notebooks_pass():
    assert cells.check(sorted((ROOT / "notebooks").glob("*.md")))
