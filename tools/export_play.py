"""Export a training run at the paper's scale for the pages in which one can play.

Run it with `make play`. It trains SARSA at the paper's settings, once, and writes two files of one
global each into book/_static. On one machine it writes the same bytes every time.

play/weights.js, for the interactive page: P12 and V̄21 of the finished block and of one that was
broken off early, as float32, and how good they are.

figures/recorded.js, for the figure that lets the training be watched: the loss along the run, and
P12 and V̄21 at some moments of it, each as whole numbers of eight bits times a scale of its own.
"""

import base64
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import icrl_flax as icrl
from icrl_flax._files import write_atomically
from icrl_flax.training.checkpoint import provenance
from icrl_flax.training.loop import keys

STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"
HALF = 200  # MDPs after which the half-trained block was broken off: 2 % of the paper's
FRESH = 200  # MDPs that neither block has seen, for the losses that the page states
FRESH_SEED = 1_000_000
MOMENTS = (0, 100, 200, 300, 400, 500, 700, 1000, 2000, 10_000)  # MDPs
POINTS = 120  # of the loss, at equal ratios of the number of updates
LEVELS = 127
WEIGHTS_SAY = (
    "// Made by tools/export_play.py (make play): blocks trained on SARSA at the paper's\n"
    "// settings. P12 and V21 are float32, little-endian, row after row, in base64.\n"
)
RECORDED_SAYS = (
    "// Made by tools/export_play.py (make play): SARSA trained at the paper's settings.\n"
    "// Weights are int8, row after row, in base64, times their scale.\n"
)


def losses(
    rule: icrl.Sarsa,
    config: icrl.TrainingConfig,
    effective: icrl.Effective,
    seed: int = FRESH_SEED,
    mdps: int = FRESH,
) -> np.ndarray:
    """½‖block − teacher‖² in float64, its mean over the windows of each of `mdps` new MDPs."""
    _, (key,) = keys([seed])
    with jax.enable_x64(True):
        examples = icrl.stream(
            key, jnp.arange(mdps), rule, icrl.RandomMDPs(), config.windows,
            config.window_length, jnp.float64,
        )  # fmt: skip
        x, u, target = (np.asarray(leaf) for leaf in jax.tree.leaves(examples))
    P12, V21 = (np.asarray(block, np.float64) for block in effective)
    scores = np.einsum("mtnp,mtp->mtn", x, P12[:, 0] + u @ P12[:, 1:].T)
    answer = u + np.einsum("mtn,mtnp->mtp", scores, x) @ V21.T / x.shape[2]
    return (((answer - target) ** 2).sum(-1) / 2).mean(-1)


def losses_along(losses: np.ndarray, points: int = POINTS, first: int = 100) -> list[list[float]]:
    """Updates, and the mean loss since the one before, at about equal ratios."""
    edges = np.unique(np.rint(np.geomspace(first, losses.size, points)).astype(int))
    parts = np.split(losses.astype(np.float64), edges[:-1])
    return [
        [int(edge), float(f"{part.mean():.3g}")] for edge, part in zip(edges, parts, strict=True)
    ]


def floats(matrix: jax.Array) -> str:
    """Little-endian float32, row after row, in base64."""
    return base64.b64encode(np.asarray(matrix, "<f4").tobytes()).decode("ascii")


def bytes_of(matrix: jax.Array) -> dict[str, Any]:
    """Whole numbers from −127 to 127, row after row, in base64, and what one of them means."""
    scale = float(np.abs(matrix).max()) / LEVELS
    levels = np.rint(np.asarray(matrix, np.float64) / scale).astype(np.int8)
    return {"scale": float(f"{scale:.6g}"), "levels": base64.b64encode(levels.tobytes()).decode()}


def aligned(result: icrl.TrainingResult, digits: int) -> dict[str, float]:
    """The scale of a moment's weights, and how near they are to the theorem's."""
    alignment = result.alignment()
    cosine = min(float(alignment.cosine), 1.0)
    return {"c": float(f"{float(alignment.c):.6g}"), "cosine": float(f"{cosine:.{digits}g}")}


def finished(rule: icrl.Sarsa, result: icrl.TrainingResult) -> dict[str, Any]:
    """One block for the page: weights, and how good they are."""
    loss = losses(rule, result.config, result.effective)
    return {
        "mdps": result.mdps,
        "updates": result.mdps * result.config.windows,
        **aligned(result, digits=6),
        "loss": float(f"{loss.mean():.4g}"),
        "loss_standard_error": float(f"{loss.std(ddof=1) / len(loss) ** 0.5:.2g}"),
        "P12": floats(result.effective.P12),
        "V21": floats(result.effective.V21),
    }


def moment(result: icrl.TrainingResult) -> dict[str, Any]:
    """The weights at one moment of the run."""
    return {
        "updates": result.mdps * result.config.windows,
        **aligned(result, digits=8),
        "P12": bytes_of(result.effective.P12),
        "V21": bytes_of(result.effective.V21),
    }


def plain(value: Any) -> Any:
    """Dataclass fields as JSON has them."""
    return value.item() if hasattr(value, "item") else value


def write(name: str, says: str, record: dict[str, Any], indent: int | None = None) -> None:
    """Write a record as the global that the file's name stands for."""
    target = STATIC / name
    text = f"{says}globalThis.Icrl{target.stem.title()} = {json.dumps(record, indent=indent)};\n"
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{name}: {len(text) / 1000:.0f} kB")


def main() -> None:
    """Train, describe, write."""
    rule, config = icrl.Sarsa(), icrl.TrainingConfig()
    blocks, moments, along = {}, [], []
    for result in icrl.train_iter(rule, config=config):
        along.append(np.asarray(result.losses))
        if result.mdps in (HALF, config.mdps):
            blocks[result.mdps] = finished(rule, result)
        if result.mdps in MOMENTS:
            moments.append(moment(result))
    if HALF not in blocks or len(moments) != len(MOMENTS):
        raise RuntimeError("no report of the training fell at some of HALF and MOMENTS")
    names = ("d", "alpha", "epsilon")
    weights = {
        "algorithm": {"name": rule.name(), **{name: getattr(rule, name) for name in names}},
        "family": {k: plain(v) for k, v in vars(icrl.RandomMDPs()).items()},
        "training": {k: plain(v) for k, v in vars(config).items()},
        "fresh_mdps": FRESH, **provenance(),
        "half": blocks[HALF], "trained": blocks[config.mdps],
    }  # fmt: skip
    recorded = {
        "d": rule.d, "alpha": rule.alpha, "seed": config.seed, "mdps": config.mdps,
        "windows": config.windows, **provenance(),
        "losses": losses_along(np.concatenate(along)), "moments": moments,
    }  # fmt: skip
    write("play/weights.js", WEIGHTS_SAY, weights, indent=1)
    write("figures/recorded.js", RECORDED_SAYS, recorded)
    for name in ("half", "trained"):
        print(name, {k: v for k, v in weights[name].items() if k not in ("P12", "V21")})


if __name__ == "__main__":
    main()
