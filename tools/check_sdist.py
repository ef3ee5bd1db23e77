"""Does an sdist hold what is under version control and nothing else, and no notebook's outputs?

check-wheel-contents looks into the wheel, twine at the metadata of both; neither knows which
files the sdist should have.
"""

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_RELEASED = (".ci/", ".github/")  # as pyproject.toml says


def faults(path: Path, tracked: set[str]) -> list[str]:
    """What is missing in an sdist, and what is too much."""
    with tarfile.open(path) as archive:
        members = {member.name for member in archive.getmembers() if member.isfile()}
    folder = path.name.removesuffix(".tar.gz")
    names = {name.removeprefix(f"{folder}/") for name in members}
    expected = {name for name in tracked if not name.startswith(NOT_RELEASED)} | {"PKG-INFO"}
    found = [f"{name} is missing" for name in sorted(expected - names)]
    found += [f"{name} does not belong there" for name in sorted(names - expected)]
    return found + [f"{name} is a notebook with outputs" for name in names if ".ipynb" in name]


if __name__ == "__main__":
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    tracked = set(filter(None, listed.stdout.decode().split("\0")))
    if found := faults(Path(sys.argv[1]), tracked):
        sys.exit("\n".join(f"error: {fault}" for fault in found))
