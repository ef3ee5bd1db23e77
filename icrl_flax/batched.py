"""Many runs of Algorithm 1 (or 2) at once, as the axes of one `jax.vmap`.

Runs of one batch may differ in their seeds and in every number that is no
static field: step sizes, ε, γ, the learning rate and its schedule's numbers,
the gain. What changes a shape or a program makes another batch.
"""

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from icrl_flax.algorithm import Algorithm
from icrl_flax.mdp import MDPFamily, RandomMDPs
from icrl_flax.stream import Examples, lives
from icrl_flax.training import (
    TrainingConfig,
    TrainingState,
    check_precision,
    chunk_size,
    chunks,
    in_order,
    keys,
    learn,
    matrices,
    start,
    without_seed,
)


class Run(NamedTuple):
    """All that one run of training depends on.

    Attributes:
        algorithm: the rule to imitate.
        config: the experiment.
        family: the distribution of MDPs.
    """

    algorithm: Algorithm
    config: TrainingConfig = TrainingConfig()
    family: MDPFamily = RandomMDPs()


def program(run: Run) -> Hashable:
    """What a run must share with the others of its batch: equal for those, and hashable."""
    setting = run._replace(config=without_seed(run.config))
    static = eqx.partition(setting, _is_number)[1]
    return jax.tree.structure(setting), tuple(jax.tree.leaves(static))


def _is_number(leaf) -> bool:
    return isinstance(leaf, (int, float, np.number, np.ndarray, jax.Array))


@dataclasses.dataclass(frozen=True)
class BatchReport:
    """Several blocks in training, one row each.

    Attributes:
        P: their D×D matrices P, float32 or float64.
        V: their D×D matrices V.
        losses: the loss of each update since the report before (for
            `train_batch`, since the start), each before its update; NaN from
            the first one on that is not finite.
        diverged_at: the number of that update, or −1. P and V of such a run
            are of no use; the others do not notice.
        mdps: MDPs done since the start, by each run.
        generation_seconds: wall time spent on MDPs, windows and targets since
            the report before (or the start), compilation included.
        update_seconds: wall time spent on updates, likewise.
    """

    P: Float[Array, "runs *heads D D"]
    V: Float[Array, "runs *heads D D"]
    losses: Float[np.ndarray, "runs updates"]
    diverged_at: Int[np.ndarray, " runs"]
    mdps: int
    generation_seconds: float
    update_seconds: float


def _stacked(runs: Sequence[Run]) -> Run:
    """One run whose numbers have an axis, in the type that training computes in."""
    dtype = runs[0].config.dtype
    plain = [run._replace(config=without_seed(run.config)) for run in runs]
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, dtype), *plain)


@eqx.filter_jit
def _start(keys: Key[Array, " runs"], batch: Run) -> TrainingState:
    return jax.vmap(lambda key, run: start(key, run.algorithm, run.config))(keys, batch)


@eqx.filter_jit  # of the configuration only what it needs: batches may share their data's program
def _generate(
    keys: Key[Array, " runs"],
    mdps: Int[Array, " m"],
    algorithms: Algorithm,
    families: MDPFamily,
    windows: int,
    n: int,
    dtype: DTypeLike,
) -> Examples:
    def one(key: Key[Array, ""], algorithm: Algorithm, family: MDPFamily) -> Examples:
        return lives(key, mdps, algorithm, family, windows, n, dtype)

    return jax.vmap(one)(keys, algorithms, families)


@eqx.filter_jit
def _learn(state: TrainingState, examples: Examples, batch: Run):
    def one(state: TrainingState, examples: Examples, run: Run):
        return learn(state, examples, run.algorithm, run.config)

    return jax.vmap(one)(state, examples, batch)


@eqx.filter_jit
def _matrices(state: TrainingState, batch: Run):
    return jax.vmap(lambda state, run: matrices(state, run.algorithm, run.config))(state, batch)


def training_batch(runs: Sequence[Run]) -> Iterator[BatchReport]:
    """Run Algorithm 1 (or 2) several times at once, reporting as `training_run` does.

    No run depends on which others are in its batch, but for rounding, and each is
    what `training_run` makes of it, but for rounding.

    Args:
        runs: at least one; all of one `program`.

    Yields:
        The start, with no losses, then a report for each chunk of MDPs.

    Raises:
        ValueError: if the runs do not fit into one batch, or their dtype is
            float64 and JAX's x64 mode is off.
    """
    if not runs:
        raise ValueError("runs must hold at least one run, got none")
    for number, run in enumerate(runs):
        if program(run) != program(runs[0]):
            raise ValueError(
                "runs must differ only in their seeds and in numbers that are no static "
                f"field, got {runs[0]} and, as number {number}, {run}"
            )
    config = without_seed(runs[0].config)
    check_precision(config)
    theta_keys, data_keys = map(jnp.stack, zip(*(keys(run.config) for run in runs), strict=True))
    batch = _stacked(runs)
    size = chunk_size(config, len(runs))
    state = _start(theta_keys, batch)

    def generate(first: int) -> Examples:
        n, dtype = config.window_length, jnp.dtype(config.dtype)
        mdps = first + jnp.arange(size)
        examples = _generate(
            data_keys, mdps, batch.algorithm, batch.family, config.windows, n, dtype
        )
        return jax.vmap(lambda one: in_order(one, config.mdps_per_update))(examples)

    def update(state: TrainingState, examples: Examples):
        return _learn(state, examples, batch)

    diverged_at = np.full(len(runs), -1)
    nothing = np.zeros((len(runs), 0), config.dtype)
    yield BatchReport(*_matrices(state, batch), nothing, diverged_at, 0, 0.0, 0.0)
    before = 0
    for chunk in chunks(state, config, size, generate, update, axis=1):
        losses = np.array(chunk.losses)
        lost = ~np.isfinite(losses)
        first_lost = np.where(lost.any(axis=1), before + lost.argmax(axis=1), -1)
        diverged_at = np.where(diverged_at < 0, first_lost, diverged_at)
        numbers = before + np.arange(losses.shape[1])
        losses[(diverged_at[:, None] >= 0) & (numbers >= diverged_at[:, None])] = np.nan
        before += losses.shape[1]
        yield BatchReport(
            *_matrices(chunk.state, batch),
            losses,
            diverged_at,
            chunk.mdps,
            chunk.generation_seconds,
            chunk.update_seconds,
        )


def train_batch(runs: Sequence[Run]) -> BatchReport:
    """Run Algorithm 1 (or 2) several times to the end; arguments and errors as above.

    Returns:
        The trained blocks, with the losses and times of the whole runs.
    """
    return summarise_batch(training_batch(runs))


def summarise_batch(reports: Iterable[BatchReport]) -> BatchReport:
    """The last report, with the losses and times of all of them.

    Args:
        reports: in order, the start first, as `training_batch` yields them.

    Raises:
        ValueError: if there is none.
    """
    last, losses, generation_seconds, update_seconds = None, [], 0.0, 0.0
    for report in reports:  # not kept: their matrices would fill the memory
        last = report
        losses.append(report.losses)
        generation_seconds += report.generation_seconds
        update_seconds += report.update_seconds
    if last is None:
        raise ValueError("reports must hold at least one report, got none")
    return dataclasses.replace(
        last,
        losses=np.concatenate(losses, axis=1),
        generation_seconds=generation_seconds,
        update_seconds=update_seconds,
    )
