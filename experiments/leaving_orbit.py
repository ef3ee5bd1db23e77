"""The orbit that leaves zero, at the paper's size: the table in results/leaving_orbit.

    python experiments/leaving_orbit.py --out results/leaving_orbit

The population is 1000 windows of SARSA with d = 36, each from a random MDP of its own, key 0.
The flow starts at 10⁻³ e₁ and is followed to time 40 000, which takes some minutes. The chapter
"From zero" computes the two smaller sizes itself.
"""

import argparse
import csv
import json
import platform
import time
from pathlib import Path

import jax
import jax.numpy as jnp

import icrl_flax as icrl
from icrl_flax import theory
from icrl_flax.training.checkpoint import provenance

WINDOWS, LONGEST = 1000, 40_000
COLUMNS = ("time", "loss", "distance", "pull")


def main() -> None:
    """Follow the orbit and write what was met on the way."""
    parser = argparse.ArgumentParser(description="Follow the orbit that leaves zero at d = 36.")
    parser.add_argument("--out", type=Path, required=True, help="folder, new or empty")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        parser.error(f"--out must be new or empty, got {out}")
    jax.config.update("jax_enable_x64", True)
    began = time.perf_counter()

    population = theory.draw_population(
        jax.random.key(0), icrl.Sarsa(), icrl.RandomMDPs(), WINDOWS
    )
    c = float(theory.predicted_scale(population.optimum, 0.0))
    basin = theory.basin(population, c, sharp=True)
    times = jnp.concatenate([jnp.linspace(0, 2000, 101), jnp.geomspace(2100, LONGEST, 150)])
    orbit = theory.leaving_orbit(population, c, times)

    with (out / "orbit.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = zip(orbit.times, orbit.loss, orbit.distance, orbit.pull, strict=True)
        writer.writerows([f"{float(number):.9g}" for number in row] for row in rows)
    record = {
        "command": f"python experiments/leaving_orbit.py --out {out.name}",
        "rule": "Sarsa(d=36)",
        "family": "RandomMDPs()",
        "windows": WINDOWS,
        "sigma": [float(value) for value in theory.escape(population).sigma],
        "basin": {**basin._asdict(), "radius": float(basin.radius)},
        "seconds": round(time.perf_counter() - began, 1),
        "environment": provenance() | {"processor": platform.machine()},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (out / "provenance.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
