"""Many runs of Algorithm 1 (or 2) at once: one `jax.vmap`, sharded over the devices.

Runs of one batch may differ in their seeds and in every number that is no
static field: step sizes, ε, γ, the learning rate and its schedule's numbers,
the gain. What changes a shape or a program makes another batch.

Each device holds as many runs as the others and takes them through the whole
training; no device ever waits for a number from another.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from icrl_flax.mdps.families import MDPFamily, RandomMDPs
from icrl_flax.rules.base import Rule
from icrl_flax.training.single import (
    TrainingConfig,
    TrainingState,
    check_precision,
    chunk_size,
    chunks,
    generation,
    in_order,
    keys,
    learn,
    matrices,
    start,
    without_seed,
)
from icrl_flax.training.stream import Examples, stream

Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]  JAX names it at run time


class Run(NamedTuple):
    """All that one run of training depends on.

    Attributes:
        rule: the rule to imitate.
        config: the experiment.
        family: the distribution of MDPs.
    """

    rule: Rule
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
        diverged_at: the number of that update, or −1; of the update to come, where
            a weight is not finite before any loss has shown it. P and V of such
            a run are of no use; the others do not notice.
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


RUNS = "runs"
"""The axis of the mesh."""
_ACCELERATOR = 32
"""How many times as many windows a card's memory may hold as a processor's cache should."""


def layout(runs: int, devices: Sequence[Device]) -> tuple[Mesh, int]:
    """The fewest of the devices that leave the fullest with as few runs as all of them would.

    Args:
        runs: how many, at least 1.
        devices: candidates, at least one, all of one platform.

    Returns:
        Those devices, and the number of runs on each; the last may lack some.
    """
    each = -(-runs // len(devices))
    return Mesh(np.array(devices[: -(-runs // each)]), (RUNS,)), each


def _each_run(mesh: Mesh, one: Callable, *arguments: Any) -> Any:
    """`one` for each run, on the device that holds the run; every leaf has the runs axis."""
    mapped = jax.vmap(one)
    spec = PartitionSpec(RUNS)
    # The check concerns collectives, of which there are none here.
    return jax.shard_map(mapped, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(
        *arguments
    )


@eqx.filter_jit
def _start(mesh: Mesh, keys: Key[Array, " runs"], batch: Run) -> TrainingState:
    return _each_run(mesh, lambda key, run: start(key, run.rule, run.config), keys, batch)


@eqx.filter_jit  # of the configuration only what it needs: batches may share their data's program
def _generate(
    mesh: Mesh,
    keys: Key[Array, " runs"],
    mdps: Int[Array, " m"],
    rules: Rule,
    families: MDPFamily,
    windows: int,
    n: int,
    dtype: DTypeLike,
) -> Examples:
    def one(key: Key[Array, ""], rule: Rule, family: MDPFamily) -> Examples:
        return stream(key, mdps, rule, family, windows, n, dtype)

    return _each_run(mesh, one, keys, rules, families)


@eqx.filter_jit
def _learn(mesh: Mesh, state: TrainingState, examples: Examples, batch: Run):
    def one(state: TrainingState, examples: Examples, run: Run):
        return learn(state, examples, run.rule, run.config)

    return _each_run(mesh, one, state, examples, batch)


@eqx.filter_jit
def _matrices(mesh: Mesh, state: TrainingState, batch: Run):
    return _each_run(mesh, lambda state, run: matrices(state, run.rule, run.config), state, batch)


def training_batch(
    runs: Sequence[Run], devices: Sequence[Device] | None = None
) -> Iterator[BatchReport]:
    """Run Algorithm 1 (or 2) several times at once, reporting as `training_run` does.

    No run depends on which others are in its batch, nor on the devices, but for
    rounding, and each is what `training_run` makes of it, but for rounding.

    Args:
        runs: at least one; all of one `program`.
        devices: where to run them, in equal parts; this process's, if not given.

    Yields:
        The start, with no losses, then a report for each chunk of MDPs.

    Raises:
        ValueError: if the runs do not fit into one batch, there is no device, or
            their dtype is float64 and JAX's x64 mode is off.
    """
    if not runs:
        raise ValueError("runs must hold at least one run, got none")
    devices = jax.local_devices() if devices is None else devices
    if not devices:
        raise ValueError("devices must hold at least one device, got none")
    for number, run in enumerate(runs):
        if program(run) != program(runs[0]):
            raise ValueError(
                "runs must differ only in their seeds and in numbers that are no static "
                f"field, got {runs[0]} and, as number {number}, {run}"
            )
    config = without_seed(runs[0].config)
    check_precision(config)
    mesh, each = layout(len(runs), devices)
    # Copies of the last run fill the last device; nobody hears of them.
    filled = [*runs, *[runs[-1]] * (each * mesh.size - len(runs))]
    theta_keys, data_keys = map(jnp.stack, zip(*(keys(run.config) for run in filled), strict=True))
    theta_keys, data_keys, batch = jax.device_put(
        (theta_keys, data_keys, _stacked(filled)), NamedSharding(mesh, PartitionSpec(RUNS))
    )
    on_a_card = devices[0].platform != "cpu"
    size = chunk_size(config, -(-each // _ACCELERATOR) if on_a_card else each)

    def generate(first: int) -> Examples:
        n, dtype = config.window_length, jnp.dtype(config.dtype)
        mdps = jnp.asarray(np.arange(first, first + size))
        examples = _generate(
            mesh, data_keys, mdps, batch.rule, batch.family, config.windows, n, dtype
        )
        return jax.vmap(lambda one: in_order(one, config.mdps_per_update))(examples)

    def update(state: TrainingState, examples: Examples):
        return _learn(mesh, state, examples, batch)

    def matrices(state: TrainingState) -> tuple[Array, Array]:
        P, V = _matrices(mesh, state, batch)
        return (P[: len(runs)], V[: len(runs)]) if len(filled) > len(runs) else (P, V)

    data = generation(config, size, generate)
    state = _start(mesh, theta_keys, batch)
    diverged_at = np.full(len(runs), -1)
    nothing = np.zeros((len(runs), 0), config.dtype)
    yield BatchReport(*matrices(state), nothing, diverged_at, 0, 0.0, 0.0)
    before = 0
    for chunk in chunks(state, config, size, data, update, axis=1):
        losses = np.array(chunk.losses[: len(runs)])
        lost = ~np.isfinite(losses)
        first_lost = np.where(lost.any(axis=1), before + lost.argmax(axis=1), -1)
        diverged_at = np.where(diverged_at < 0, first_lost, diverged_at)
        numbers = before + np.arange(losses.shape[1])
        losses[(diverged_at[:, None] >= 0) & (numbers >= diverged_at[:, None])] = np.nan
        before += losses.shape[1]
        P, V = matrices(chunk.state)
        sound = (np.isfinite(P) & np.isfinite(V)).all(axis=tuple(range(1, P.ndim)))
        diverged_at = np.where((diverged_at < 0) & ~sound, before, diverged_at)
        yield BatchReport(
            P,
            V,
            losses,
            diverged_at,
            chunk.mdps,
            chunk.generation_seconds,
            chunk.update_seconds,
        )


def train_batch(runs: Sequence[Run], devices: Sequence[Device] | None = None) -> BatchReport:
    """Run Algorithm 1 (or 2) several times to the end; arguments and errors as above.

    Returns:
        The trained blocks, with the losses and times of the whole runs.
    """
    return summarise_batch(training_batch(runs, devices))


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
