"""Algorithms 1 and 2: the one loop, over one run or over several side by side.

Runs that differ only in seeds, step sizes, rates, ε, γ and other numbers share one
program, `vmap` over them. Then the costs of an update that do not depend on how much
is computed (for matrices of a few kilobytes, most of them) are paid once for all of
them. Blocks keep the rule's own numbers as array leaves, so that another α compiles
nothing.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key

from icrl_flax import _ambient
from icrl_flax.mdps.families import MDPFamily, RandomMDPs, checked_sample
from icrl_flax.rules.base import Rule
from icrl_flax.training.blocks import block_of, initial_block
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.fit import fit
from icrl_flax.training.kept import kept
from icrl_flax.training.losses import Examples, Walks
from icrl_flax.training.prefetch import prefetch
from icrl_flax.training.result import Run, State, TrainingResult, joined
from icrl_flax.training.stream import is_number, stream

Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm]  JAX names it at run time

_CHUNK_WINDOWS = 5000
"""Windows generated together, in whole MDPs and over all runs. The data does not depend
on it; their tokens take 30 MB, and more gain no speed."""
_ACCELERATOR = 32
"""How many times as many windows a card's memory may hold as a processor's cache should."""
RUNS = "runs"
"""The axis of the mesh."""


def program(run: Run) -> Hashable:
    """What a run must share with the others of its batch: equal for those, and hashable."""
    run = run._replace(config=_without_seed(run.config))
    numbers, rest = eqx.partition(run, is_number)
    shapes = tuple(map(np.shape, jax.tree.leaves(numbers)))
    return jax.tree.structure(run), shapes, tuple(jax.tree.leaves(rest))


def _without_seed(config: TrainingConfig) -> TrainingConfig:
    """Runs that differ in their seeds share one program."""
    return dataclasses.replace(config, seed=0)


def _stacked(runs: Sequence[Run]) -> Run:
    """One run whose numbers have an axis, in the type that training computes in."""
    dtype = runs[0].config.dtype

    def stack(*leaves: Any) -> Any:
        if not is_number(leaves[0]):
            return leaves[0]
        array = np.asarray(leaves)
        return jnp.asarray(array, dtype if array.dtype.kind == "f" else None)

    plain = [run._replace(config=_without_seed(run.config)) for run in runs]
    return jax.tree.map(stack, *plain)


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
    """`one` for each run, on the device that holds the run; every array has the runs axis."""
    arrays, rest = eqx.partition(arguments, eqx.is_array)
    mapped = jax.vmap(lambda arrays: one(*eqx.combine(arrays, rest)))
    spec = PartitionSpec(RUNS)
    # The check concerns collectives, of which there are none here.
    return jax.shard_map(mapped, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)(arrays)


def _optimizer(config: TrainingConfig, own: optax.GradientTransformation | None):
    return config.make_optimizer() if own is None else own


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return _ambient.compiled(function, _ambient.loop_compiler())


@eqx.filter_jit
def _start(
    mesh: Mesh,
    keys: Key[Array, " runs"],
    batch: Run,
    own: optax.GradientTransformation | None,
) -> State:
    def one(key: Key[Array, ""], run: Run) -> State:
        theta = initial_block(key, run.rule, run.config).theta
        return State(theta, _optimizer(run.config, own).init(theta))

    return _each_run(mesh, one, keys, batch)


# Of the configuration only what it needs: batches may share their data's program.
def _generate(
    mesh: Mesh,
    keys: Key[Array, " runs"],
    mdps: Int[Array, " m"],
    rules: Rule,
    families: MDPFamily,
    windows: int,
    n: int,
    mdps_per_update: int,
    dtype: DTypeLike,
    how: dict[str, Any],
) -> Examples | Walks:
    def one(key: Key[Array, ""], rule: Rule, family: MDPFamily) -> Examples | Walks:
        examples = stream(key, mdps, rule, family, windows, n, dtype, **how)
        return in_order(examples, mdps_per_update)

    return _each_run(mesh, one, keys, rules, families)


def _learn(
    mesh: Mesh,
    state: State,
    examples: Examples | Walks,
    batch: Run,
    own: optax.GradientTransformation | None,
) -> tuple[State, Float[Array, "runs updates"], Bool[Array, " runs"]]:
    """The updates of a chunk; their losses; and whether all weights after it are finite."""

    def one(state: State, examples: Examples | Walks, run: Run):
        block = block_of(state.theta, run.rule, run.config)
        done = fit(block, _optimizer(run.config, own), examples, state.optimizer_state)
        theta = done.block.theta
        finite = jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(theta)]).all()
        return State(theta, done.optimizer_state), done.losses, finite

    return _each_run(mesh, one, state, examples, batch)


def in_order(examples: Examples | Walks, mdps_per_update: int) -> Any:
    """Streams of MDPs, in the order in which training consumes them.

    Args:
        examples: leading axes are MDP and window, as `stream` makes them.
        mdps_per_update: how many MDPs share an update; divides their number.

    Returns:
        The same with the update as the leading axis; if several MDPs share an
        update, they are a second axis.
    """

    def reorder(x: Array) -> Array:
        if mdps_per_update == 1:
            return x.reshape(-1, *x.shape[2:])
        x = x.reshape(-1, mdps_per_update, *x.shape[1:]).swapaxes(1, 2)
        return x.reshape(-1, *x.shape[2:])

    return jax.tree.map(reorder, examples)


def chunk_size(config: TrainingConfig, runs: int = 1) -> int:
    """MDPs to generate together for each of so many runs: whole updates, bounded memory.

    The largest number that leaves no shorter chunk at the end, which would need a
    program of its own, unless that is less than half of what memory allows.
    """
    together = config.mdps_per_update
    updates = config.mdps // together
    most = min(max(1, _CHUNK_WINDOWS // (config.windows * together * runs)), updates)
    even = next((size for size in range(most, most // 2, -1) if updates % size == 0), most)
    return even * together


def _runs(rule: Any, family: Any, config: Any) -> tuple[list[Run], bool]:
    """The runs that the arguments describe, and whether they have an axis."""
    parts = {"rule": rule, "family": family, "config": config}
    lengths = {name: len(part) for name, part in parts.items() if isinstance(part, (list, tuple))}
    if not lengths:
        return [Run(**parts)], False
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"rule, family and config must have equal lengths ≥ 1, got {lengths}")
    count = next(iter(lengths.values()))
    columns = [part if name in lengths else [part] * count for name, part in parts.items()]
    return [Run(*row) for row in zip(*columns, strict=True)], True


def _check(runs: Sequence[Run]) -> None:
    """Refuse what no program can be made of, before one is."""
    for number, run in enumerate(runs):
        for name, kind in (("rule", Rule), ("family", MDPFamily), ("config", TrainingConfig)):
            value = getattr(run, name)
            if not isinstance(value, kind):
                raise ValueError(f"{name} must be a {kind.__name__}, got {value!r}")
        try:
            different = program(run) != program(runs[0])
        except TypeError as error:
            raise ValueError(
                f"family and rule must be hashable but for their numbers, as Equinox modules and "
                f"frozen dataclasses are, got {run.rule!r} and {run.family!r}: {error}"
            ) from error
        if different:
            raise ValueError(
                "runs must differ only in their seeds and in numbers that are no static "
                f"field, got {runs[0]} and, as number {number}, {run}"
            )


def own_devices() -> list[Device]:
    """Where to compute: the caller's default device if there is one, or all of this process."""
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is None:
        return jax.local_devices()
    return [jax.local_devices(backend=chosen)[0] if isinstance(chosen, str) else chosen]


Keys = tuple[Key[Array, " runs"], Key[Array, " runs"]]


@jax.jit
def _keys(seeds: Int[Array | np.ndarray, " runs"]) -> Keys:
    pairs = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds)
    return pairs[:, 0], pairs[:, 1]


def keys(seeds: Sequence[int]) -> Keys:
    """Randomness of runs: for the start of θ, and for the data.

    In 64 bits whatever the type of the runs, for JAX would cut the seeds to 32.
    """
    with _ambient.settled(x64=True):
        return _keys(np.asarray(seeds, np.int64))


def _results(
    runs: list[Run],
    several: bool,
    optimizer: optax.GradientTransformation | None,
    devices: Sequence[Device],
    start: TrainingResult | None,
) -> Iterator[TrainingResult]:
    """The loop of `train_iter`: nothing of it runs under the caller's settings, or leaves its own.

    They hold from one result to the next, and not while it waits: the caller's do then.
    """
    config = _without_seed(runs[0].config)
    mesh, each = layout(len(runs), devices)
    place = NamedSharding(mesh, PartitionSpec(RUNS))
    # Copies of the last run fill the last device; nobody hears of them.
    filled = [*runs, *[runs[-1]] * (each * mesh.size - len(runs))]
    on_a_card = devices[0].platform != "cpu"
    how = {name: getattr(config, name) for name in ("objective", "prompt", "queries")}
    how["sweeps"] = config.layers
    size = chunk_size(config, -(-each // _ACCELERATOR) if on_a_card else each)
    done = 0 if start is None else start.mdps
    diverged_at = np.full(len(runs), -1)
    if start is not None:
        diverged_at[:] = start.diverged_at

    def settled() -> Any:
        return _ambient.settled(config.dtype == "float64")

    def chunk(first: int) -> tuple[Any, ...]:
        """What a chunk is made of, given the number of its first MDP."""
        return (
            mesh,
            data_keys,
            jnp.asarray(np.arange(first, min(first + size, config.mdps))),
            batch.rule,
            batch.family,
            config.windows,
            config.window_length,
            config.mdps_per_update,
            jnp.dtype(config.dtype),
            how,
        )

    def generated(first: int) -> tuple[Examples | Walks, float]:
        """The examples of a chunk, and the seconds that they took."""
        began = time.perf_counter()
        examples = jax.block_until_ready(_compiled(_generate)(*chunk(first)))
        return examples, time.perf_counter() - began

    def compile_learner() -> None:
        """While the first chunk is made; JAX does not compile it again."""
        blank = jax.tree.map(
            lambda x: jax.device_put(np.zeros(x.shape, x.dtype), place),
            eqx.filter_eval_shape(_generate, *chunk(done)),
        )
        learn: Any = _compiled(_learn)  # Equinox gives it `lower`
        learn.lower(mesh, state, blank, batch, optimizer).compile()

    def result(
        losses: Float[np.ndarray, "runs updates"], generation: float, update: float
    ) -> TrainingResult:
        """How things stand."""
        at = diverged_at if several else int(diverged_at[0])
        losses = losses if several else losses[0]
        return TrainingResult(tuple(runs), several, state, losses, at, done, generation, update)

    def advance() -> TrainingResult:
        """Learn from the next chunk."""
        nonlocal state, diverged_at, done
        examples, generation_seconds = next(data)
        began = time.perf_counter()
        state, losses, finite = _compiled(_learn)(mesh, state, examples, batch, optimizer)
        losses, finite = (np.array(x)[: len(runs)] for x in (losses, finite))
        update_seconds = time.perf_counter() - began
        before = done // config.mdps_per_update * config.windows
        diverged_at = _note_divergence(diverged_at, losses, finite, before)
        done = min(done + size, config.mdps)
        return result(losses, generation_seconds, update_seconds)

    theta_keys, data_keys = keys([run.config.seed for run in filled])
    with settled():  # the data's thread first, then θ, then the learner's program
        arrays, rest = eqx.partition(_stacked(filled), eqx.is_array)
        theta_keys, data_keys, arrays = jax.device_put((theta_keys, data_keys, arrays), place)
        batch = eqx.combine(arrays, rest)
        data = prefetch(generated, range(done, config.mdps, size), settled)
        if start is None:
            state = _start(mesh, theta_keys, batch, optimizer)
        else:
            shapes = eqx.filter_eval_shape(_start, mesh, theta_keys, batch, optimizer)
            state = jax.device_put(_resumed(start.rows(len(filled)), shapes), place)
    yield result(np.zeros((len(runs), 0), config.dtype), 0.0, 0.0)

    compiled = False
    while done < config.mdps and (diverged_at < 0).any():
        with settled():
            if not compiled:
                compile_learner()
                compiled = True
            current = [advance()]
        yield current.pop()  # and keep nothing of it
    data.close()


def _resumed(state: State, shapes: State) -> State:
    """A state to go on from. Of an optimiser's, a file keeps the leaves alone."""
    leaves, wanted = jax.tree.leaves(state), jax.tree.leaves(shapes)
    if [x.shape for x in leaves] != [x.shape for x in wanted]:
        raise ValueError(
            f"start must have the state of the same optimizer, got {len(leaves)} arrays for "
            f"{len(wanted)}"
        )
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)


def _note_divergence(
    diverged_at: Int[np.ndarray, " runs"],
    losses: Float[np.ndarray, "runs updates"],
    finite: Bool[np.ndarray, " runs"],
    before: int,
) -> Int[np.ndarray, " runs"]:
    """The first update of each run that is not finite; its losses are NaN from there on."""
    lost = ~np.isfinite(losses)
    first_lost = np.where(lost.any(axis=1), before + lost.argmax(axis=1), -1)
    diverged_at = np.where(diverged_at < 0, first_lost, diverged_at)
    numbers, at = before + np.arange(losses.shape[1]), diverged_at[:, None]
    losses[(at >= 0) & (numbers >= at)] = np.nan
    return np.where((diverged_at < 0) & ~finite, before + losses.shape[1], diverged_at)


def train_iter(
    rule: Rule | Sequence[Rule],
    family: MDPFamily | Sequence[MDPFamily] | None = None,
    config: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    devices: Sequence[Device] | None = None,
    start: TrainingResult | None = None,
) -> Iterator[TrainingResult]:
    """Run Algorithm 1 (or 2), telling how it goes after about every 5000 updates.

    Stop iterating to stop training: the last result holds a usable block. Where any of
    the first three arguments is a sequence, so many runs go side by side, each as it
    would go alone, but for rounding. If a loss or weight of a run is not finite its
    `diverged_at` says when, and the others do not notice; when all have diverged, that is
    the end.

    Args:
        rule: the rule to imitate.
        family: the distribution of MDPs; the paper's if not given.
        config: the experiment; the paper's if not given.
        optimizer: any Optax optimiser; `config.make_optimizer()` if not given.
        devices: where to compute, in equal parts; this process's devices, if not given.
        start: a result to go on from, of the same runs: what follows is, bit for bit,
            what would have followed.

    Yields:
        The start, with no losses, then a result for each chunk of MDPs, with the losses
        since the one before it.

    Raises:
        ValueError: if the runs do not fit together or there is no device.
    """
    family = RandomMDPs() if family is None else family
    config = TrainingConfig() if config is None else config
    runs, several = _runs(rule, family, config)
    _check(runs)
    config = runs[0].config
    devices = own_devices() if devices is None else devices
    if not devices:
        raise ValueError("devices must hold at least one device, got none")
    if start is not None and (start.runs != tuple(runs) or start.several != several):
        raise ValueError(f"start must be of the same runs, got {start.runs[0]} for {runs[0]}")

    with _ambient.settled(config.dtype == "float64"):
        for family in {id(run.family): run.family for run in runs}.values():
            checked_sample(family, jax.random.key(0), jnp.dtype(config.dtype))
    yield from _results(runs, several, optimizer, devices, start)


def train(
    rule: Rule | Sequence[Rule],
    family: MDPFamily | Sequence[MDPFamily] | None = None,
    config: TrainingConfig | Sequence[TrainingConfig] | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    devices: Sequence[Device] | None = None,
    start: TrainingResult | None = None,
    throw: bool = False,
) -> TrainingResult:
    """Run Algorithm 1 (or 2) to its end; arguments and errors as for `train_iter`.

    Where the environment variable ICRL_RUNS names a folder, a run by itself, with nothing said
    after its configuration, is kept there, and read from it the next time.

    Args:
        rule: the rule to imitate.
        family: the distribution of MDPs; the paper's if not given.
        config: the experiment; the paper's if not given.
        optimizer: any Optax optimiser; `config.make_optimizer()` if not given.
        devices: where to compute; this process's devices, if not given.
        start: a result to go on from.
        throw: whether a run that diverges is an exception, and not only a value.

    Returns:
        The trained block or blocks, with the losses and times of the whole runs.

    Raises:
        FloatingPointError: with `throw`, if a loss or a weight is not finite.
    """

    def anew() -> TrainingResult:
        results = train_iter(
            rule, family, config, optimizer=optimizer, devices=devices, start=start
        )
        if start is not None:
            next(results)
            results = itertools.chain([start], results)
        return joined(results)

    runs, several = _runs(
        rule,
        RandomMDPs() if family is None else family,
        TrainingConfig() if config is None else config,
    )
    plain = not several and optimizer is None and devices is None and start is None
    result = kept(runs[0], anew) if plain else anew()
    if throw and np.any(result.diverged):
        raise FloatingPointError(f"a loss or weight is not finite at update {result.diverged_at}")
    return result
