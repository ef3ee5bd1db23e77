"""The page about InContextTD says what its record says."""

import json
from pathlib import Path

import pandas as pd
import pytest

from icrl_flax.experiments import mean_interval

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "benchmarks" / "results" / "incontexttd.json"
PAGE = ROOT / "book" / "incontexttd.md"


def per_turn(record, layers):
    """ms per chain and seconds of the whole job, theirs and ours, for each turn."""
    times = [row for row in record["times, in turns"] if row["layers"] == layers]
    theirs = [row for row in times if row["whose"] == "theirs"]
    whole = [row["whole seconds"] for row in times if row.get("mrps") == 5000]
    short = [row["whole seconds"] for row in times if row.get("mrps") == 1000]
    for they, long, few in zip(theirs, whole, short, strict=True):
        each = they["training seconds"] / they["mrps"]
        yield 1e3 * each, 1e3 * (long - few) / 4000, they["import seconds"] + 5000 * each, long


@pytest.mark.parametrize("layers", [3, 1])
def test_times(layers):
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    turns = list(per_turn(record, layers))
    assert len(turns) == 3
    chain, ours, job, whole = (sum(column) / 3 for column in zip(*turns, strict=True))
    least = min(turn[0] / turn[1] for turn in turns), min(turn[2] / turn[3] for turn in turns)
    row = (
        f"| {layers} | {chain:.0f} ms | {ours:.1f} ms | {least[0]:.0f} "
        f"| {job / 60:.0f} min | {whole:.0f} s | {least[1]:.0f} |"
    )
    assert row in PAGE.read_text(encoding="utf-8")


def test_what_both_find():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    runs = pd.read_csv(ROOT / "results" / "trained_depth" / "runs.csv")
    ours = runs[(runs.variant == "main") & (runs.mdps == 250)]
    assert len(ours) == 20
    for row in record["theirs, on 100 held-out chains"]:
        assert (row["mrps"], row["runs"]) == (250, 10)
        mine = mean_interval(ours[row["measure"]].to_numpy())
        cells = [
            f"{x['mean']:.3f} ({x['low']:.3f} to {x['high']:.3f})" for x in (row, mine._asdict())
        ]
        assert f"| {cells[0]} | {cells[1]} |" in page
        if row["measure"] == "implicit_weights":  # the claim of the page
            assert mine.low > row["high"] or mine.mean >= row["mean"]
