"""Export trained blocks for the interactive page: a finished one and one broken off early.

Run it with `make play`. It trains SARSA at the paper's settings and writes
book/_static/play/weights.js, one global with P12 and V̄21 of both blocks and where they come
from. On one machine it writes the same bytes every time.
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

TARGET = Path(__file__).resolve().parent.parent / "book" / "_static" / "play" / "weights.js"
HALF = 200  # MDPs after which the half-trained block was broken off: 2 % of the paper's
FRESH = 200  # MDPs that neither block has seen, for the losses that the page states
FRESH_SEED = 1_000_000


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


def encode(matrix) -> str:
    """Little-endian float32, row after row, in base64."""
    return base64.b64encode(np.asarray(matrix, "<f4").tobytes()).decode("ascii")


def describe(
    rule: icrl.Sarsa, config: icrl.TrainingConfig, result: icrl.TrainingResult
) -> dict[str, Any]:
    """One block for the page: weights, and how good they are."""
    alignment = result.alignment()
    loss = losses(rule, config, result.effective)
    return {
        "mdps": result.mdps,
        "updates": result.mdps * config.windows,
        "c": float(f"{float(alignment.c):.6g}"),
        "cosine": float(f"{min(float(alignment.cosine), 1.0):.6g}"),
        "loss": float(f"{loss.mean():.4g}"),
        "loss_standard_error": float(f"{loss.std(ddof=1) / len(loss) ** 0.5:.2g}"),
        "P12": encode(result.effective.P12),
        "V21": encode(result.effective.V21),
    }


def plain(value: Any) -> Any:
    """Dataclass fields as JSON has them."""
    return value.item() if hasattr(value, "item") else value


def main() -> None:
    """Train, describe, write."""
    rule, config = icrl.Sarsa(), icrl.TrainingConfig()
    record: dict[str, Any] = {
        "algorithm": {
            "name": rule.name(),
            "d": rule.d,
            "alpha": rule.alpha,
            "epsilon": rule.epsilon,
        },
        "family": {k: plain(v) for k, v in vars(icrl.RandomMDPs()).items()},
        "training": {k: plain(v) for k, v in vars(config).items()},
        "fresh_mdps": FRESH,
        **provenance(),
    }
    blocks = {}
    for result in icrl.train_iter(rule, config=config):
        if result.mdps in (HALF, config.mdps):
            blocks[result.mdps] = describe(rule, config, result)
    if HALF not in blocks:
        raise RuntimeError(f"no report of the training fell at {HALF} MDPs; choose another HALF")
    record |= {"half": blocks[HALF], "trained": blocks[config.mdps]}
    text = (
        "// Made by tools/export_play.py (make play): blocks trained on SARSA at the paper's\n"
        "// settings. P12 and V21 are float32, little-endian, row after row, in base64.\n"
        f"globalThis.IcrlWeights = {json.dumps(record, indent=1)};\n"
    )
    write_atomically(TARGET, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"{TARGET.name}: {len(text) / 1000:.0f} kB")
    for name in ("half", "trained"):
        print(name, {k: v for k, v in record[name].items() if k not in ("P12", "V21")})


if __name__ == "__main__":
    main()
