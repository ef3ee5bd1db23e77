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
from icrl_flax.control.evaluation import (
    CSV_COLUMNS,
    Evaluation,
    EvaluationConfig,
    evaluate,
    rows,
)
from icrl_flax.control.prediction import (
    PREDICTION_COLUMNS,
    PredictionErrors,
    evaluate_prediction,
    prediction_rows,
)
from icrl_flax.control.tasks import check_fit
from icrl_flax.rules.prediction import PredictionRule
from icrl_flax.training.checkpoint import SUFFIX, load, provenance


def command(family: type | None, choices: Any) -> Callable[..., Callable[[], int]]:
    """The command, with the options of a family's class if there is one."""

    def command(checkpoint, evaluation, other, out=None, family=None):
        """Put a trained block in control of held-out MDPs, beside its teacher (Figure 3).

        Of a rule that predicts, how far its values are from the exact ones.

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
    """Write the table, and print how well each policy, or each prediction, ends."""
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
        predicts = isinstance(trained.rule, PredictionRule)
        if predicts and config.every > config.steps:
            raise ValueError(f"every must be at most steps = {config.steps}, got {config.every}")
    if predicts:
        found = evaluate_prediction(trained.rule, trained.block, family, config)
        columns, table, lines = PREDICTION_COLUMNS, prediction_rows(found), _errors(found)
    else:
        result = evaluate(trained.rule, trained.block, family, config)
        columns, table, lines = CSV_COLUMNS, rows(result), _returns(result)

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(table)

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
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        say("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


def _returns(result: Evaluation) -> list[tuple[str, ...]]:
    """Where each policy ends."""
    ends = {name: float(returns.exact[-1].mean()) for name, returns in result.returns.items()}
    low, high = ends["uniform", "policy"], ends["oracle", "policy"]
    lines = [("agent", "policy_kind", "mean return", "uniform = 0, oracle = 1")]
    for (agent, kind), end in ends.items():
        scaled = (end - low) / (high - low) if high > low else float("nan")
        lines.append((agent, kind, f"{end:.4f}", f"{scaled:.3f}"))
    return lines


PREDICTORS = {
    "block": "block",
    "teacher": "teacher",
    "difference": "block less teacher",
    "lstd": "least squares (LSTD), same data",
    "features": "the best that the features allow",
    "zero": "values 0",
}


def _errors(found: PredictionErrors) -> list[tuple[str, ...]]:
    """How far the values of each are from the exact ones in the end."""
    ends = {name: float(found.errors[name][-1].mean()) for name in PREDICTORS}
    lines = [("values of", "mean squared value error", "values 0 = 1")]
    for name, label in PREDICTORS.items():
        scaled = ends[name] / ends["zero"] if ends["zero"] else float("nan")
        lines.append((label, f"{ends[name]:.3e}", f"{scaled:.3g}"))
    return lines
