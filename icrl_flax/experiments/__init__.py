"""Many runs from one specification, the tables that they make, and what these say."""

from icrl_flax.experiments.executors import named
from icrl_flax.experiments.experiment import Experiment, for_each, read_experiment
from icrl_flax.experiments.printed import AsPrinted
from icrl_flax.experiments.run import finished_cells, run_batch, sweep
from icrl_flax.experiments.spec import Spec, read_spec
from icrl_flax.experiments.statistics import (
    Interval,
    bootstrap_interval,
    exponent,
    interquartile_mean,
    mean_interval,
    share_of_oracle,
)
from icrl_flax.experiments.tables import Tables, read_sweep, stage_means

__all__ = [
    "AsPrinted",
    "Experiment",
    "Interval",
    "Spec",
    "Tables",
    "bootstrap_interval",
    "exponent",
    "finished_cells",
    "for_each",
    "interquartile_mean",
    "mean_interval",
    "named",
    "read_experiment",
    "read_spec",
    "read_sweep",
    "run_batch",
    "share_of_oracle",
    "stage_means",
    "sweep",
]
