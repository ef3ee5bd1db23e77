"""`python -m icrl_flax train RULE`: one run, one file, whatever stops it."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import tyro

from icrl_flax import _ambient, _checks, _files, _registry
from icrl_flax.cli.console import Stop, UsageError, complain, say, usage
from icrl_flax.cli.options import fields_of, options
from icrl_flax.control.tasks import check_fit
from icrl_flax.experiments.progress import Progress
from icrl_flax.training.blocks import initial_block
from icrl_flax.training.checkpoint import checkpoint_path, load, save
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.loop import train_iter
from icrl_flax.training.prefetch import prefetch
from icrl_flax.training.result import Run, TrainingResult, joined, mean_loss

COLLECTED = 64
"""Results kept before they are joined: their weights would fill the memory."""


def command(kind: type, family: type, choices: Any) -> Callable[..., Callable[[], int]]:
    """The command of a rule's class, with the options of a family's class."""

    def command(out, rule, distribution, training, family=family, save_every=None, resume=False):
        """Train a block.

        Args:
            out: new file for the checkpoint.
            family: where the MDPs come from; it has options, which --help then shows.
            save_every: keep the block each time that so many MDPs are done.
            resume: go on from the file, if it is there, of the same run.
        """
        return lambda: train(out, Run(rule, distribution, training), save_every, resume)

    command.__defaults__ = (_registry.name_of(family), None, False)
    taken = fields_of(TrainingConfig) | {"out", "family", "save_every", "resume"}
    command.__annotations__ = {
        "out": Path,
        "rule": options(kind, "rule", taken),
        "distribution": options(family, "family", taken | fields_of(kind)),
        "training": options(TrainingConfig, "training", set()),
        "family": choices,
        "save_every": int | None,
        "resume": tyro.conf.FlagCreatePairsOff[bool],
    }
    return command


def train(out: Path, run: Run, save_every: int | None, resume: bool) -> int:
    """Train, keep the block, and print how far it is from the theory's."""
    began = time.perf_counter()
    rule, family, config = run
    with usage():
        if save_every is not None:
            _checks.positive_integer("save_every", save_every)
        check_fit(rule, family)
        with _ambient.settled(config.dtype == "float64"):
            jax.eval_shape(lambda key: initial_block(key, rule, config).theta, jax.random.key(0))
        out = checkpoint_path(out)
        start = _start(out, run) if resume and out.exists() else None
        if start is None:
            _files.new_file(out)
    results = train_iter(rule, family, config, start=start)
    begin = next(results)
    parts = [begin if start is None else start]
    before, first, failure = parts[0], None, ""

    def keep() -> TrainingResult:
        parts[:] = [joined(parts)]
        with usage(), _files.writing(out):
            save(parts[0], out)
        return parts[0]

    with Stop() as stop, Progress(config.updates, done=before.losses.size) as bar:
        kept = before.mdps
        for result in results:
            if result.diverged:
                at = int(result.diverged_at)
                failure = f"loss is not finite at update {at}"
                if at == sum(part.losses.size for part in (*parts, result)):  # none has shown it
                    failure = f"weights are not finite after update {at - 1}"
                break
            parts.append(result)
            bar.update(result.losses.size)
            bar.set_postfix(loss=f"{result.losses.mean():.1e}", refresh=False)
            if first is None:
                first = result
                if (
                    config.is_paper_block and config.tied
                ):  # compiles the summary's program meanwhile
                    prefetch(TrainingResult.alignment, [result])
            if stop.status:
                break
            if save_every is not None and result.mdps - kept >= save_every:
                kept = keep().mdps
            elif len(parts) == COLLECTED:
                parts[:] = [joined(parts)]
        final = keep()
    if failure:
        raise UsageError(f"training stopped: the {failure}; {out} holds the block before it")
    if stop.status and final.mdps < config.mdps:
        complain(
            f"interrupted: {out} holds the block after {final.mdps} MDPs; "
            "the same command with --resume goes on"
        )
        return stop.status
    _print_summary(final, before, first)
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


def _start(out: Path, run: Run) -> TrainingResult:
    """What the file holds, refused unless it is of this run."""
    start = load(out)
    sources = (start.record or {}).get("sources", {})
    pairs: Any = zip(Run._fields, start.runs[0], run, strict=True)
    for name, there, here in pairs:
        different = [
            f"{name}.{field.name} was {getattr(there, field.name)!r}, "
            f"and is {getattr(here, field.name)!r}"
            for field in dataclasses.fields(here)
            if type(there) is type(here)
            and not eqx.tree_equal(getattr(there, field.name), getattr(here, field.name))
        ]
        if type(there) is not type(here):
            different = [f"the {name} was {there!r}, and is {here!r}"]
        elif name in sources and sources[name] != _registry.source(type(here)):
            different = [f"the file that defines {type(here).__name__} has changed"]
        if different:
            raise ValueError(f"out: {out} holds another run: {different[0]}")
    return start


def _print_summary(
    final: TrainingResult, before: TrainingResult, first: TrainingResult | None
) -> None:
    tail = final.losses[-1000:]
    lines = {f"mean loss of the last {tail.size} updates": f"{mean_loss(tail):.2e}"}
    layers = [None] if final.config.tied else range(final.config.layers)
    for layer in layers if final.config.is_paper_block else ():
        alignment, of = final.alignment(layer), "" if layer is None else f", layer {layer + 1}"
        lines |= {
            f"scale c{of}": np.array2string(np.asarray(alignment.c), precision=4, sign="+"),
            f"cosine to the theory's weights{of}": f"{alignment.cosine:.7f}",
            f"largest entry off the theory's pattern{of}": f"{alignment.off_pattern:.1e}",
        }
    for label, name in (("generation", "generation_seconds"), ("optimisation", "update_seconds")):
        if first is not None:  # it holds the compilation, so it is counted apart
            compiling = getattr(first, name)
            updates = final.losses.size - before.losses.size - first.losses.size
            if updates:
                each = (getattr(final, name) - getattr(before, name) - compiling) / updates
                lines[f"{label}, per update"] = f"{each * 1e6:.1f} µs"
            mdps = first.mdps - before.mdps
            lines[f"{label}, first {mdps} MDPs, compiling"] = f"{compiling:.1f} s"
    for label, value in lines.items():
        say(f"{label:<42} {value}")
