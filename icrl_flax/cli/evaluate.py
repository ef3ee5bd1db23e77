"""`python -m icrl_flax evaluate`: a trained block in control, and its table."""

import csv
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from icrl_flax import _files, _registry
from icrl_flax.cli.console import say, usage
from icrl_flax.cli.options import fields_of, options
from icrl_flax.control.evaluation import CSV_COLUMNS, EvaluationConfig, evaluate, rows
from icrl_flax.control.tasks import check_fit
from icrl_flax.training.checkpoint import SUFFIX, load, provenance


def command(family: type | None, choices: Any) -> Callable[..., Callable[[], int]]:
    """The command, with the options of a family's class if there is one."""

    def command(checkpoint, evaluation, other, out=None, family=None):
        """Put a trained block in control of held-out MDPs, beside its teacher (Figure 3).

        Args:
            checkpoint: what `train` wrote.
            out: new file for the table, by default beside the checkpoint; one named
                .provenance.json says what made it.
            family: where the MDPs come from, if not whence training took its own; it has
                options, which --help then shows.
        """
        return lambda: run(checkpoint, out, other, evaluation)

    command.__annotations__ = {
        "checkpoint": tyro.conf.Positional[Path],
        "evaluation": options(EvaluationConfig, "evaluation", set()),
        "other": options(family, "family", fields_of(EvaluationConfig) | {"out", "family"}),
        "out": Path | None,
        "family": choices | None,
    }
    return command


def run(path: Path, out: Path | None, family: Any, config: EvaluationConfig) -> int:
    """Write the table, and print how well each policy ends."""
    began = time.perf_counter()
    with usage():
        trained = load(path)
        family = trained.family if family is None else family
        check_fit(trained.rule, family)
        if out is None:
            out = path.with_name(path.name.removesuffix(SUFFIX) + ".evaluation.csv")
        made_by = out.with_suffix(".provenance.json")
        for file in (out, made_by):
            _files.new_file(file)
    result = evaluate(trained.rule, trained.block, family, config)

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows(result))

    weights = b"".join(np.asarray(matrix).tobytes() for matrix in trained.matrices)
    record = {
        "evaluation": dataclasses.asdict(config),
        "family": {"name": _registry.name_of(type(family)), **dataclasses.asdict(family)},
        "checkpoint": trained.record,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        **provenance(),
    }
    text = json.dumps(record, indent=2, default=repr) + "\n"
    with usage(), _files.writing(out):
        _files.write_together({made_by: lambda path: path.write_text(text, "utf-8"), out: write})
    ends = {name: float(returns.exact[-1].mean()) for name, returns in result.returns.items()}
    low, high = ends["uniform", "policy"], ends["oracle", "policy"]
    row = "{:<12} {:<12} {:>12} {:>22}"
    say(row.format("agent", "policy_kind", "mean return", "uniform = 0, oracle = 1"))
    for (agent, kind), end in ends.items():
        scaled = (end - low) / (high - low) if high > low else float("nan")
        say(row.format(agent, kind, f"{end:.4f}", f"{scaled:.3f}"))
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0
