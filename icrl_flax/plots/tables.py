"""Tables that several chapters show, as data frames."""

from collections.abc import Iterable

import pandas as pd

from icrl_flax.training.result import TrainingResult, mean_loss
from icrl_flax.verification import Verdict


def verdict_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """The verdicts of `icrl_flax.verify`, one a row, and whether each holds."""
    return pd.DataFrame([{**each._asdict(), "holds": each.holds} for each in verdicts])


def run_table(results: Iterable[TrainingResult]) -> pd.DataFrame:
    """Where runs of linear attention ended: loss, scale and fit to the theory, by seed."""
    rows = {}
    for result in results:
        c, _, cosine, off_pattern = result.alignment()
        rows[result.config.seed] = {
            "loss, last 1000": mean_loss(result.losses[-1000:]),
            "c": float(c),
            "cosine": float(cosine),
            "off pattern": float(off_pattern),
        }
    return pd.DataFrame.from_dict(rows, "index").rename_axis("seed")
