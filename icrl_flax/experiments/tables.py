"""What a sweep finds: one row of results and one loss curve for each cell; as CSV and back."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from icrl_flax import _ambient
from icrl_flax.attention.weights import Effective
from icrl_flax.experiments import store
from icrl_flax.experiments.spec import Spec
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.result import TrainingResult

TAIL = 1000
"""Updates whose mean loss is the final one."""
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of all updates: where the table gives the loss."""
THRESHOLDS = ("1e-4", "1e-6", "1e-8")
"""Losses: the table says how many updates each took."""
BINS = 100
"""Points of each loss curve."""
RESULTS = (
    "updates",
    "final_loss",
    *(f"loss_at_{fraction}" for fraction in FRACTIONS),
    *(f"updates_to_{threshold}" for threshold in THRESHOLDS),
    "c",
    "cosine",
    "off_pattern",
    "diverged_at",
)
"""Columns of the table that hold results."""
_KINDS = dict.fromkeys(RESULTS, float) | {
    **dict.fromkeys(("cell", "seed", "update", "updates"), int),
    **dict.fromkeys(("axis", "rule.name", "family.name"), str),
}
"""Columns of one type in every table."""

Column = np.ndarray


@dataclasses.dataclass(frozen=True)
class Tables:
    """What a finished sweep found, as columns; `pandas.DataFrame` takes either table.

    Attributes:
        table: one row per cell: `cell`, `axis`, the settings, `seed`, and
            `RESULTS`. Losses are means over `TAIL` updates (the final one) or
            over one stage of the learning rate (`loss_at_…`, the share of all
            updates; `updates_to_…`, updates done when the mean of a stage is
            first that small, NaN if never). `c`, `cosine` and `off_pattern` are
            those of `Alignment`, NaN for softmax attention. `diverged_at` is the
            first update whose loss was not finite, the number of updates if only the
            last weights are not, NaN if there was none.
        curves: `cell`, `update` (done at the end of the bin) and `loss`, the
            geometric mean of the bin.
        out: the directory that they are from.
    """

    table: dict[str, Column]
    curves: dict[str, Column]
    out: Path

    def weights(self, cell: int | np.integer) -> Effective:
        """θ_eff at the end of a run, in the type that it was trained in.

        Args:
            cell: number of the run, in the column `cell`.

        Raises:
            ValueError: if the directory keeps no weights, or there is no such cell.
        """
        with _ambient.settled(x64=True):
            parts = store.read_weights(self.out, tensor_names(cell))
            return Effective(*map(jax.device_put, parts))


def read_sweep(out: Path | str) -> Tables:
    """The tables of a finished sweep.

    Raises:
        ValueError: if the directory holds none.
    """
    out = Path(out)
    try:
        table, curves = (
            (out / name).read_text(encoding="utf-8") for name in (store.TABLE, store.CURVES)
        )
    except FileNotFoundError as error:
        raise ValueError(f"{out} holds no finished sweep: it has no {store.TABLE}") from error
    return Tables(columns(table), columns(curves), out)


def tensor_names(cell: int | np.integer) -> list[str]:
    """What the parts of a cell's θ_eff are called in a file."""
    return [f"{cell}.{part}" for part in Effective._fields]


def found(run: TrainingResult) -> tuple[list[str], list[list[str]]]:
    """What one run has to say: the columns `RESULTS` and the loss curve."""
    config = run.config
    losses = np.full(config.updates, np.nan)  # as it stays where a run that diverged was given up
    losses[: run.losses.size] = run.losses
    stages = stage_means(losses, config)
    at = [stages[max(1, math.ceil(share * stages.size)) - 1] for share in FRACTIONS]
    stage = min(config.stage, losses.size)
    reached = [np.flatnonzero(stages <= float(threshold)) for threshold in THRESHOLDS]
    to = [(int(first[0]) + 1) * stage if first.size else "" for first in reached]
    closeness = ["", "", ""]
    if config.is_paper_block and config.tied:  # of which alone the theory speaks
        theory = run.alignment()
        with np.errstate(invalid="ignore"):  # of weights that are not finite
            # Several heads have a matrix for c.
            c = theory.c if np.ndim(theory.c) == 0 else np.linalg.det(theory.c)
        closeness = [float(value) for value in (c, theory.cosine, theory.off_pattern)]
    diverged_at = int(run.diverged_at) if run.diverged else ""
    values = [losses.size, losses[-TAIL:].mean(), *at, *to, *closeness, diverged_at]
    return list(map(text, values)), curve(losses)


def stage_means(
    losses: Float[np.ndarray, " updates"], config: TrainingConfig
) -> Float[np.ndarray, " stages"]:
    """Mean loss of each whole stage of the learning rate; of everything if there is none."""
    stage = min(config.stage, losses.size)
    whole = losses.size // stage * stage
    return losses[:whole].reshape(-1, stage).mean(axis=1)


def curve(losses: Float[np.ndarray, " updates"]) -> list[list[str]]:
    """Updates done and geometric mean of the loss for each of at most `BINS` bins."""
    count = min(BINS, losses.size)
    ends = [losses.size * (k + 1) // count for k in range(count)]
    # A loss of exactly 0 must not take its whole bin with it.
    logs = np.log(np.maximum(losses, np.finfo(np.float32).tiny))
    means = [logs[begin:end].mean() for begin, end in zip([0, *ends], ends, strict=False)]
    return [[str(end), text(np.exp(mean))] for end, mean in zip(ends, means, strict=True)]


def text(value: Any) -> str:
    """A value so that it reads back as itself."""
    return repr(float(value)) if isinstance(value, (float, np.floating)) else str(value)


def as_csv(spec: Spec, batches: list[dict[str, Any]]) -> tuple[str, str]:
    """The table and the curves."""
    rows, curves = {}, {}
    for batch in batches:
        rows |= zip(batch["cells"], batch["rows"], strict=True)
        curves |= zip(batch["cells"], batch["curves"], strict=True)
    table: list[list[Any]] = [["cell", "axis", *spec.columns, "seed", *RESULTS]]
    points: list[list[Any]] = [["cell", "update", "loss"]]
    for number, cell in enumerate(spec.cells):
        settings = map(text, cell.settings)
        table.append([number, cell.axis, *settings, cell.run.config.seed, *rows[number]])
        points += [[number, *point] for point in curves[number]]

    def lines(table: list[list[Any]]) -> str:
        file = io.StringIO(newline="")
        csv.writer(file, lineterminator="\n").writerows(table)
        return file.getvalue()

    return lines(table), lines(points)


def columns(text: str) -> dict[str, Column]:
    """CSV as columns: of the type that their name says, or for a setting of the first that fits.

    Empty is NaN among numbers with a point.
    """
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    found = {}
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        for kind in [_KINDS[name]] if name in _KINDS else (int, float, str):
            convert: Callable = (lambda cell: float(cell or "nan")) if kind is float else kind
            try:
                found[name] = np.array([convert(cell) for cell in cells], kind)
                break
            except ValueError:
                continue
    return found
