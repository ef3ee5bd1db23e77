"""requirements.txt pins what pyproject.toml asks for; environment.yml installs it."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = (ROOT / "requirements.txt").read_text("utf-8")
HASHES = (ROOT / "requirements-hashes.txt").read_text("utf-8")
ENVIRONMENT = (ROOT / "environment.yml").read_text("utf-8")

# Where somebody may install the pins; markers choose between them.
PLATFORMS = [
    {
        "python_version": python,
        "python_full_version": f"{python}.6",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin"}[system],
    }
    for python, system in itertools.product(["3.11", "3.12", "3.13", "3.14"], ["linux", "darwin"])
]


def requirement_lines() -> list[str]:
    """Return the lines of requirements.txt other than comments."""
    lines = map(str.strip, REQUIREMENTS.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def pins(platform: dict[str, str]) -> dict[str, str]:
    """Return the version of each package that is installed on a platform."""
    chosen: dict[str, str] = {}
    for line in requirement_lines():
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(platform):
            name = canonicalize_name(pin.name)
            assert name not in chosen, f"{name} is pinned twice on {platform}"
            (specifier,) = pin.specifier
            chosen[name] = specifier.version
    return chosen


def test_each_line_is_a_pin() -> None:
    """No options, addresses or ranges: one exact version on each line."""
    for line in requirement_lines():
        pin = Requirement(line)
        assert pin.url is None, line
        assert [specifier.operator for specifier in pin.specifier] == ["=="], line
        assert "*" not in str(pin.specifier), line


@pytest.mark.parametrize("extra", [None, "book", "test"])
@pytest.mark.parametrize(
    "platform", PLATFORMS, ids=lambda p: f"{p['python_version']}-{p['sys_platform']}"
)
def test_dependencies_are_pinned(platform: dict[str, str], extra: str | None) -> None:
    """Each declared dependency has a pin which its specifier admits."""
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    versions = pins(platform)
    for dependency in map(Requirement, declared):
        if dependency.marker is None or dependency.marker.evaluate(platform):
            version = versions.get(canonicalize_name(dependency.name))
            assert version is not None, f"{dependency} has no pin"
            assert dependency.specifier.contains(version, prereleases=True), (
                f"{dependency} does not admit its pin {version}"
            )


def test_environment_installs_the_pins_and_the_package() -> None:
    """Conda provides Python and pip, and pip everything else from the pins."""
    environment = yaml.safe_load(ENVIRONMENT)
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    python, *others = environment["dependencies"]
    assert others == ["pip", {"pip": ["-r requirements.txt", "-e ."]}]
    name, version = python.split("=")
    assert name == "python"
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert version in {platform["python_version"] for platform in PLATFORMS}


def test_each_pin_has_hashes() -> None:
    """The other file has the same lines, each with the hashes of its files and nothing else."""
    pieces = HASHES.replace(" \\\n    --hash=", " --hash=").splitlines()
    lines = [line.split(" --hash=") for line in pieces if not line.startswith("#")]
    assert [re.sub(r"\[.*\]", "", line) for line, *_ in lines] == requirement_lines()
    for line, *hashes in lines:
        assert hashes, line
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), line


@pytest.mark.parametrize(
    "text", [REQUIREMENTS, HASHES, ENVIRONMENT], ids=["pins", "hashes", "conda"]
)
@pytest.mark.parametrize(
    "forbidden",
    ["://", "--index", "--extra-index", "--find-links", "--trusted-host", " @ "],
)
def test_no_package_index(text: str, forbidden: str) -> None:
    """Where packages come from is the business of whoever installs them."""
    assert forbidden not in text
