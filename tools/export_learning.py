"""Export a training run at the paper's scale, for the figure that lets it be watched.

Run it with `make play`. It trains SARSA at the paper's settings and writes
book/_static/figures/recorded.js: the loss along the run, and P12 and V̄21 at some moments of it,
each as whole numbers of eight bits times a scale of its own.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

import icrl_flax as icrl
from icrl_flax._files import write_atomically
from icrl_flax.training.checkpoint import provenance

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "figures" / "recorded.js"
MOMENTS = (0, 100, 200, 300, 400, 500, 700, 1000, 2000, 10_000)  # MDPs
POINTS = 120  # of the loss, at equal ratios of the number of updates
LEVELS = 127


def encode(matrix: np.ndarray) -> dict[str, Any]:
    """Whole numbers from −127 to 127, row after row, in base64, and what one of them means."""
    scale = float(np.abs(matrix).max()) / LEVELS
    levels = np.rint(np.asarray(matrix, np.float64) / scale).astype(np.int8)
    return {"scale": float(f"{scale:.6g}"), "levels": base64.b64encode(levels.tobytes()).decode()}


def losses_along(losses: np.ndarray, points: int = POINTS, first: int = 100) -> list[list[float]]:
    """Updates, and the mean loss since the one before, at about equal ratios."""
    edges = np.unique(np.rint(np.geomspace(first, losses.size, points)).astype(int))
    parts = np.split(losses.astype(np.float64), edges[:-1])
    return [
        [int(edge), float(f"{part.mean():.3g}")] for edge, part in zip(edges, parts, strict=True)
    ]


def moment(result: icrl.TrainingResult, windows: int) -> dict[str, Any]:
    """The weights at one moment, and how near they are to the theorem's."""
    alignment = result.alignment()
    return {
        "updates": result.mdps * windows,
        "c": float(f"{float(alignment.c):.6g}"),
        "cosine": float(f"{min(float(alignment.cosine), 1.0):.8g}"),
        "P12": encode(np.asarray(result.effective.P12)),
        "V21": encode(np.asarray(result.effective.V21)),
    }


def main() -> None:
    """Train, describe, write."""
    rule, config = icrl.Sarsa(), icrl.TrainingConfig()
    moments, losses = [], []
    for result in icrl.train_iter(rule, config=config):
        losses.append(np.asarray(result.losses))
        if result.mdps in MOMENTS:
            moments.append(moment(result, config.windows))
    if len(moments) != len(MOMENTS):
        raise RuntimeError("no report of the training fell at some of MOMENTS; choose others")
    record = {
        "d": rule.d, "alpha": rule.alpha, "seed": config.seed, "mdps": config.mdps,
        "windows": config.windows, **provenance(),
        "losses": losses_along(np.concatenate(losses)), "moments": moments,
    }  # fmt: skip
    text = (
        "// Made by tools/export_learning.py (make play): SARSA trained at the paper's settings.\n"
        "// Weights are int8, row after row, in base64, times their scale.\n"
        f"globalThis.IcrlRecorded = {json.dumps(record)};\n"
    )
    write_atomically(TARGET, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{TARGET.name}: {len(text) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
