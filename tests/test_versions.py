"""The tool that tests several Pythons: where it looks, and that it tests what there is."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import versions  # noqa: E402


def interpreter(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Nothing on the PATH, nothing under pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_the_first_interpreter_on_the_path_is_found(machine):
    there = interpreter(machine / "bin" / "python3.12", "echo 3.12")
    interpreter(machine / "pyenv" / "versions" / "3.12.1" / "bin" / "python", "echo 3.12")
    assert versions.find("3.12") == there
    assert versions.find("3.13") is None


@pytest.mark.parametrize("shim", ["exit 127", "echo 3.11"])
def test_a_shim_that_leads_nowhere_is_passed_over(shim, machine):
    interpreter(machine / "bin" / "python3.12", shim)
    assert versions.find("3.12") is None
    for patch in (1, 4):
        kept = machine / "pyenv" / "versions" / f"3.12.{patch}" / "bin" / "python"
        interpreter(kept, "echo 3.12")
    assert versions.find("3.12") == kept


def run(monkeypatch, *arguments: str) -> int:
    """Exit status of the tool, with uv in its place."""
    monkeypatch.setattr(sys, "argv", ["versions.py", *arguments])
    monkeypatch.setattr(versions, "UV", Path(sys.executable))
    with pytest.raises(SystemExit) as stop:
        versions.main()
    return int(stop.value.code or 0)


def test_missing_pythons_are_named_and_fail_only_if_asked_for(
    machine, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(versions, "BUILD", tmp_path / "build")
    assert run(monkeypatch) == 1  # nothing was tested
    assert capsys.readouterr().out.count("skipped") == len(versions.PYTHONS)

    interpreter(machine / "bin" / "python3.11", "echo 3.11")
    verdicts = {"oldest": "passed", "newest": "passed"}
    monkeypatch.setattr(
        versions,
        "check",
        lambda python, version, packages: versions.Result(
            version, packages, "jax 1", verdicts[packages]
        ),
    )
    assert run(monkeypatch) == 0
    printed = capsys.readouterr().out
    assert printed.count("passed") == 2
    assert "no python3.13" in printed
    assert run(monkeypatch, "3.13") == 1
    assert run(monkeypatch, "3.11") == 0
    verdicts["oldest"] = "FAILED"
    assert run(monkeypatch) == 1
    assert run(monkeypatch, "3.11", "--with", "newest") == 0
    assert run(monkeypatch, "3.10") == 2


def test_it_tests_the_pythons_that_the_project_promises():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = SpecifierSet(project["requires-python"])
    assert all(version in promised for version in versions.PYTHONS)
    assert f">={versions.PYTHONS[0]}" == str(promised)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    matrix = workflow["jobs"]["tests"]["strategy"]["matrix"]
    assert tuple(matrix["python"]) == versions.PYTHONS


@pytest.mark.parametrize("test", versions.TESTS)
def test_the_tests_that_it_runs_exist(test):
    name, _, function = test.partition("::")
    source = (ROOT / "tests" / name).read_text("utf-8")
    assert re.search(rf"^def {function or 'test_'}", source, flags=re.MULTILINE)
