"""Many runs from one specification, and the tables that they make."""

from icrl_flax.experiments.executors import named
from icrl_flax.experiments.run import finished_cells, run_batch, sweep
from icrl_flax.experiments.spec import Spec, read_spec
from icrl_flax.experiments.tables import Tables, read_sweep, stage_means

__all__ = [
    "Spec",
    "Tables",
    "finished_cells",
    "named",
    "read_spec",
    "read_sweep",
    "run_batch",
    "stage_means",
    "sweep",
]
