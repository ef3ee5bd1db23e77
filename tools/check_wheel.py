"""Build the wheel and the sdist, and use the wheel alone, as somebody who installs it would.

Looks into both archives, installs the wheel with the pins of requirements.txt into an
empty virtual environment, and runs `verify`, `train` and `evaluate` there, far from
this checkout. Needs a package index, since build backend and dependencies are fetched.
"""

import csv
import email
import email.message
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "_build" / "dist"

# What only the book, the tests or one of the extras need.
FOREIGN = (
    *("diffrax", "gymnasium", "matplotlib", "pandas", "seaborn", "sympy"),
    *("ipykernel", "IPython", "jupyter_core", "jupytext", "nbformat", "sphinx"),
    *("beartype", "hypothesis", "playwright", "pytest"),
)

# Of the repository alone, as pyproject.toml says.
NOT_IN_SDIST = (".ci/", ".github/")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def library(folder: Path) -> set[str]:
    """Every file that the package consists of, relative to `folder`."""
    files = (path for path in (folder / "icrl_flax").rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix() for p in files if "__pycache__" not in p.parts}


def metadata_faults(metadata: email.message.Message) -> list[str]:
    """Where the metadata of an archive differ from pyproject.toml."""
    declared = project()
    expected = {
        "Name": declared["name"],
        "Version": declared["version"],
        "Summary": declared["description"],
        "Requires-Python": declared["requires-python"],
        "License-Expression": declared["license"],
        "Description-Content-Type": "text/markdown",
    }
    faults = [
        f"{field} is {metadata[field]!r}, not {value!r}"
        for field, value in expected.items()
        if metadata[field] != value
    ]
    extras = set(metadata.get_all("Provides-Extra", []))
    if extras != set(declared["optional-dependencies"]):
        faults.append(f"the extras are {sorted(extras)}")
    required = metadata.get_all("Requires-Dist", [])
    bare = [line for line in required if "extra ==" not in line]
    if len(bare) != len(declared["dependencies"]):
        faults.append(f"without extras it requires {bare}")
    if metadata.get_all("License-File") != declared["license-files"]:
        faults.append(f"the licence's files are {metadata.get_all('License-File')}")
    if str(metadata.get_payload()).strip() != (ROOT / "README.md").read_text("utf-8").strip():
        faults.append("the description is not the README")
    return faults


def difference(names: Iterable[str], expected: Iterable[str]) -> list[str]:
    """What is missing and what is too much."""
    names, expected = set(names), set(expected)
    return [f"{name} is missing" for name in sorted(expected - names)] + [
        f"{name} does not belong there" for name in sorted(names - expected)
    ]


def wheel_faults(path: Path, source: Path = ROOT) -> list[str]:
    """What is wrong with a wheel: it holds the library, its metadata, and nothing else."""
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        (record,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        parts = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
        faults = difference(names, library(source) | {f"{record}/{part}" for part in parts})
        if f"{record}/METADATA" in names:
            text = archive.read(f"{record}/METADATA").decode()
            faults += metadata_faults(email.message_from_string(text))
    if "icrl_flax/py.typed" not in names:
        faults.append("there is no py.typed: type checkers would ignore the annotations")
    return faults


def tracked() -> set[str]:
    """The files that are under version control."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return set(filter(None, listed.stdout.decode().split("\0")))


def sdist_faults(path: Path, expected: set[str]) -> list[str]:
    """What is wrong with an sdist: it holds what is under version control, and its metadata."""
    with tarfile.open(path) as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        folder = path.name.removesuffix(".tar.gz")
        names = {name.removeprefix(f"{folder}/") for name in members}
        released = {name for name in expected if not name.startswith(NOT_IN_SDIST)}
        faults = difference(names, released | {"PKG-INFO"})
        if "PKG-INFO" in names:
            (text,) = filter(None, [archive.extractfile(members[f"{folder}/PKG-INFO"])])
            faults += metadata_faults(email.message_from_string(text.read().decode()))
    faults += [f"{name} is a notebook with outputs" for name in names if name.endswith(".ipynb")]
    return faults


def build() -> tuple[Path, Path]:
    """The wheel, made from the sdist, and the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", DIST, ROOT], check=True)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def use(wheel: Path, folder: Path) -> list[str]:
    """Install the wheel alone and do with it what the README promises."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    } | {"JAX_PLATFORMS": "cpu"}

    def run(*command: str | Path) -> str:
        print("+", *command, flush=True)
        return subprocess.run(
            command, cwd=folder, env=environment, check=True, text=True, stdout=subprocess.PIPE
        ).stdout

    run(sys.executable, "-m", "venv", folder / "venv")
    scripts = folder / "venv" / "bin"
    python = scripts / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "requirements.txt", wheel)

    asked = "import importlib.util, sys; print(*filter(importlib.util.find_spec, sys.argv[1:]))"
    faults = [f"{name} was installed too" for name in run(python, "-c", asked, *FOREIGN).split()]
    place = run(python, "-c", "import icrl_flax; print(icrl_flax.__file__)").strip()
    if not Path(place).is_relative_to(folder / "venv"):
        faults.append(f"the library that ran is {place}")

    table = run(scripts / "icrl-flax", "verify", "--rules", "sarsa")
    if table.count("holds") != 2 or "FAILS" in table:  # in single and in double precision
        faults.append(f"verify printed:\n{table}")
    small = ["--d=2", "--n-states=3", "--n-actions=2", "--window-length=4"]
    small += ["--mdps=3", "--windows=2"]
    run(python, "-m", "icrl_flax", "train", "sarsa", "--out", "run", *small)
    if not (folder / "run.safetensors").is_file():
        faults.append("train wrote no run.safetensors")
    brief = ["--n-mdps=2", "--steps=20", "--window-length=4", "--trajectories=2", "--length=5"]
    run(python, "-m", "icrl_flax", "evaluate", "run", *brief)
    with (folder / "run.evaluation.csv").open(newline="", encoding="utf-8") as file:
        if not list(csv.DictReader(file)):
            faults.append("evaluate wrote an empty table")
    return faults


def main() -> None:
    wheel, sdist = build()
    faults = [f"{wheel.name}: {fault}" for fault in wheel_faults(wheel)]
    faults += [f"{sdist.name}: {fault}" for fault in sdist_faults(sdist, tracked())]
    with tempfile.TemporaryDirectory() as folder:
        faults += use(wheel, Path(folder).resolve())
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    for path in (wheel, sdist):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
