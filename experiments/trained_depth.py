"""Depth that is trained: the table and the curves in results/trained_depth.

    python experiments/trained_depth.py --out results/trained_depth

The setting is Wang et al.'s (arXiv:2405.13861): random Boyan chains of 10 states, 4 features,
γ = 0.9, windows of 30 transitions, 5000 chains with 5 updates each, 64 prompts per update,
Adam at 1e-3 with weight decay. Our loss has a factor ½, so that their decay of 1e-6 is half
of it here. Every run is measured on 100 chains that none has seen. `softmax-0.safetensors`
is the block of the variant "softmax", seed 0, from the command in the chapter with
`--attention=softmax`.
"""

import argparse
import csv
import dataclasses
import functools
import json
import platform
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import icrl_flax as icrl
from icrl_flax.attention import QueryBlock, query_construction, similarity
from icrl_flax.control import draw_task
from icrl_flax.mdps import RandomBoyanChain, policy_value, stationary_distribution
from icrl_flax.rules.td import Td
from icrl_flax.training import fit, in_order, initial_block, stream
from icrl_flax.training.checkpoint import provenance
from icrl_flax.training.loop import keys as keys_of

RULE, FAMILY, N, HELD_OUT = Td(d=4, alpha=1.0), RandomBoyanChain(), 30, 100
STEP, REFERENCE = 250, 500  # chains between two measurements; and for the step size
BASE = icrl.TrainingConfig(
    mdps=5000,
    windows=5,
    window_length=N,
    schedule="constant",
    prompt="query",
    parameters="full",
    objective="td",
    layers=3,
    weight_decay=5e-7,
)
OURS = {"prompt": "parameters", "parameters": "effective"}
VARIANTS: dict[str, dict[str, Any]] = {
    "main": {},
    **{f"tied, L = {k}": {"layers": k} for k in (1, 2, 4)},
    **{f"untied, L = {k}": {"layers": k, "tied": False, "gain": 0.1 / k} for k in (2, 3, 4)},
    "true values": {"objective": "true-values"},
    "Monte Carlo": {"objective": "monte-carlo"},
    "teacher": {"objective": "teacher"},
    "parameters, tied": OURS,
    "parameters, untied": {**OURS, "tied": False},
    "parameters, full": {**OURS, "parameters": "full"},
    "parameters, teacher": {**OURS, "objective": "teacher"},
    "softmax": {"attention": "softmax"},
    "relu": {"attention": "relu"},
    "tanh": {"attention": "tanh"},
}
"""What each variant changes of `BASE`. The first is the main job of Wang et al."""
COLUMNS = (
    *("implicit_weights", "sensitivity", "value_difference"),
    *("value_error", "reference_error"),
)


class Constructed(eqx.Module):
    """TD(0) by construction, of which a step size, or preconditioners, are trained alone.

    Args:
        theta: α; or C, one for all layers or one for each.
        layers: their number.
    """

    theta: Any
    layers: int = eqx.field(static=True)

    def with_theta(self, theta: Any) -> "Constructed":
        return Constructed(theta, self.layers)

    def values(self, tokens: Any, queries: Any) -> Any:
        C = self.theta if self.theta.ndim else self.theta * jnp.eye(RULE.d)
        tied = C.ndim == 2
        theta = _with(C) if tied else jax.vmap(_with)(C)
        return QueryBlock(theta, 2 * RULE.d, self.layers, tied).values(tokens, queries)


def _with(C: Any) -> Any:
    return query_construction(RULE.optimum(C.dtype), C)


CONSTRUCTED = {
    "step size": lambda layers: jnp.ones(()),
    "preconditioner": lambda layers: jnp.eye(RULE.d),
    "preconditioner per layer": lambda layers: jnp.stack([jnp.eye(RULE.d)] * layers),
}
"""Where the trained numbers of a construction start."""


@jax.jit
def held_out() -> Any:
    """Windows of chains that no run has seen, and what is true there."""

    def one(key: Any) -> Any:
        task_key, key = jax.random.split(key)
        task = draw_task(task_key, RULE, FAMILY)
        policy = RULE.predicted_policy(task.features)
        window = icrl.rollout(key, task.mdp, policy, task.state, N)
        return (
            RULE.tokens(task.features, task.u, window),
            task.features.phi,
            stationary_distribution(task.mdp, policy),
            policy_value(task.mdp, policy),
        )

    return jax.vmap(one)(jax.random.split(jax.random.key(2**31 - 1), HELD_OUT))


@eqx.filter_jit
def measured(block: Any, reference: Any, cases: Any) -> dict[str, Any]:
    """Means over the held-out chains: the three measures, and the squared error of the values."""

    def one(tokens: Any, phi: Any, shares: Any, truth: Any) -> dict[str, Any]:
        beside = similarity(block, reference, tokens, phi, shares)
        error, other = (
            shares @ (each.values(tokens, phi) - truth) ** 2 for each in (block, reference)
        )
        return {**beside._asdict(), "value_error": error, "reference_error": other}

    return jax.tree.map(jnp.mean, jax.vmap(one)(*cases))


def started(name: str, seed: int, config: icrl.TrainingConfig) -> Any:
    """The block of a variant before its first update."""
    if name in CONSTRUCTED:
        return Constructed(CONSTRUCTED[name](config.layers), config.layers)
    keys, _ = keys_of([seed])
    return initial_block(keys[0], RULE, config)


@eqx.filter_jit
def learn(block: Any, state: Any, key: Any, mdps: Any, config: icrl.TrainingConfig) -> Any:
    """The updates of some chains: `train`'s own, one run by itself."""
    how = {name: getattr(config, name) for name in ("objective", "prompt", "queries")}
    data = stream(key, mdps, RULE, FAMILY, config.windows, N, sweeps=config.layers, **how)
    done = fit(block, config.make_optimizer(), in_order(data, 1), state)
    return done.block, done.optimizer_state


def learnt(name: str, seed: int, config: icrl.TrainingConfig) -> tuple[list[int], list[Any]]:
    """A variant's block after every `STEP` chains, on the data that its seed stands for."""
    _, keys = keys_of([seed])
    block = started(name, seed, config)
    state = config.make_optimizer().init(block.theta)
    at, blocks = [0], [block]
    for first in range(0, config.mdps, STEP):
        block, state = learn(block, state, keys[0], jnp.arange(first, first + STEP), config)
        at.append(first + STEP)
        blocks.append(block)
    return at, blocks


@functools.cache
def step_size(seed: int, config: icrl.TrainingConfig) -> Constructed:
    """TD(0) whose step size is trained on as many chains as it needs to settle."""
    return learnt("step size", seed, config)[1][-1]


def rows_of(name: str, config: icrl.TrainingConfig, seed: int) -> list[dict[str, Any]]:
    """One row for each moment, beside TD(0) with a trained step size."""
    cases, rows = held_out(), []
    small = icrl.TrainingConfig(
        mdps=min(REFERENCE, config.mdps),
        **{k: getattr(BASE, k) for k in ("windows", "window_length", "schedule", "prompt")},
        parameters="full",
        objective=config.objective,
        layers=config.layers,
    )
    reference = step_size(seed, small)
    for mdps, block in zip(*learnt(name, seed, config), strict=True):
        values = measured(block, reference, cases)
        row = {"variant": name, "layers": config.layers, "seed": seed, "mdps": mdps}
        row |= {column: f"{float(values[column]):.6g}" for column in COLUMNS}
        rows.append(row | {"step_size": f"{float(reference.theta):.6g}"})
    return rows


def write(out: Path, rows: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Everything so far, one row for each variant, seed and moment; and what made it."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "runs.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    (out / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Run every variant, and write after each seed; what is there already stays."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20, help="of the main job")
    parser.add_argument("--others", type=int, default=5, help="seeds of every other variant")
    parser.add_argument("--mdps", type=int, default=BASE.mdps)
    parser.add_argument("--only", nargs="*", help="some variants alone")
    options = parser.parse_args()
    base = dataclasses.replace(BASE, mdps=options.mdps)
    jax.config.update("jax_default_matmul_precision", "highest")
    rows, record = before(options.out)
    record |= {
        "command": f"python experiments/trained_depth.py --out {options.out.name}",
        "held_out": HELD_OUT,
        "base": {k: v for k, v in vars(base).items() if k != "seed"},
        "variants": VARIANTS | {name: {} for name in CONSTRUCTED},
        "environment": provenance() | {"processor": platform.machine()},
    }
    for name in ("main", *CONSTRUCTED, *list(VARIANTS)[1:]):
        if options.only and name not in options.only:
            continue
        config = dataclasses.replace(base, **VARIANTS.get(name, {}))
        for seed in range(options.seeds if name == "main" else options.others):
            if any((row["variant"], int(row["seed"])) == (name, seed) for row in rows):
                continue
            began = time.perf_counter()
            rows += rows_of(name, config, seed)
            seconds = round(time.perf_counter() - began, 1)
            record.setdefault("seconds", {})[f"{name}, seed {seed}"] = seconds
            commit = record["environment"]["commit"]
            record.setdefault("commits", {})[f"{name}, seed {seed}"] = commit
            write(options.out, rows, record)
            print(f"{name}, seed {seed}: {seconds} s, {rows[-1]}", flush=True)


def before(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What an interrupted call has written; `runs.csv` holds every row."""
    if not (out / "runs.csv").exists():
        return [], {}
    with (out / "runs.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return rows, json.loads((out / "provenance.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
