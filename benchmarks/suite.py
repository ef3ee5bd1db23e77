"""The measurements: each yields rows of a tidy table, its eager counterpart beside it.

Every time is the shortest of several, so that a busy machine disturbs it little; only
`sweeps` takes so long that it runs once.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import eager
from benchmarks.floor import best, count, floor_seconds, rates
from icrl_flax import (
    ActorCritic,
    EffectiveBlock,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    sweep,
    train_iter,
)
from icrl_flax.control.agents import BlockAgent
from icrl_flax.control.closed_loop import closed_loop
from icrl_flax.control.evaluation import EvaluationConfig, draw_tasks, evaluate
from icrl_flax.theory.flow import gradient_flow
from icrl_flax.theory.population import draw_population

ROOT = Path(__file__).resolve().parent.parent
RULES = {"sarsa": Sarsa(), "actor-critic": ActorCritic()}
WINDOWS = 50  # updates for each MDP


class Scale(NamedTuple):
    """How much to measure.

    Attributes:
        rules: of which rules.
        mdps: of a whole run.
        chunks: of 100 MDPs each, of which the fastest counts.
        eager_mdps: of the eager version.
        tasks: MDPs of the closed loop.
        steps: windows of the closed loop.
        population: windows of the gradient flow's loss.
        seeds: runs in a batch.
        batch_mdps: of each of them.
        memory: how many times as many MDPs the run has that shows its memory.
    """

    rules: tuple[str, ...] = ("sarsa", "actor-critic")
    mdps: int = 10_000
    chunks: int = 20
    eager_mdps: int = 6
    tasks: int = 100
    steps: int = 1500
    population: int = 200
    seeds: int = 32
    batch_mdps: int = 500
    memory: int = 4


PAPER = Scale()
QUICK = Scale(
    rules=("sarsa",),
    mdps=1,
    chunks=1,
    eager_mdps=1,
    tasks=2,
    steps=4,
    population=5,
    seeds=2,
    batch_mdps=2,
    memory=1,
)

Row = dict[str, Any]


def row(name: str, rule: str, unit: str, value: float, eager_value: float | None = None) -> Row:
    """One measurement; the ratio says how many times as fast as eager NumPy it is."""
    ratio = None if eager_value is None else eager_value / value
    return {
        "name": name,
        "rule": rule,
        "unit": unit,
        "value": value,
        "eager": eager_value,
        "ratio": ratio,
    }


def _eager_seconds(name: str, scale: Scale) -> tuple[float, float]:
    """Seconds per update of the eager version: generation, optimisation."""
    rng, rule = np.random.default_rng(0), eager.RULES[name]()
    theta = eager.draw_theta(rng, rule.p, rule.q)
    adam = eager.Adam(theta)
    made, learnt = float("inf"), float("inf")
    for _ in range(scale.eager_mdps):
        began = time.perf_counter()
        data = list(eager.examples(rng, rule, WINDOWS))
        generated = time.perf_counter()
        theta, _ = eager.learn(theta, adam, data)
        made = min(made, (generated - began) / WINDOWS)
        learnt = min(learnt, (time.perf_counter() - generated) / WINDOWS)
    return made, learnt


def updates(scale: Scale) -> Iterator[Row]:
    """Generation and optimisation of a warm run, in µs per update."""
    for name in scale.rules:
        rule = RULES[name]
        made, learnt = _eager_seconds(name, scale)
        mdps = 100 * (scale.chunks + 1)
        chunks = list(train_iter(rule, config=TrainingConfig(mdps=mdps)))[2:]  # the first compiles
        for what, field, slow in (
            ("generation", "generation_seconds", made),
            ("optimisation", "update_seconds", learnt),
        ):
            fast = min(getattr(chunk, field) / chunk.losses.size for chunk in chunks)
            yield row(what, name, "µs per update", 1e6 * fast, 1e6 * slow)


def bounds(scale: Scale) -> Iterator[Row]:
    """Operations, bytes and the least time of an update on one core."""
    machine = rates()
    yield row("arithmetic rate", "", "Gflop/s", machine.flops_per_second / 1e9)
    yield row("cache rate", "", "GB/s", machine.bytes_per_second / 1e9)
    for name in scale.rules:
        rule = RULES[name]
        work = count(rule.p, rule.q)
        yield row("parameters", name, "1", work.parameters)
        yield row("operations", name, "flop per update", work.flops)
        yield row("traffic", name, "bytes per update", work.bytes)
        yield row("floor", name, "µs per update", 1e6 * floor_seconds(work, machine))


# A small process between this one and the measured one: Linux counts the memory of the
# process that starts another as the other's, until that has its own program.
_WATCH = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
null = subprocess.DEVNULL
status = subprocess.run(sys.argv[1:], stdout=null, stderr=null).returncode
seconds = time.perf_counter() - began
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
sys.exit(status)
"""


@functools.cache  # where the lengths are the same, so is the run
def _process(name: str, mdps: int, programs: str | None = None) -> tuple[float, ...]:
    """The least of two runs, as of every time here, for each figure of `icrl_flax train`.

    Args:
        name: the rule.
        mdps: how many MDPs.
        programs: folder that keeps compiled programs; none are kept if not given.
    """
    arguments = ["train", name, "--mdps", str(mdps)]
    runs = (_watch(arguments, programs) for _ in range(2))
    return tuple(map(min, zip(*runs, strict=True)))


def _watch(arguments: list[str], programs: str | None = None) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak resident bytes of one command.

    Args:
        arguments: of `icrl_flax`, without `--out`.
        programs: as for `_process`.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "icrl_flax", *arguments, "--out", f"{folder}/out"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        if programs is not None:
            environment["JAX_COMPILATION_CACHE_DIR"] = programs
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        watched = [sys.executable, "-c", _WATCH, *command]
        done = subprocess.run(watched, env=environment, stdout=subprocess.PIPE, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with status {done.returncode}")
    seconds, work, memory = json.loads(done.stdout)
    return seconds, work, memory * (1 if sys.platform == "darwin" else 1024)


def processes(scale: Scale) -> Iterator[Row]:
    """Whole runs in processes of their own; start-up and compilation apart."""
    for name in scale.rules:
        made, learnt = _eager_seconds(name, scale)
        start, start_work, _ = _process(name, 1)
        seconds, work, memory = _process(name, scale.mdps)
        whole = WINDOWS * scale.mdps * (made + learnt)
        yield row("start-up and compilation", name, "s", start)
        yield row("start-up and compilation, all cores", name, "processor s", start_work)
        if scale.mdps > 1:
            with tempfile.TemporaryDirectory() as folder:
                _process(name, 1, folder)
                kept, *_ = _process(name, 2, folder)
            yield row("start-up with compiled programs kept", name, "s", kept)
        yield row("whole run", name, "s", seconds, whole)
        yield row("whole run, all cores", name, "processor s", work)
        yield row("peak memory", name, "MB", memory / 1e6)


def memories(scale: Scale) -> Iterator[Row]:
    """Peak memory of longer runs, of which 4 bytes per update are the losses."""
    for name in scale.rules:
        *_, memory = _process(name, scale.memory * scale.mdps)
        yield row(f"peak memory, {scale.memory} times as long", name, "MB", memory / 1e6)


def sweeps(scale: Scale) -> Iterator[Row]:
    """Many whole runs by one command, in units of the time of one whole run."""
    for name in scale.rules:
        with tempfile.TemporaryDirectory() as folder:
            grid = Path(folder) / "grid.toml"
            settings = f'rule.name = "{name}"\ntraining.mdps = {scale.mdps}\n'
            grid.write_text(f"seeds = {scale.seeds}\n{settings}", encoding="utf-8")
            many, *_ = _watch(["sweep", str(grid)])
        one, *_ = _process(name, scale.mdps)
        yield row(f"{scale.seeds} whole runs", name, "s", many)
        yield row(f"{scale.seeds} whole runs, in runs of one", name, "1", many / one)


def _eager_loop(name: str, scale: Scale) -> float:
    """Seconds per window of an eager block in closed loop."""
    rng, rule = np.random.default_rng(0), eager.RULES[name]()
    P12, V21 = eager.draw_theta(rng, rule.p, rule.q)
    shortest = float("inf")
    for _ in range(scale.eager_mdps):
        began = time.perf_counter()
        mdp = eager.draw_mdp(rng)
        features, u = rule.draw_features(rng, mdp), rng.uniform(-1, 1, rule.q)
        state = eager.choose(rng, mdp.initial)
        for _ in range(WINDOWS):
            window = eager.rollout(rng, mdp, rule.behaviour(features, u), state, 20)
            tokens = rule.tokens(features, u, window, mdp.gamma)
            direction = P12 @ np.concatenate([[1.0], u])
            u, state = u + V21 @ (tokens.T @ (tokens @ direction)) / 20, window[0][-1]
        shortest = min(shortest, (time.perf_counter() - began) / WINDOWS)
    return shortest


def closed_loops(scale: Scale) -> Iterator[Row]:
    """A block in control of many MDPs, and the whole evaluation of Figure 3."""
    config = EvaluationConfig(n_mdps=scale.tasks, steps=scale.steps)
    for name in scale.rules:
        rule = RULES[name]
        slow = _eager_loop(name, scale)
        block = EffectiveBlock(rule.optimum(jnp.float32))
        agent = BlockAgent(rule, block)
        tasks, keys = draw_tasks(rule, config=config)
        seconds = best(
            lambda w=tasks, k=keys, r=rule, b=agent: jax.block_until_ready(
                closed_loop(k, w, r, b, scale.steps, 20)
            )
        )
        each = seconds / (scale.tasks * scale.steps)
        yield row("closed loop", name, "µs per window", 1e6 * each, 1e6 * slow)
        began = time.perf_counter()
        evaluate(rule, block, config=config)
        yield row("evaluation, compiling", name, "s", time.perf_counter() - began)


def flow(scale: Scale) -> Iterator[Row]:
    """Gradient flow on a population, for each evaluation of its gradient (six a step)."""
    for name in scale.rules:
        rule = RULES[name]
        with jax.enable_x64(True):
            population = draw_population(jax.random.key(0), rule, RandomMDPs(), scale.population)
            optimum = rule.optimum(jnp.float64)
            delta = jax.tree.map(lambda leaf: 0.1 * jnp.ones_like(leaf), optimum)
            times = jnp.array([0.0, 10.0])

            def solve(population=population, delta=delta, times=times):
                return jax.block_until_ready(gradient_flow(population, 1.0, delta, times))

            steps = int(solve().steps)
            fast = best(solve) / (6 * steps)
            P12, V21 = (np.asarray(o + d) for o, d in zip(optimum, delta, strict=True))
            tokens, u = np.asarray(population.tokens), np.asarray(population.u)

        def slow(theta=(P12, V21), tokens=tokens, u=u):
            total = [np.zeros_like(block) for block in theta]
            for x, each in zip(tokens, u, strict=True):
                _, gradients = eager.loss_and_gradients(theta, x, each, each)
                total = [a + b for a, b in zip(total, gradients, strict=True)]
            return total

        yield row("gradient flow", name, "µs per gradient", 1e6 * fast, 1e6 * best(slow))


def _sweep_seconds(name: str, mdps: int, seeds: int) -> float:
    settings = {
        "seeds": seeds,
        "batch": max(1, seeds // 2),
        "rule": {"name": name},
        "training": {"mdps": mdps},
    }
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        sweep(settings, Path(folder) / "sweep")
        return time.perf_counter() - began


def batches(scale: Scale) -> Iterator[Row]:
    """Many seeds at once, in units of one seed's time, compilation apart in both."""
    mdps = scale.batch_mdps
    for name in scale.rules:
        rule = RULES[name]
        _sweep_seconds(name, mdps, scale.seeds)  # compiles
        many = min(_sweep_seconds(name, mdps, scale.seeds) for _ in range(2))
        one = float("inf")
        for _ in range(2):
            chunks = train_iter(rule, config=TrainingConfig(mdps=mdps + 100))
            next(chunks)
            next(chunks)
            began = time.perf_counter()
            done = sum(chunk.losses.size for chunk in chunks)
            one = min(one, (time.perf_counter() - began) / done)
        many /= mdps * WINDOWS
        yield row(f"{scale.seeds} seeds", name, "µs per update of all", 1e6 * many)
        yield row(f"{scale.seeds} seeds, in runs of one seed", name, "1", many / one)


SUITE: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "floor": bounds,
    "updates": updates,
    "processes": processes,
    "memory": memories,
    "sweep": sweeps,
    "closed-loop": closed_loops,
    "flow": flow,
    "batch": batches,
}
