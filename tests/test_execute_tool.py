"""tools/execute.py: what makes a notebook stale, and what a failure leaves behind.

Each test runs on a copy of the script in a miniature repository, with a stand-in
for the execution itself.
"""

import copy
import importlib.util
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "execute.py"

NOTEBOOK = """\
---
jupytext:
  text_representation:
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A chapter

```{code-cell} ipython3
import icrl_flax as icrl; 1 + 1 + icrl.ONE
```
"""

PYPROJECT = """\
[project]
dependencies = ["jax>=0.10"]
optional-dependencies.test = ["pytest>=8"]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a miniature repository with one notebook."""
    files = {
        "icrl_flax/__init__.py": "from icrl_flax.sums import ONE\n",
        "icrl_flax/sums.py": "from icrl_flax.rules import sarsa\nONE = 1\n",
        "icrl_flax/rules/__init__.py": "",
        "icrl_flax/rules/sarsa.py": "TWO = 2\n",
        "notebooks/chapter.md": NOTEBOOK,
        "pyproject.toml": PYPROJECT,
        "requirements.txt": "# pins\njax==0.10.2\n",
    }
    for name, content in files.items():
        write(tmp_path / name, content)
    (tmp_path / "tools").mkdir()
    for script in (SCRIPT, SCRIPT.with_name("dependencies.py")):
        shutil.copy(script, tmp_path / "tools")
    return tmp_path


@pytest.fixture
def tool(repository: Path) -> ModuleType:
    """Return the script as a module that works on the miniature repository."""
    script = repository / "tools" / "execute.py"
    spec = importlib.util.spec_from_file_location("notebooks_tool", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(repository: Path) -> Path:
    """Return the notebook of the miniature repository."""
    return repository / "notebooks" / "chapter.md"


def write(path: Path, content: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notebooks/chapter.md", NOTEBOOK.replace("1 + 1", "1 + 2")),
        ("icrl_flax/__init__.py", "from icrl_flax.rules.sarsa import TWO as ONE\n"),
        ("icrl_flax/sums.py", "from icrl_flax.rules import sarsa\nONE = 1.0\n"),
        ("icrl_flax/rules/sarsa.py", ""),
        ("requirements.txt", "# pins\njax==0.10.3\n"),
        ("requirements.txt", "# pins\njax==0.10.2\nflax==0.12.8\n"),
    ],
)
def test_key_follows_content(
    tool: ModuleType, repository: Path, source: Path, name: str, content: str
) -> None:
    """A change of anything that the outputs depend on makes the notebook stale."""
    before = tool.freshness_key(source)
    write(repository / name, content)
    assert tool.freshness_key(source) != before


def test_key_follows_file_names(tool: ModuleType, repository: Path, source: Path) -> None:
    """Renaming a module, or moving text between modules, is a change as well."""
    library = repository / "icrl_flax"
    keys = {tool.freshness_key(source)}
    (library / "rules/sarsa.py").rename(library / "rules/td.py")
    write(library / "sums.py", "from icrl_flax.rules import td\nONE = 1\n")
    keys.add(tool.freshness_key(source))
    write(library / "sums.py", "from icrl_flax.rules import td\n")
    write(library / "rules/td.py", "ONE = 1\nTWO = 2\n")
    keys.add(tool.freshness_key(source))
    assert len(keys) == 3


def test_key_follows_python(
    tool: ModuleType, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of Python makes the notebook stale."""
    before = tool.freshness_key(source)
    monkeypatch.setattr(tool.platform, "python_version", lambda: "3.99.0")
    assert tool.freshness_key(source) != before


def test_key_ignores_times_and_bystanders(
    tool: ModuleType, repository: Path, source: Path
) -> None:
    """A fresh checkout, a comment, prose or another chapter does not cost an execution."""
    before = tool.freshness_key(source)
    for path in repository.rglob("*"):
        os.utime(path, (0, 0))
    write(repository / "requirements.txt", "# reworded\n\njax==0.10.2\n")
    write(repository / "pyproject.toml", PYPROJECT.replace("0.10", "0.9"))
    write(repository / "icrl_flax/__pycache__/sarsa.cpython-311.pyc", "")
    write(repository / "icrl_flax/rules/new.py", "THREE = 3\n")
    write(repository / "icrl_flax/rules/sarsa.py", '"""A rule."""\nTWO = 2  # of two\n')
    write(repository / "notebooks/other.md", NOTEBOOK)
    write(source, NOTEBOOK + "\nMore prose.\n")
    assert tool.freshness_key(source) == before


@pytest.mark.parametrize(
    "name",
    ["results/seeds/table.csv", "experiments/seeds.toml", "benchmarks/cpu.json", "weights/a"],
)
def test_key_follows_the_tables_a_notebook_names(
    tool: ModuleType, repository: Path, source: Path, name: str
) -> None:
    """A chapter that reads a folder of tables depends on it, and no other chapter does."""
    write(repository / name, "1")
    reader = source.with_name("reader.md")
    write(reader, NOTEBOOK.replace("1 + 1 + icrl.ONE", f'open("../{name}")'))
    before = tool.freshness_key(source), tool.freshness_key(reader)
    write(repository / name, "2")
    assert tool.freshness_key(source) == before[0]
    assert tool.freshness_key(reader) != before[1]
    write(repository / name, "1")
    assert tool.freshness_key(reader) == before[1]
    write((repository / name).with_name("new.json"), "{}")
    assert tool.freshness_key(reader) != before[1]


class StandIn:
    """A stand-in for the execution, which yields the text `output` or fails."""

    def __init__(self, tool: ModuleType) -> None:
        self.tool = tool
        self.calls = 0
        self.output: str | None = "2"

    def __call__(self, source: Path, reading: Any, notebook: Path, patient: bool = False) -> bool:
        """Do what `execute` does, without a kernel."""
        self.calls += 1
        if self.output is None:
            return False
        executed = copy.deepcopy(reading)
        executed.metadata["language_info"] = {"name": "python"}
        (cell,) = self.tool.code_cells(executed)
        cell.metadata["execution"] = {"shell.execute_reply": "some time"}
        cell.outputs = [
            self.tool.nbformat.v4.new_output("stream", name="stdout", text=self.output)
        ]
        notebook.parent.mkdir(parents=True, exist_ok=True)
        self.tool.nbformat.write(executed, notebook)
        return True


@pytest.fixture
def stand_in(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Replace the execution by a stand-in."""
    stand_in = StandIn(tool)
    monkeypatch.setattr(tool, "execute", stand_in)
    return stand_in


def shown(repository: Path, tool: ModuleType, source: Path) -> str | None:
    """Return what the book would show for a notebook, None if it would execute it."""
    cache = tool.get_cache(repository / "_build" / ".jupyter_cache")
    try:
        _, notebook = cache.merge_match_into_notebook(tool.as_the_book_reads(source))
    except KeyError:
        return None
    finally:
        cache.db.dispose()
    (cell,) = tool.code_cells(notebook)
    return cell.outputs[0].text


def test_executes_once_per_change(
    tool: ModuleType, repository: Path, source: Path, stand_in: StandIn
) -> None:
    """The book shows the results of the current library, computed once."""
    tool.main([])
    tool.main([])
    assert stand_in.calls == 1
    assert shown(repository, tool, source) == "2"

    write(repository / "icrl_flax/__init__.py", "ONE = 1.0\n")
    stand_in.output = "2.0"
    tool.main([])
    assert stand_in.calls == 2
    assert shown(repository, tool, source) == "2.0"


def test_restores_a_cleared_cache(
    tool: ModuleType, repository: Path, source: Path, stand_in: StandIn
) -> None:
    """An unchanged notebook is not executed again for the sake of the cache."""
    tool.main([])
    shutil.rmtree(repository / "_build" / ".jupyter_cache")
    tool.main([])
    assert stand_in.calls == 1
    assert shown(repository, tool, source) == "2"


def test_failure_is_not_kept(
    tool: ModuleType, repository: Path, source: Path, stand_in: StandIn
) -> None:
    """A notebook that fails with a new library loses the results of the old one."""
    write(repository / "notebooks/another.md", NOTEBOOK.replace("1 + 1", "2 + 2"))
    tool.main([])
    write(repository / "icrl_flax/__init__.py", "")
    stand_in.output = None
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"another\.md, notebooks/chapter\.md"):
            tool.main([])
    assert stand_in.calls == 2 + 2 * 2
    assert shown(repository, tool, source) is None
    assert not list((repository / "_build" / "notebooks").iterdir())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# A page\n\nWithout front matter.\n", "no Jupytext MyST front matter"),
        (NOTEBOOK.replace("name: python3", "name: julia"), "kernel python3"),
    ],
)
def test_refuses_what_the_book_would_read_differently(
    tool: ModuleType, source: Path, stand_in: StandIn, text: str, complaint: str
) -> None:
    """Unusable front matter is an error before anything is executed."""
    write(source, text)
    with pytest.raises(SystemExit, match=complaint):
        tool.main([])
    assert stand_in.calls == 0


def test_executes_two_at_once(
    tool: ModuleType, repository: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two notebooks wait for each other to start, which one after the other could not."""
    write(repository / "notebooks/another.md", NOTEBOOK.replace("1 + 1", "2 + 2"))
    meeting = threading.Barrier(2, timeout=20)
    stand_in = StandIn(tool)

    def execute(source: Path, reading: Any, notebook: Path, patient: bool = False) -> bool:
        meeting.wait()
        return stand_in(source, reading, notebook)

    monkeypatch.setattr(tool, "execute", execute)
    tool.main([])
    assert stand_in.calls == 2
    assert shown(repository, tool, source) == "2"


def test_a_chapter_that_is_edited_meanwhile(
    tool: ModuleType, repository: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is executed, and the edited chapter is still to be done."""
    stand_in = StandIn(tool)

    def execute(source: Path, reading: Any, notebook: Path, patient: bool = False) -> bool:
        cell = "\n```{code-cell} ipython3\n2 + 2\n```\n"
        source.write_text(source.read_text("utf-8") + cell, "utf-8")
        return stand_in(source, reading, notebook)

    monkeypatch.setattr(tool, "execute", execute)
    tool.main([])
    assert stand_in.calls == 1
    (job,) = tool.read()
    assert job.stale


def test_refuses_no_workers(tool: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of workers below one is an error that names the option."""
    with pytest.raises(SystemExit):
        tool.main(["--at-once", "0"])
    assert "--at-once must be at least 1, got 0" in capsys.readouterr().err


def test_executes_what_is_named(
    tool: ModuleType, repository: Path, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name chooses one notebook; a name that none has is an error that lists the names."""
    write(repository / "notebooks/another.md", NOTEBOOK.replace("1 + 1", "2 + 2"))
    tool.main(["another"])
    assert stand_in.calls == 1
    assert "another.md: executed" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"no notebook is called 'third'.*another, chapter"):
        tool.main(["third"])


def test_longest_first_but_for_the_landing_page(
    tool: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which one kernel executes four notebooks; times are those of the last run."""
    order: list[str] = []
    patience: list[bool] = []  # whether it leaves the processor to others
    stand_in = StandIn(tool)

    def execute(source: Path, reading: Any, notebook: Path, patient: bool = False) -> bool:
        order.append(source.stem)
        patience.append(patient)
        return stand_in(source, reading, notebook)

    monkeypatch.setattr(tool, "execute", execute)
    expected = {"chapter": 5, "long": 900, "landing": 30, "longer": 1000}
    for name in expected:
        write(repository / f"notebooks/{name}.md", NOTEBOOK.replace("1 + 1", f"1 + {len(name)}"))
    write(tool.EXPECTED, tool.json.dumps(expected))
    tool.bring_up_to_date(tool.read(), tool.BookCache(), 1, first="landing")
    assert order == ["landing", "longer", "long", "chapter"]
    assert patience == [False, True, True, True]

    order.clear()
    patience.clear()  # what was measured here counts more than the committed times
    for name, seconds in (("chapter", 7.0), ("long", 2.0)):
        key = tool.Executed.of(repository / f"notebooks/{name}.md").key
        write(key, tool.json.dumps({"key": "old", "seconds": seconds}))
    tool.bring_up_to_date(tool.read(), tool.BookCache(), 1)
    assert order == ["chapter", "long"]
    assert patience == [False, False]


def test_results_wait_for_their_moment(
    tool: ModuleType, repository: Path, source: Path, stand_in: StandIn
) -> None:
    """While the book is being built its cache does not change; until then a page is blank."""
    answers = iter([False, False, True])
    cache = tool.BookCache()

    def between(left: list[object], hand_over: Callable[[], None]) -> None:
        assert not left
        assert shown(repository, tool, source) is None
        if next(answers):
            hand_over()
            assert shown(repository, tool, source) == "2"

    tool.bring_up_to_date(tool.read(), cache, 1, between=between)
    assert shown(repository, tool, source) == "2"
    assert next(answers, None) is None


def test_a_chapter_to_come_is_blank(tool: ModuleType, repository: Path, source: Path) -> None:
    """The book finds something for it, so that it executes nothing; what is there stays."""
    cache = tool.BookCache()
    (job,) = tool.read()
    cache.blank(job.notebook)
    look = tool.get_cache(repository / "_build" / ".jupyter_cache")
    _, blank = look.merge_match_into_notebook(job.notebook)
    assert [cell.outputs for cell in tool.code_cells(blank)] == [[]]


def test_kernels_share_runs_and_programs(
    tool: ModuleType, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In folders of the build, or in the user's own."""
    folders = {"ICRL_RUNS": "runs", "JAX_COMPILATION_CACHE_DIR": "xla-cache"}
    for variable, folder in folders.items():
        monkeypatch.delenv(variable, raising=False)
        assert tool.kernel_environment("tracking")[variable] == str(repository / "_build" / folder)
        monkeypatch.setenv(variable, "/elsewhere")
        assert tool.kernel_environment("tracking")[variable] == "/elsewhere"


def test_chapters_that_print_times_are_compiled_as_everywhere(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others quickly, unless the user has flags, or a graphics card that these would slow."""
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    assert tool.kernel_environment("tracking")["XLA_FLAGS"] == tool.QUICK_COMPILER
    for chapter in tool.TIMED:
        assert (SCRIPT.parents[1] / "notebooks" / f"{chapter}.md").exists()
        assert "XLA_FLAGS" not in tool.kernel_environment(chapter)
    monkeypatch.setattr(tool.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "XLA_FLAGS" not in tool.kernel_environment("tracking")
    monkeypatch.setenv("XLA_FLAGS", "--own")
    assert tool.kernel_environment("tracking")["XLA_FLAGS"] == "--own"
