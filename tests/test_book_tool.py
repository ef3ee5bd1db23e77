"""tools/book.py and book/_ext/executed.py: the site is built while chapters are executed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


def module(name: str, path: Path) -> ModuleType:
    """Load a script as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script, which looks for others beside itself."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    return module("book_tool", ROOT / "tools" / "book.py")


class Build:
    """A stand-in for Jupyter Book, which is at work until somebody says otherwise."""

    def __init__(self) -> None:
        self.done = False

    def poll(self) -> int | None:
        """Return what a process does."""
        return 0 if self.done else None


def pending(*names: str) -> list[SimpleNamespace]:
    """Return what is known of chapters to come."""
    return [SimpleNamespace(source=Path(f"{name}.md"), notebook=name) for name in names]


def test_site_follows_the_chapters(book: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build starts with the landing page, then where there is news, one at a time."""
    blanked: list[str] = []
    builds: list[tuple[set[str], Build]] = []
    kept: list[int] = []  # how many builds had begun at each handing over

    def start(_site: object, names: set[str]) -> Build:
        builds.append((names, Build()))
        return builds[-1][1]

    def hand_over() -> None:
        kept.append(len(builds))

    monkeypatch.setattr(book.Site, "_build", start)
    jobs = pending("at_a_glance", "a", "b")
    site = book.Site(SimpleNamespace(blank=blanked.append), jobs)
    site.update(pending("at_a_glance", "a", "b"), hand_over)
    assert not builds  # there is nothing to look at yet
    site.update(pending("a", "b"), hand_over)
    assert [names for names, _ in builds] == [{"a", "b"}]
    assert blanked == ["at_a_glance", "a", "b"]  # which leaves what has results
    assert kept == [0, 0]  # before the build: it would execute what it has no results of
    site.update(pending("b"), hand_over)  # while it works, the cache must not change
    assert len(builds) == 1
    assert kept == [0, 0]
    builds[0][1].done = True
    site.update(pending("b"), hand_over)
    assert [names for names, _ in builds[1:]] == [{"b"}]
    assert kept == [0, 0, 1]
    builds[1][1].done = True
    site.update([], hand_over)  # what comes now is the build of everything
    assert len(builds) == 2
    assert kept == [0, 0, 1, 2]


@pytest.fixture
def executed() -> ModuleType:
    """Return the extension."""
    return module("executed", ROOT / "book" / "_ext" / "executed.py")


def environment(tmp_path: Path) -> SimpleNamespace:
    """Return what the extension asks of Sphinx's."""
    found = {"notebooks/a", "notebooks/b", "book/play"}
    return SimpleNamespace(srcdir=str(tmp_path), found_docs=found)


def test_a_page_is_read_again_after_each_execution(
    executed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two chapters, one to come and one whose results change."""
    keys = tmp_path / "_build" / "notebooks"
    keys.mkdir(parents=True)
    (keys / "a.key.json").write_text("1")
    env = environment(tmp_path)

    def outdated() -> list[str]:
        return sorted(executed.outdated(None, env, set(), set(), set()))

    monkeypatch.setenv("ICRL_PENDING", "b")
    assert outdated() == ["notebooks/a", "notebooks/b"]
    assert outdated() == []
    (keys / "a.key.json").write_text("2")
    assert outdated() == ["notebooks/a"]
    monkeypatch.delenv("ICRL_PENDING")
    (keys / "b.key.json").write_text("1")
    assert outdated() == ["notebooks/b"]


def test_a_page_to_come_says_so(
    executed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note stands under the title, and on no other page."""
    monkeypatch.setenv("ICRL_PENDING", "b")
    env = environment(tmp_path)
    executed.outdated(None, env, set(), set(), set())
    text = "---\nkernel: x\n---\n\n# Title\n\nText.\n"
    for name, marked in (("notebooks/a", False), ("notebooks/b", True), ("book/play", False)):
        source = [text]
        executed.mark(SimpleNamespace(env=env), name, source)
        assert ("being executed" in source[0]) == marked
        if marked:
            assert source[0].startswith("---\nkernel: x\n---\n\n# Title\n\n:::{note}")
            assert source[0].endswith("Text.\n")
