"""Gradient flow at the paper's size from three starts: the table in results/flows.

    python experiments/flows.py --out results/flows

The population is 1000 windows of SARSA with d = 36, each from a random MDP of its own, key 0.
Two flows start near the optimum of the balanced scale and are followed to time 1.5/λ_min, the
paper's Xavier start to 5/λ_min, which takes some minutes. The chapter "The flow, predicted and
measured" compares them with the linearised flow, and follows their first stretch again.
"""

import argparse
import csv
import json
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

import icrl_flax as icrl
from icrl_flax import theory
from icrl_flax.training.checkpoint import provenance

WINDOWS, POINTS = 1000, 101
WIDE, NARROW = 1.25, 1.1  # I = [c/1.25, 1.25c] and I₀ = [c/1.1, 1.1c]
NEAR = 1e-3  # ‖Δ(0)‖/‖θ̄‖ of the second start
ENDS = (1.5, 1.5, 5.0)  # in units of 1/λ_min
RTOL = 1e-7
COLUMNS = ("flow", "time", "loss", "slope", "distance")


def starts(population: Any, c: float) -> dict[str, tuple[float, Any]]:
    """The c that Δ counts from and Δ(0), by the names of the flows."""
    optimum, rule = population.optimum, icrl.Sarsa()
    rich = theory.richness(population, theory.second_moments(population))
    known = theory.constants(rich, optimum, 2 * rule.d + 1)
    interval, inner = (c / WIDE, c * WIDE), (c / NARROW, c * NARROW)
    inside = theory.sharpest_radius(known, interval, inner).start_radius(inner) / 2
    size = float(theory.norm(icrl.rescale(optimum, c)))
    xavier = jax.tree.map(lambda leaf: leaf[0], theory.xavier_starts(rule, [0]))
    reached = float(theory.predicted_scale(optimum, theory.conserved(xavier)))
    return {
        "inside the tube": (c, theory.aimed(optimum, c, jax.random.key(100), inside)),
        "near": (c, theory.aimed(optimum, c, jax.random.key(101), NEAR * size)),
        "Xavier": (reached, theory.offset(xavier, optimum, reached)),
    }


def main() -> None:
    """Follow the flows and write what was met on the way."""
    parser = argparse.ArgumentParser(description="Gradient flow from three starts at d = 36.")
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
    second = theory.second_moments(population)
    lowest = theory.smallest_eigenvalues(second, c, 4)[0][0]
    size = float(theory.norm(icrl.rescale(population.optimum, c)))
    rows: list[list[Any]] = []
    kept: dict[str, np.ndarray] = {}
    for (name, (at, delta)), end in zip(starts(population, c).items(), ENDS, strict=True):
        scale, batch = jnp.array([at]), jax.tree.map(lambda leaf: leaf[None], delta)
        times = jnp.linspace(0, end / lowest, POINTS)
        flow = theory.gradient_flow(population, scale, batch, times, rtol=RTOL, atol=1e-18 * RTOL)
        slope = theory.slopes(population, scale, flow)[0]
        distance = jax.vmap(theory.norm)(jax.tree.map(lambda leaf: leaf[0], flow.delta))
        numbers = zip(times, flow.loss[0], slope, distance, strict=True)
        rows += [[name, *(f"{float(x):.17g}" for x in row)] for row in numbers]
        print(f"{name}: {int(flow.steps[0])} steps", flush=True)
        if name == "Xavier":  # where the flow has come near, and its end
            near = int(np.flatnonzero(np.asarray(distance) < size / 50)[0])
            kept["at"] = np.array([near, POINTS - 1])
            for index in kept["at"]:
                for block, leaf in flow.delta._asdict().items():
                    kept[f"{block} {index}"] = np.asarray(leaf[0, index])

    with (out / "flows.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    (out / "kept.safetensors").write_bytes(save(kept))
    record = {
        "command": f"python experiments/flows.py --out {out.name}",
        "rule": "Sarsa(d=36)",
        "family": "RandomMDPs()",
        "windows": WINDOWS,
        "rtol": RTOL,
        "seconds": round(time.perf_counter() - began, 1),
        "environment": provenance() | {"processor": platform.machine()},
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    (out / "provenance.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
