"""A CUDA card beside the processor of its machine: `python -m benchmarks.gpu --out FILE`.

Trains 1, 32 and 1000 runs of the paper's experiment side by side, and lets a block control
100 MDPs in closed loop, on each device; prints a table and writes it with versions, card and
processor. A measurement ends after its share of the time allowed, whole or not: then the
table says how many of the updates were made, and gives the rate. It ends within ten minutes.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.suite import RULES
from icrl_flax import EffectiveBlock, EvaluationConfig, TrainingConfig, train_iter
from icrl_flax._files import write_atomically
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import closed_loop
from icrl_flax.control.evaluation import draw_tasks
from icrl_flax.experiments.run import environment

RUNS = (1, 32, 1000)
LIMIT = 480.0  # seconds for all; the rest of ten minutes is for compilation

Row = dict[str, Any]


def peak_bytes(device: Any) -> int | None:
    """The most memory that the device has held; of a processor, that this process has."""
    if device.platform == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (device.memory_stats() or {}).get("peak_bytes_in_use")


def training(device: Any, name: str, runs: int, mdps: int, seconds: float) -> Row:
    """So many runs side by side, until they are done or the time is over."""
    configs = [TrainingConfig(seed=seed, mdps=mdps) for seed in range(runs)]
    results = train_iter(RULES[name], None, configs, devices=[device])
    began = time.perf_counter()
    next(results)
    first = next(results)
    compiled = time.perf_counter()
    done, at = 0, first.mdps
    for result in results:
        done, at = done + result.losses.shape[1], result.mdps
        if time.perf_counter() - compiled > seconds:
            break
    took = time.perf_counter() - compiled
    each = took / max(done, 1)
    return {
        "what": "training",
        "device": device.device_kind,
        "rule": name,
        "runs": runs,
        "start_seconds": compiled - began,
        "share_done": at / mdps,
        "microseconds_per_update_of_all": 1e6 * each if done else None,
        "whole_run_seconds": each * configs[0].updates if done else None,
        "peak_bytes": peak_bytes(device),
    }


def control(device: Any, name: str, mdps: int, steps: int) -> Row:
    """A block in control of MDPs that it has not seen, window after window."""
    with jax.default_device(device):
        rule = RULES[name]
        agent = BlockAgent(rule, EffectiveBlock(rule.optimum(jnp.float32)))
        tasks, keys = draw_tasks(rule, config=EvaluationConfig(n_mdps=mdps, steps=steps))
        times = []
        for _ in range(2):  # the first compiles
            began = time.perf_counter()
            jax.block_until_ready(closed_loop(keys, tasks, rule, agent, steps, 20))
            times.append(time.perf_counter() - began)
    return {
        "what": "closed loop",
        "device": device.device_kind,
        "rule": name,
        "runs": mdps,
        "start_seconds": times[0] - times[1],
        "share_done": 1.0,
        "microseconds_per_update_of_all": 1e6 * times[1] / steps,
        "whole_run_seconds": times[1],
        "peak_bytes": peak_bytes(device),
    }


def measurements(devices: list[Any], quick: bool) -> Iterator[Row]:
    """All of the table."""
    runs, mdps, tasks, steps = ((1,), 200, 2, 4) if quick else (RUNS, 10_000, 100, 1500)
    names = ["sarsa"] if quick else list(RULES)
    share = LIMIT / (len(devices) * len(names) * (len(runs) + 1))
    for device in devices:
        for name in names:
            for count in runs:
                yield training(device, name, count, mdps, share)
            yield control(device, name, tasks, steps)


def line(row: Row) -> str:
    """One row for people."""
    numbers = [
        "" if value is None else f"{value:.4g}"
        for value in (
            row["start_seconds"],
            row["microseconds_per_update_of_all"],
            row["whole_run_seconds"],
            100 * row["share_done"],
            None if row["peak_bytes"] is None else row["peak_bytes"] / 1e6,
        )
    ]
    return (
        f"{row['device'][:24]:<24} {row['what']:<12} {row['rule']:<13} {row['runs']:>5} "
        + " ".join(f"{number:>10}" for number in numbers)
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure on a card and the processor; 2 where there is no card."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="seconds, for tests")
    parser.add_argument("--cpu", action="store_true", help="the processor alone")
    options = parser.parse_args(arguments)
    processors = jax.local_devices(backend="cpu")[:1]
    cards = [device for device in jax.local_devices() if device.platform == "gpu"][:1]
    if not cards and not options.cpu:
        print("error: JAX finds no CUDA card here; --cpu measures the processor", file=sys.stderr)
        return 2
    titles = ("start, s", "µs/update", "whole, s", "done, %", "memory, MB")
    print(
        f"{'device':<24} {'what':<12} {'rule':<13} {'runs':>5} "
        + " ".join(f"{title:>10}" for title in titles)
    )
    rows = []
    for row in measurements([*cards, *processors], options.quick):
        rows.append(row)
        print(line(row), flush=True)
    if options.out is not None:
        record = {"environment": environment(), "quick": options.quick, "rows": rows}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out, lambda path: path.write_text(text, "utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
