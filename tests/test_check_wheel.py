"""What `make wheel` would say about archives that are not as they should be."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import check_wheel  # noqa: E402

RECORD = "icrl_flax-0.1.0.dist-info"
TRACKED = {"LICENSE", "README.md", "icrl_flax/__init__.py", ".ci/run"}


def metadata(**changes: str | None) -> str:
    """The metadata that pyproject.toml asks for, or others."""
    declared = check_wheel.project()
    fields = {
        "Name": declared["name"],
        "Version": declared["version"],
        "Summary": declared["description"],
        "Requires_Python": declared["requires-python"],
        "License_Expression": declared["license"],
        "Description_Content_Type": "text/markdown",
    } | changes
    lines = [f"{key.replace('_', '-')}: {value}" for key, value in fields.items() if value]
    lines += [f"License-File: {name}" for name in declared["license-files"]]
    lines += [f"Requires-Dist: {line}" for line in declared["dependencies"]]
    for extra, requirements in declared["optional-dependencies"].items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {line}; extra == '{extra}'" for line in requirements]
    return "\n".join(lines) + "\n\n" + (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def wheel(tmp_path):
    """Write a wheel with more or fewer files, or with other metadata."""

    def write(without: str = "", more: str = "", text: str | None = None) -> Path:
        parts = ["RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
        names = check_wheel.library(ROOT) | {f"{RECORD}/{part}" for part in parts}
        path = tmp_path / "icrl_flax-0.1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted((names | {more}) - {without, ""}):
                archive.writestr(name, "")
            archive.writestr(f"{RECORD}/METADATA", text or metadata())
        return path

    return write


def test_a_wheel_as_it_should_be(wheel):
    assert check_wheel.wheel_faults(wheel()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"without": "icrl_flax/py.typed"}, "icrl_flax/py.typed is missing"),
        ({"without": "icrl_flax/theory/flow.py"}, "icrl_flax/theory/flow.py is missing"),
        ({"without": f"{RECORD}/licenses/LICENSE"}, "LICENSE is missing"),
        ({"more": "tests/test_block.py"}, "tests/test_block.py does not belong there"),
        ({"text": metadata(Version="0.2.0")}, "Version is '0.2.0', not '0.1.0'"),
        ({"text": metadata(Requires_Python=None)}, "Requires-Python is None"),
        ({"text": metadata().replace("Extra: theory", "Extra: dev")}, "the extras are"),
        ({"text": metadata().replace("; extra == 'cuda'", "")}, "without extras it requires"),
        ({"text": metadata().replace("# icrl-flax", "# other")}, "not the README"),
    ],
)
def test_a_wheel_that_is_not(change, fault, wheel):
    assert any(fault in found for found in check_wheel.wheel_faults(wheel(**change)))


@pytest.fixture
def sdist(tmp_path):
    """Write an sdist with some files."""

    def write(names: set[str]) -> Path:
        path = tmp_path / "icrl_flax-0.1.0.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name in sorted(names | {"PKG-INFO"}):
                content = metadata().encode() if name == "PKG-INFO" else b""
                member = tarfile.TarInfo(f"icrl_flax-0.1.0/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return path

    return write


def test_an_sdist_as_it_should_be(sdist):
    assert check_wheel.sdist_faults(sdist(TRACKED - {".ci/run"}), TRACKED) == []


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (TRACKED, ".ci/run does not belong there"),
        ({"README.md", "icrl_flax/__init__.py"}, "LICENSE is missing"),
        (TRACKED | {"_build/html/index.html"}, "_build/html/index.html does not belong there"),
        (TRACKED | {"notebooks/one.ipynb"}, "notebooks/one.ipynb is a notebook with outputs"),
    ],
)
def test_an_sdist_that_is_not(names, fault, sdist):
    assert fault in check_wheel.sdist_faults(sdist(names), TRACKED)
