"""Export what the browser shows of a training run: SARSA at the paper's settings.

Run it with `make play`. It writes one global into each of two files below book/_static:
play/weights.js has P12 and V̄21 of the finished block and of one that was broken off early,
figures/recorded.js the loss along the run, and both matrices at some of its moments, each as
whole numbers of eight bits times a scale of its own. On one machine the bytes are the same every
time.
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


def base(array: np.ndarray) -> str:
    """An array's bytes, row after row, in base64."""
    return base64.b64encode(array.tobytes()).decode("ascii")


def levels(matrix: Any) -> dict[str, Any]:
    """Whole numbers from −127 to 127, and what one of them means."""
    scale = float(np.abs(matrix).max()) / LEVELS
    whole = np.rint(np.asarray(matrix, np.float64) / scale).astype(np.int8)
    return {"scale": float(f"{scale:.6g}"), "levels": base(whole)}


def losses_along(losses: np.ndarray, points: int = POINTS, first: int = 100) -> list[list[float]]:
    """Updates, and the mean loss since the one before, at about equal ratios."""
    edges = np.unique(np.rint(np.geomspace(first, losses.size, points)).astype(int))
    parts = np.split(losses.astype(np.float64), edges[:-1])
    return [
        [int(edge), float(f"{part.mean():.3g}")] for edge, part in zip(edges, parts, strict=True)
    ]


def scores(result: icrl.TrainingResult, windows: int, digits: int) -> dict[str, Any]:
    """How far a run has come, and how near its weights are to the theorem's."""
    alignment = result.alignment()
    return {
        "updates": result.mdps * windows,
        "c": float(f"{float(alignment.c):.6g}"),
        "cosine": float(f"{min(float(alignment.cosine), 1.0):.{digits}g}"),
    }


def describe(
    rule: icrl.Sarsa, config: icrl.TrainingConfig, result: icrl.TrainingResult
) -> dict[str, Any]:
    """One block for the page: weights in little-endian float32, and how good they are."""
    loss = losses(rule, config, result.effective)
    P12, V21 = (base(np.asarray(matrix, "<f4")) for matrix in result.effective)
    return {
        "mdps": result.mdps,
        **scores(result, config.windows, 6),
        "loss": float(f"{loss.mean():.4g}"),
        "loss_standard_error": float(f"{loss.std(ddof=1) / len(loss) ** 0.5:.2g}"),
        "P12": P12,
        "V21": V21,
    }


def plain(fields: Any) -> dict[str, Any]:
    """A dataclass's fields as JSON has them."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in vars(fields).items()}


def write(name: str, heading: str, variable: str, record: str) -> None:
    """Write a script that holds one global."""
    text = f"{heading}globalThis.{variable} = {record};\n"
    write_atomically(STATIC / name, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{name}: {len(text) / 1000:.0f} kB")


def main() -> None:
    """Train, describe, write."""
    rule, config = icrl.Sarsa(), icrl.TrainingConfig()
    blocks, moments, parts = {}, [], []
    for result in icrl.train_iter(rule, config=config):
        parts.append(np.asarray(result.losses))
        if result.mdps in (HALF, config.mdps):
            blocks[result.mdps] = describe(rule, config, result)
        if result.mdps in MOMENTS:
            P12, V21 = map(levels, result.effective)
            moments.append({**scores(result, config.windows, 8), "P12": P12, "V21": V21})
    if len(moments) != len(MOMENTS) or HALF not in blocks:
        raise RuntimeError("no report of the training fell at HALF or some of MOMENTS")
    weights = {
        "algorithm": {
            "name": rule.name(), "d": rule.d, "alpha": rule.alpha, "epsilon": rule.epsilon,
        },
        "family": plain(icrl.RandomMDPs()), "training": plain(config), "fresh_mdps": FRESH,
        **provenance(), "half": blocks[HALF], "trained": blocks[config.mdps],
    }  # fmt: skip
    recorded = {
        "d": rule.d, "alpha": rule.alpha, "seed": config.seed, "mdps": config.mdps,
        "windows": config.windows, **provenance(),
        "losses": losses_along(np.concatenate(parts)), "moments": moments,
    }  # fmt: skip
    write(
        "play/weights.js",
        "// Made by tools/export_play.py (make play): blocks trained on SARSA at the paper's\n"
        "// settings. P12 and V21 are float32, little-endian, row after row, in base64.\n",
        "IcrlWeights",
        json.dumps(weights, indent=1),
    )
    write(
        "figures/recorded.js",
        "// Made by tools/export_play.py (make play): SARSA trained at the paper's settings.\n"
        "// Weights are int8, row after row, in base64, times their scale.\n",
        "IcrlRecorded",
        json.dumps(recorded),
    )


if __name__ == "__main__":
    main()
