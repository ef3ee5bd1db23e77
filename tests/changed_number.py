"""Run chapters as plain scripts, each with one number changed: one that readers change first.

    python tests/changed_number.py                    # all of them, an hour on two cores
    python tests/changed_number.py theorem_3_1 depth

A chapter must run to its end. Claims about its own numbers may step aside and say so
(`icrl_flax.experiments.AsPrinted`); everything else that fails is an error.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

CHANGES = {  # chapter: a number that a reader would change first, and another one
    "at_a_glance": ("MDPS = 10_000", "MDPS = 500"),
    "the_setting": ("WINDOWS = 1000", "WINDOWS = 200"),
    "theorem_3_1": ("N = 20", "N = 5"),
    "theorem_3_3": ("N = 20 ", "N = 5 "),
    "algorithm_1": ("mdps=10_000", "mdps=500"),
    "algorithm_2": ("mdps=10_000", "mdps=500"),
    "figure_3": ("SEEDS = 10", "SEEDS = 2"),
    "tracking": ("STEPS = 10_000", "STEPS = 500"),
    "transfer": ("mdps=2000", "mdps=500"),
    "depth": ("STEPS = 300", "STEPS = 600"),
    "trained_depth": ("CHAINS = 5000", "CHAINS = 500"),
    "what_drives_figure_4": ("WINDOWS = 200", "WINDOWS = 50"),
    "seeds_and_sensitivity": ("N = 4000", "N = 1000"),
    "softmax": ("HELD_OUT = 100", "HELD_OUT = 50"),
    "richness": ("N = 4000", "N = 500"),
    "richness_measured": ("N = 4000", "N = 1000"),
    "when_richness_fails": ("N = 2000", "N = 500"),
    "tube_and_pl": ("POINTS = 3500", "POINTS = 500"),
    "outside_the_tube": ("STARTS = 160", "STARTS = 30"),
    "the_flow": ("DIRECTIONS = 8", "DIRECTIONS = 2"),
    "predicted_and_measured": ("DIRECTIONS = 8", "DIRECTIONS = 2"),
    "a_better_theorem": ("HOSTILE = 256", "HOSTILE = 32"),
    "from_zero": ("WINDOWS = 4000", "WINDOWS = 500"),
    "which_point": ("SEEDS = 16", "SEEDS = 4"),
    "beyond_local": ("SEEDS = 64", "SEEDS = 8"),
    "cubic_term": ("STARTS = 16", "STARTS = 4"),
    "local_cannot_become_global": ("STARTS = 256", "STARTS = 8"),
    "sgd": ("WINDOWS = 4000", "WINDOWS = 1000"),
    "optimiser_and_scale": ("SEEDS = 8", "SEEDS = 2"),
    "errata": ("N = 1000", "N = 200"),
    "gallery": ("STARTS = 16", "STARTS = 4"),
    "beyond_one_head": ("STARTS = 16", "STARTS = 4"),
    "speed": ("WINDOWS, N = 50, 20", "WINDOWS, N = 20, 20"),
    "extend": ("SEEDS = 4", "SEEDS = 2"),
    "your_own_environment_and_data": ("SEEDS = 10", "SEEDS = 2"),
}


@functools.cache
def code_of(chapter: str) -> str:
    """A chapter as a script."""
    cells = jupytext.read(ROOT / "notebooks" / f"{chapter}.md").cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")


def run(chapter: str) -> bool:
    """Run a chapter with its changed number, and say how that went; whether it came to its end."""
    from execute import kernel_environment  # which needs more packages than the table above

    old, new = CHANGES[chapter]
    code = code_of(chapter)
    if code.count(old) != 1:
        print(f"{chapter}: {old!r} stands {code.count(old)} times in its code", flush=True)
        return False
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / f"{chapter}.py"
        script.write_text(code.replace(old, new), encoding="utf-8")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=ROOT / "notebooks",  # whose relative paths they use
            env=kernel_environment(chapter) | {"MPLBACKEND": "agg"},
            capture_output=True,
            text=True,
            check=False,
        )
    seconds = time.perf_counter() - began
    aside = [line for line in done.stdout.splitlines() if line.startswith("Not held here (")]
    how = "runs to its end" if done.returncode == 0 else "FAILS"
    said = f"{seconds:.0f} s, claims that stepped aside: {len(aside)}"
    print(f"{chapter}, {old} → {new}: {how}, {said}", flush=True)
    if done.returncode:
        print(*done.stderr.strip().splitlines()[-12:], sep="\n", flush=True)
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("chapters", nargs="*", help="all, if none is named")
    chapters = parser.parse_args().chapters or list(CHANGES)
    if unknown := [name for name in chapters if name not in CHANGES]:
        parser.error(f"no chapter with a changed number is called {', '.join(unknown)}")
    came = [run(chapter) for chapter in chapters]
    sys.exit(not all(came))


if __name__ == "__main__":
    main()
