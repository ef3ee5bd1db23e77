"""What looks at the project from outside: other Pythons, the workflows."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NOX = (ROOT / "noxfile.py").read_text("utf-8")


def test_pythons_are_the_same_everywhere():
    (line,) = re.findall(r"^PYTHONS = \((.*)\)$", NOX, re.MULTILINE)
    pythons = re.findall(r'"([\d.]+)"', line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f">={pythons[0]}" == str(SpecifierSet(project["requires-python"]))
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if ":: 3." in line]
    assert named == pythons
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == pythons


def run_by_nox() -> list[str]:
    return re.findall(r'"(test_\w+\.py(?:::\w+)?)"', NOX)


@pytest.mark.parametrize("test", run_by_nox())
def test_the_tests_that_nox_runs_exist(test):
    name, _, function = test.partition("::")
    source = (ROOT / "tests" / name).read_text("utf-8")
    assert re.search(rf"^def {function or 'test_'}", source, flags=re.MULTILINE)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_trust_little(path):
    """Actions by commit, no rights that a job does not need, and none where others' code runs."""
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", use) for use in uses)
        runs = " ".join(step.get("run", "") for step in job["steps"])
        if "permissions" in job:
            assert not re.search(r"\b(make|pip|python|npx?)\b", runs)
            assert all("download-artifact" in use for use in uses)


def test_a_branch_is_not_published():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text("utf-8"))
    assert "default_branch" in workflow["jobs"]["build"]["if"]
    assert workflow["jobs"]["deploy"]["needs"] == "build"


@pytest.mark.skipif(shutil.which("zizmor") is None, reason="zizmor is not installed")
def test_zizmor_finds_nothing():
    command = ["zizmor", "--offline", "--no-progress", str(ROOT / ".github")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
