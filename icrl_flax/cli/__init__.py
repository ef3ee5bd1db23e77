"""The command line: `python -m icrl_flax train sarsa --out DIR`, `… verify`, `… sweep`.

Options, defaults and help come from the dataclasses that configure a run, and
the names of the rules from the files in `icrl_flax/rules/`.
"""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import equinox as eqx
import jax
import numpy as np
import tyro
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax._progress import Progress
from icrl_flax.attention.alignment import Alignment, align
from icrl_flax.attention.weights import split
from icrl_flax.control.evaluation import CSV_COLUMNS, EvaluationConfig, evaluate, rows
from icrl_flax.control.tasks import check_fit
from icrl_flax.experiments import cluster as cluster
from icrl_flax.experiments.run import finished_cells, sweep
from icrl_flax.mdps.families import RandomMDPs
from icrl_flax.rules import discover
from icrl_flax.rules.base import Rule
from icrl_flax.training import checkpoint as checkpoint
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.loop import train_iter
from icrl_flax.training.prefetch import prefetch
from icrl_flax.training.result import TrainingResult, joined
from icrl_flax.verification import verify

USAGE_ERROR, INTERRUPTED = 2, 130


def _say(line: str) -> None:
    """Print a line at once: what is still in a buffer at the end can fail no command."""
    try:
        print(line, flush=True)
    except OSError as error:
        # Python would try the rest again when it exits, and report that in its own way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ValueError(f"standard output: {error.strerror}") from error


def _complain(line: str) -> None:
    """Print a line on standard error, if anybody can read it there."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr)


class _Interrupt:
    """Turns the first Ctrl-C into a flag, so that the run can stop between two chunks."""

    def __enter__(self) -> "_Interrupt":
        self.requested = False
        self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, *_: object) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._previous)  # a second Ctrl-C stops at once

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)


def _run_training(out: Path, rule: Rule, family: RandomMDPs, config: TrainingConfig) -> int:
    began = time.perf_counter()
    with jax.enable_x64(config.dtype == "float64"):
        check_fit(rule, family)
        learner(rule, config)  # which may refuse the attention: before anything is written
    out = checkpoint.new_directory(out)
    first_chunk: list[TrainingResult] = []
    failure: list[FloatingPointError] = []
    bar = Progress(config.updates)

    def watched(interrupt: _Interrupt) -> Iterator[TrainingResult]:
        try:
            for report in train_iter(rule, config, family):
                yield report
                bar.update(report.losses.size)
                if report.mdps and not first_chunk:
                    first_chunk.append(report)
                    if config.attention == "linear":  # compiles the summary's program meanwhile
                        prefetch(
                            lambda start: _beside_the_theory(start.P, start.V, rule), [report]
                        )
                if report.mdps:
                    bar.set_postfix(loss=f"{report.losses.mean():.1e}", refresh=False)
                if interrupt.requested:
                    return
        except FloatingPointError as error:
            failure.append(error)

    with _Interrupt() as interrupt, bar, jax.enable_x64(config.dtype == "float64"):
        final = joined(watched(interrupt))
    with checkpoint.writing(out):
        checkpoint.save(out, final, rule, family, config)
    if failure:
        raise ValueError(f"training stopped: {failure[0]}; {out} holds the block before it")
    if final.mdps < config.mdps:
        _complain(f"interrupted: {out} holds the block after {final.mdps} MDPs")
        return INTERRUPTED
    _print_summary(final, first_chunk[0], rule, config.attention)
    _say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


@eqx.filter_jit  # some forty operations that would each be compiled
def _beside_the_theory(
    P: Float[Array, "*heads D D"], V: Float[Array, "*heads D D"], rule: Rule
) -> Alignment:
    return align(split(P, V, rule.p).effective, rule.optimum(P.dtype))


def _print_summary(
    final: TrainingResult, first_chunk: TrainingResult, rule: Rule, attention: str
) -> None:
    tail = final.losses[-1000:]
    lines = {f"mean loss of the last {tail.size} updates": f"{tail.mean():.2e}"}
    if attention == "linear":  # of which alone the theory speaks
        alignment = _beside_the_theory(final.P, final.V, rule)
        lines |= {
            "scale c": np.array2string(np.asarray(alignment.c), precision=4, sign="+"),
            "cosine to the theory's weights": f"{alignment.cosine:.7f}",
            "largest entry off the theory's pattern": f"{alignment.off_pattern:.1e}",
        }
    # The first chunk holds the compilation, so it is counted apart.
    updates = final.losses.size - first_chunk.losses.size
    for label, name in (("generation", "generation_seconds"), ("optimisation", "update_seconds")):
        first = getattr(first_chunk, name)
        if updates:
            each = (getattr(final, name) - first) / updates
            lines[f"{label}, per update"] = f"{each * 1e6:.1f} µs"
        lines[f"{label}, first {first_chunk.mdps} MDPs, compiling"] = f"{first:.1f} s"
    for label, value in lines.items():
        _say(f"{label:<42} {value}")


def _run_verify(names: tuple[str, ...], seed: int) -> int:
    _checks.seed("seed", seed)
    known = discover()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"rules must be among {', '.join(known)}, got {unknown[0]!r}")
    row = "{:<16} {:<8} {:>6} {:>15} {:>8}  {}"
    _say(row.format("rule", "dtype", "cases", "worst rel. error", "bound", "verdict"))
    holds = True
    for name in names or known:
        for verdict in verify(known[name], seed=seed):
            holds &= verdict.holds
            _say(
                row.format(
                    verdict.rule,
                    verdict.dtype,
                    verdict.cases,
                    f"{verdict.worst:.2e}",
                    f"{verdict.bound:.0e}",
                    "holds" if verdict.holds else "FAILS",
                )
            )
    return 0 if holds else 1


def _run_evaluation(directory: Path, out: Path | None, config: EvaluationConfig) -> int:
    began = time.perf_counter()
    trained = checkpoint.load(directory)
    if trained.training.attention != "linear":
        raise ValueError(f"{directory} holds a block of softmax attention; only linear ones act")
    out = directory / "evaluation.csv" if out is None else out
    checkpoint.new_file(out)
    made_by = out.with_suffix(".provenance.json")
    checkpoint.new_file(made_by)
    result = evaluate(trained.rule, trained.P, trained.V, config, trained.family)

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows(result))

    record = {
        "evaluation": dataclasses.asdict(config),
        "checkpoint": trained.record,
        "weights_sha256": hashlib.sha256(trained.P.tobytes() + trained.V.tobytes()).hexdigest(),
        **checkpoint.provenance(),
    }
    text = json.dumps(record, indent=2) + "\n"
    with checkpoint.writing(out):
        checkpoint.write_together(
            {made_by: lambda path: path.write_text(text, "utf-8"), out: write}
        )
    ends = {name: float(returns.exact[-1].mean()) for name, returns in result.returns.items()}
    low, high = ends["uniform", "policy"], ends["oracle", "policy"]
    row = "{:<12} {:<10} {:>12} {:>22}"
    _say(row.format("contender", "reading", "mean return", "uniform = 0, oracle = 1"))
    for (contender, reading), end in ends.items():
        scaled = (end - low) / (high - low) if high > low else float("nan")
        _say(row.format(contender, reading, f"{end:.4f}", f"{scaled:.3f}"))
    _say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


def _run_sweep(spec: Path, out: Path, workers: int | None) -> int:
    began = time.perf_counter()
    try:
        table = sweep(spec, out, workers, progress=True).table
    except KeyboardInterrupt:
        done, cells = finished_cells(out, spec)
        _complain(
            f"interrupted: {out} holds {done} of {cells} cells; the same command finishes the rest"
        )
        return INTERRUPTED
    if jax.process_index():
        print(f"all {table['cell'].size} cells are done; process 0 writes {out}")
        return 0
    lines = {
        "cells": f"{table['cell'].size}",
        "cells that diverged": f"{np.isfinite(table['diverged_at']).sum()}",
        "median final loss": f"{np.nanmedian(table['final_loss']):.2e}",
        "largest final loss": f"{np.nanmax(table['final_loss']):.2e}",
    }
    for label, value in lines.items():
        _say(f"{label:<42} {value}")
    _say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


Job = Callable[[], int]


def _train_command(kind: type[Rule]) -> Callable[..., Job]:
    def command(
        out: Path,
        rule: Rule,
        family: RandomMDPs,
        training: TrainingConfig,
    ) -> Job:
        return lambda: _run_training(out, rule, family, training)

    command.__annotations__ = {
        "out": Annotated[Path, tyro.conf.arg(help="New or empty directory for the checkpoint.")],
        "rule": Annotated[kind, tyro.conf.arg(name="")],
        "family": Annotated[RandomMDPs, tyro.conf.arg(name="")],
        "training": Annotated[TrainingConfig, tyro.conf.arg(name="")],
        "return": Job,
    }
    command.__doc__ = f"Train a block on {kind.__doc__}"
    return command


def _verify_command(
    rules: tyro.conf.Positional[tuple[str, ...]] = (),
    seed: int = 0,
) -> Job:
    """Check the constructions on random sizes in float64 and float32.

    Args:
        rules: which ones; all if none is named.
        seed: seed of the random sizes and values.
    """
    return lambda: _run_verify(rules, seed)


def _evaluate_command(
    directory: tyro.conf.Positional[Path],
    evaluation: Annotated[EvaluationConfig, tyro.conf.arg(name="")],
    out: Path | None = None,
) -> Job:
    """Put a trained block in control of held-out MDPs, beside its teacher (Figure 3).

    Args:
        directory: a checkpoint that `train` wrote.
        evaluation: the protocol.
        out: new file for the table; evaluation.csv in the directory if not given. Beside
            it a file named .provenance.json says what made it.
    """
    return lambda: _run_evaluation(directory, out, evaluation)


def _sweep_command(
    spec: tyro.conf.Positional[Path],
    out: Path,
    workers: int | None = None,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    launched: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> Job:
    """Run every combination of settings and seeds in a TOML file; finish it if it was stopped.

    Several processes, on one machine or many, share a sweep if each is told where
    they meet, how many they are and which one it is, or was started by a launcher
    that JAX knows. They need a directory that they all see.

    Args:
        spec: the file; the documentation of icrl_flax.sweep_spec shows one.
        out: directory for the tables: new, empty, or that of the same sweep.
        workers: batches that run at the same time; one for each core or GPU of
            this process, if not given.
        coordinator: host:port of process 0, for several processes.
        processes: how many there are.
        process: which one this is, from 0.
        launched: this process was started by srun or mpirun, which tells the rest.
    """

    def job() -> int:
        cluster.meet(coordinator, processes, process, launched)
        return _run_sweep(spec, out, workers)

    return job


def parser() -> tyro.extras.SubcommandApp:
    """The whole command line, each command parsing to a job that main then runs."""
    train = tyro.extras.SubcommandApp()
    for name, kind in discover().items():
        train.command(name=name)(_train_command(kind))
    app = tyro.extras.SubcommandApp()
    app.command(train, name="train", help="Train a block as Algorithms 1 and 2 do.")
    app.command(name="evaluate")(_evaluate_command)
    app.command(name="verify")(_verify_command)
    app.command(name="sweep")(_sweep_command)
    return app


def main(arguments: list[str] | None = None) -> int:
    """Parse and run; exit status 0, 1 (verify failed), 2 (bad input) or 130 (Ctrl-C)."""
    try:
        job = parser().cli(prog="icrl_flax", args=arguments)
        return job()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError) as error:
        _complain(f"error: {error}")
        return USAGE_ERROR
