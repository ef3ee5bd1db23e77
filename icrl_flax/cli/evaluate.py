"""`python -m icrl_flax evaluate`: a trained block in control, and its table."""

import csv
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from icrl_flax import _checks, _files, _registry
from icrl_flax.cli.console import say, usage
from icrl_flax.cli.options import fields_of, options
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.evaluation import (
    CSV_COLUMNS,
    Evaluation,
    EvaluationConfig,
    evaluate,
    rows,
)
from icrl_flax.control.live import live_control, rule_features
from icrl_flax.control.prediction import (
    PREDICTION_COLUMNS,
    PredictionErrors,
    evaluate_prediction,
    prediction_rows,
)
from icrl_flax.control.tasks import check_fit
from icrl_flax.experience.observations import (
    Fourier,
    ObservationFeatures,
    OneHot,
    Radial,
    TileCoding,
)
from icrl_flax.rules.prediction import PredictionRule
from icrl_flax.training.checkpoint import SUFFIX, load, provenance
from icrl_flax.training.result import TrainingResult


@dataclasses.dataclass(frozen=True)
class Live:
    """An environment that gives observations, and features of these.

    Args:
        env: name of one of Gymnasium's environments, with discrete actions, to act in.
        features: what turns observations into features; one-hot ones are for numbered ones.
        resolution: the order of fourier, the centres of radial, the tiles of tiles.
        scale: a factor on the features; it does what its square would do to the step size.
        low: the least number of each observation; the environment's own, if not given.
        high: the largest.
        discount: γ in [0, 1) there.
        environments: how many, side by side, each with chance of its own.
    """

    env: str | None = None
    features: Literal["fourier", "radial", "tiles", "one-hot"] = "fourier"
    resolution: int = 2
    scale: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    discount: float = 0.95
    environments: int = 10

    def made(self, space: Any) -> ObservationFeatures:
        """The features, for an environment's observations."""
        if self.features == "one-hot":
            if not hasattr(space, "n"):
                raise ValueError(f"features one-hot need numbered observations, got {space}")
            return OneHot(int(space.n), self.scale)
        if not self.low and not hasattr(space, "low"):
            raise ValueError(f"features {self.features} need observations of reals, got {space}")
        low, high = self.low or tuple(space.low), self.high or tuple(space.high)
        for name, ends in (("low", low), ("high", high)):
            if not np.isfinite(ends).all() or np.abs(ends).max() > 1e6:
                raise ValueError(
                    f"{name} must be given where the environment has none, got {ends}"
                )
        if self.features == "fourier":
            return Fourier(low, high, order=self.resolution, scale=self.scale)
        if self.features == "radial":
            return Radial(low, high, centres=self.resolution, scale=self.scale)
        return TileCoding(low, high, tiles=self.resolution, scale=self.scale)


def _environments(name: str, count: int) -> list[Any]:
    """So many of Gymnasium's environments.

    Raises:
        ValueError: if there is none of the name, or its actions are not numbered.
    """
    try:
        import gymnasium  # an extra
    except ImportError as error:
        raise ValueError(f"env needs the package gymnasium: {error}") from error
    try:
        places: list[Any] = [gymnasium.make(name) for _ in range(count)]
    except gymnasium.error.Error as error:
        raise ValueError(f"env: {error}") from error
    if not hasattr(places[0].action_space, "n"):
        raise ValueError(f"env: {name} must have numbered actions, got {places[0].action_space}")
    return places


def run_live(path: Path, out: Path | None, live: Live, config: EvaluationConfig) -> int:
    """Write the returns of all episodes, and print those of the last twenty."""
    began = time.perf_counter()
    with usage():
        trained = load(path)
        _checks.positive_integer("environments", live.environments)
        _checks.discount("discount", live.discount)
        places = _environments(str(live.env), live.environments)
        features = live.made(places[0].observation_space)
        seen = np.asarray(features(np.asarray(places[0].reset(seed=0)[0])))
        rule_features(trained.rule, seen.reshape(1, -1), int(places[0].action_space.n))
        out, made_by = _new_files(path, out)
    agents = {
        "block": BlockAgent.single(trained.rule, trained.block),
        "teacher": trained.rule.teacher,
    }
    lives = {
        name: live_control(
            places,
            trained.rule,
            agent,
            features,
            gamma=live.discount,
            windows=config.steps,
            n=config.window_length,
            seed=config.seed,
        )
        for name, agent in agents.items()
    }
    table = [
        (name, place, episode, float(value))
        for name, life in lives.items()
        for place, returns in enumerate(life.returns)
        for episode, value in enumerate(returns)
    ]
    record = {"evaluation": dataclasses.asdict(config), "live": dataclasses.asdict(live)}
    _write(out, made_by, trained, record, ("agent", "environment", "episode", "return"), table)
    lines: list[tuple[str, ...]] = [("agent", "mean return, last 20 episodes", "least", "largest")]
    for name, life in lives.items():
        last = life.last(20)
        lines.append((name, *(f"{each:.4g}" for each in (last.mean(), last.min(), last.max()))))
    _print(lines)
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


def command(family: type | None, choices: Any) -> Callable[..., Callable[[], int]]:
    """The command, with the options of a family's class if there is one."""

    def command(checkpoint, evaluation, live, other, out=None, family=None):
        """Put a trained block in control of held-out MDPs, beside its teacher (Figure 3).

        Of a rule that predicts, how far its values are from the exact ones. With --env it acts
        in an environment of Gymnasium's that gives observations, for --steps windows.

        Args:
            checkpoint: what `train` wrote.
            out: new file for the table, by default beside the checkpoint; one named
                .provenance.json says what made it.
            family: where the MDPs come from, if not whence training took its own; it has
                options, which --help then shows.
        """
        if live.env is None:
            return lambda: run(checkpoint, out, other, evaluation)
        return lambda: run_live(checkpoint, out, live, evaluation)

    command.__annotations__ = {
        "checkpoint": tyro.conf.Positional[Path],
        "evaluation": options(EvaluationConfig, "evaluation", set()),
        "live": options(Live, "live", set()),
        "other": options(family, "family", fields_of(EvaluationConfig, Live) | {"out", "family"}),
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
        out, made_by = _new_files(path, out)
        predicts = isinstance(trained.rule, PredictionRule)
        if predicts and config.every > config.steps:
            raise ValueError(f"every must be at most steps = {config.steps}, got {config.every}")
    if predicts:
        found = evaluate_prediction(trained.rule, trained.block, family, config)
        columns, table, lines = PREDICTION_COLUMNS, prediction_rows(found), _errors(found)
    else:
        result = evaluate(trained.rule, trained.block, family, config)
        columns, table, lines = CSV_COLUMNS, rows(result), _returns(result)

    record = {
        "evaluation": dataclasses.asdict(config),
        "family": {"name": _registry.name_of(type(family)), **dataclasses.asdict(family)},
    }
    _write(out, made_by, trained, record, columns, table)
    _print(lines)
    say(f"wrote {out} after {time.perf_counter() - began:.1f} s")
    return 0


def _new_files(path: Path, out: Path | None) -> tuple[Path, Path]:
    """Where the table goes, and what says how it was made."""
    if out is None:
        out = path.with_name(path.name.removesuffix(SUFFIX) + ".evaluation.csv")
    made_by = out.with_suffix(".provenance.json")
    for file in (out, made_by):
        _files.new_file(file)
    return out, made_by


def _write(
    out: Path,
    made_by: Path,
    trained: TrainingResult,
    record: dict[str, Any],
    columns: Sequence[str],
    table: Iterable[Sequence[Any]],
) -> None:
    """The table, and beside it what made it."""

    def write(path: Path) -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(table)

    weights = b"".join(np.asarray(matrix).tobytes() for matrix in trained.matrices)
    record |= {
        "checkpoint": trained.record,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        **provenance(),
    }
    text = json.dumps(record, indent=2, default=repr) + "\n"
    with usage(), _files.writing(out):
        _files.write_together({made_by: lambda path: path.write_text(text, "utf-8"), out: write})


def _print(lines: Sequence[Sequence[str]]) -> None:
    """A table, its columns as wide as what is in them."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        say("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())


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
