"""Does the library work on each Python, with the oldest and the newest packages it allows?

Resolves the dependencies of pyproject.toml both ways for every Python that is found
here, makes a virtual environment of each under _build/versions, and runs the tests
that touch what changes between versions of JAX and Flax. Needs uv.

    python tools/versions.py                   # or: python tools/versions.py 3.11 --with oldest
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build" / "versions"
UV = ROOT / "_build" / "uv" / "bin" / "uv"

PYTHONS = ("3.11", "3.12", "3.13")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}

# Always the newest: they are no part of what is tested.
TOOLS = ("beartype", "hypothesis", "pytest", "scipy")

# Modules and transformations of JAX and Flax, Optax's optimisers, files and locks, devices,
# executors, and the command line. The mathematics is the same on every version, and is tested
# elsewhere.
TESTS = (
    "test_block.py",
    "test_training.py::test_hundred_updates_are_adams_on_the_papers_gradient",
    "test_training.py::test_all_entries_or_four_blocks_is_the_same",
    "test_training.py::test_schedules",
    "test_batched.py::test_each_row_is_the_run_alone",
    "test_checkpoint.py",
    "test_devices.py",
    "test_executors.py",
    "test_sweep.py::test_rows_are_the_runs",
    "test_sweep.py::test_a_thousand_double_starts",
    "test_cli.py",
)

# Compiling takes most of the time, and less of it if the programs need not be fast.
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class Result(NamedTuple):
    """One row of the table that is printed in the end."""

    python: str
    packages: str
    versions: str
    verdict: str


def interpreters(version: str) -> Iterator[Path]:
    """Where a Python of this version may lie: the PATH, and what pyenv keeps beside it."""
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{version}"
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(kept.glob(f"{version}.*"), reverse=True):
        yield folder / "bin" / "python"


def find(version: str) -> Path | None:
    """The first of them that runs and is what its name says; pyenv's shims may do neither."""
    asked = "import sys; print('{}.{}'.format(*sys.version_info))"
    for candidate in interpreters(version):
        if candidate.is_file():
            answer = subprocess.run(
                [candidate, "-c", asked], capture_output=True, text=True, check=False
            )
            if answer.stdout.strip() == version:
                return candidate
    return None


def uv(*arguments: str | Path) -> None:
    subprocess.run([UV, "--quiet", *arguments], check=True, cwd=ROOT)


def installed(python: Path, version: str, packages: str) -> tuple[Path, str]:
    """An environment with the library, and the versions that were chosen for it."""
    place = BUILD / f"{version}-{packages}"
    pins = BUILD / f"{place.name}.txt"
    resolve = ["--resolution", RESOLUTIONS[packages], "--python", python]
    resolve += ["--extra", "dask", "--extra", "slurm"]
    uv("pip", "compile", *resolve, "--no-header", "--no-annotate", "--no-emit-index-url",
       "--output-file", pins, "--upgrade", "pyproject.toml")  # fmt: skip
    uv("venv", "--clear", "--python", python, place)
    into = ["pip", "install", "--python", place / "bin" / "python"]
    uv(*into, "--requirement", pins, *TOOLS)
    uv(*into, "--no-deps", "--editable", ".")
    chosen = re.findall(r"^((?:jax|flax|numpy)==\S+)", pins.read_text("utf-8"), re.MULTILINE)
    return place / "bin" / "python", " ".join(chosen).replace("==", " ")


def check(python: Path, version: str, packages: str) -> Result:
    """Install and test one combination."""
    print(f"Python {version}, {packages} packages", flush=True)
    try:
        executable, versions = installed(python, version, packages)
    except subprocess.CalledProcessError:
        return Result(version, packages, "", "FAILED: cannot be installed")
    environment = os.environ | ENVIRONMENT
    environment.pop("PYTHONPATH", None)
    command = [executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tests = [f"tests/{test}" for test in TESTS]
    ran = subprocess.run([*command, *tests], cwd=ROOT, env=environment, check=False)
    return Result(version, packages, versions, "FAILED" if ran.returncode else "passed")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("pythons", nargs="*", metavar="VERSION", help=f"among {PYTHONS}")
    parser.add_argument("--with", dest="packages", choices=RESOLUTIONS, help="default: both")
    options = parser.parse_args()
    if unknown := set(options.pythons) - set(PYTHONS):
        parser.error(f"VERSION must be among {', '.join(PYTHONS)}, got {min(unknown)!r}")
    if not UV.exists():
        parser.error(f"{UV.relative_to(ROOT)} does not exist; 'make versions' installs it")
    found = {version: find(version) for version in options.pythons or PYTHONS}
    BUILD.mkdir(parents=True, exist_ok=True)

    results = []
    for version, python in found.items():
        if python is None:
            text = f"skipped: no python{version} on the PATH or under pyenv"
            results.append(Result(version, "", "", text))
            continue
        for packages in [options.packages] if options.packages else RESOLUTIONS:
            results.append(check(python, version, packages))

    for result in results:
        print("{:<6} {:<8} {:<38} {}".format(*result))
    # What was asked for by name has to be there, and something has to have been tested.
    wanted = results if options.pythons else [row for row in results if row.packages]
    sys.exit(not wanted or any(row.verdict != "passed" for row in wanted))


if __name__ == "__main__":
    main()
