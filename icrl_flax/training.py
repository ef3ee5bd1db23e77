"""Algorithms 1 and 2: the block learns to answer as the teacher does."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._precision import full_precision
from icrl_flax.algorithm import Algorithm
from icrl_flax.block import LinearAttentionBlock, initial_effective
from icrl_flax.lemma_c1 import bilinear_term
from icrl_flax.mdp import MDPFamily, RandomMDPs
from icrl_flax.prompt import embed
from icrl_flax.stream import Examples, lives

# Windows generated together, in whole MDPs. The data does not depend on it; their
# tokens take 30 MB, and more gain no speed.
_CHUNK_WINDOWS = 5000


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How to train: the defaults are the paper's experiment (§4).

    Args:
        seed: seed of all randomness.
        mdps: number K of MDPs, each lived through once.
        windows: windows per MDP, hence updates per MDP. The paper's T = 1000
            frames make 50 windows of 20 transitions; its Algorithm 1, read
            literally, makes 1000.
        window_length: transitions n per window.
        learning_rate: Adam's first learning rate.
        decay: factor on the learning rate …
        decay_every: … each time this many MDPs are done.
        gain: Xavier gain of the start of P12 and V̄21.
        parameters: train θ_eff alone, which by Proposition 3.1 is the same and
            some twenty times cheaper, or all 2D² entries of P and V.
        dtype: floating-point type; float64 needs JAX's x64 mode.

    Raises:
        ValueError: if a value is out of range.
    """

    seed: int = 0
    mdps: int = 10_000
    windows: int = 50
    window_length: int = 20
    learning_rate: float = 1e-3
    decay: float = 0.99
    decay_every: int = 10
    gain: float = 0.1
    parameters: Literal["effective", "full"] = "effective"
    dtype: Literal["float32", "float64"] = "float32"

    def __post_init__(self):
        _checks.seed("seed", self.seed)
        for name in ("mdps", "windows", "window_length", "decay_every"):
            _checks.positive_integer(name, getattr(self, name))
        for name in ("learning_rate", "decay"):
            _checks.positive(name, getattr(self, name))
        _checks.non_negative("gain", self.gain)
        for name, choices in (
            ("parameters", ("effective", "full")),
            ("dtype", ("float32", "float64")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")

    @property
    def updates(self) -> int:
        """Optimiser steps in the whole run: one per window."""
        return self.mdps * self.windows

    def optimizer(self) -> optax.GradientTransformation:
        """Adam, its learning rate multiplied by `decay` every `decay_every` MDPs."""
        stage = self.decay_every * self.windows
        # Not `optax.exponential_decay`, which rounds to float32 in float64 runs too.
        return optax.adam(lambda count: self.learning_rate * self.decay ** (count // stage))


class Learner(NamedTuple):
    """A way to hold θ: where it starts, how it answers, and P and V made of it."""

    start: Callable[[Key[Array, ""]], Any]
    predict: Callable[[Any, Float[Array, "n p"], Float[Array, " q"]], Float[Array, " q"]]
    matrices: Callable[[Any], tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]]]


def learner(algorithm: Algorithm, config: TrainingConfig) -> Learner:
    """The two ways of Proposition 3.1: θ_eff alone, or the whole block.

    Both start from the same numbers for the same key.
    """
    p, q = algorithm.p, algorithm.q
    if config.parameters == "effective":
        return Learner(
            start=lambda key: initial_effective(
                nnx.Rngs(key), p, q, config.gain, jnp.dtype(config.dtype), algorithm.heads
            ),
            predict=lambda theta, tokens, u: u + bilinear_term(theta, tokens, u),
            matrices=embed,
        )

    def block(key: Key[Array, ""]) -> LinearAttentionBlock:
        return LinearAttentionBlock(
            p,
            q,
            gain=config.gain,
            dtype=jnp.dtype(config.dtype),
            heads=algorithm.heads,
            rngs=nnx.Rngs(key),
        )

    structure = nnx.graphdef(nnx.eval_shape(lambda: block(jax.random.key(0))))
    return Learner(
        start=lambda key: nnx.state(block(key)),
        predict=lambda theta, tokens, u: nnx.merge(structure, theta).update(tokens, u),
        matrices=lambda theta: (theta.P[...], theta.V[...]),
    )


def sample_loss(predicted: Float[Array, " q"], target: Float[Array, " q"]) -> Float[Array, ""]:
    """½‖TF_θ(H) − teacher‖², whose mean over windows is L(θ), eq. (6)."""
    error = predicted - target
    return error @ error / 2


class TrainingState(NamedTuple):
    """Everything that one update changes."""

    theta: Any
    optimizer_state: Any


@full_precision
def consume(
    state: TrainingState,
    examples: Examples,
    predict: Callable,
    optimizer: optax.GradientTransformation,
) -> tuple[TrainingState, Float[Array, " updates"]]:
    """One optimiser step per example, in order.

    Args:
        state: θ and the optimiser's state.
        examples: one leading axis, the update.
        predict: (θ, tokens, u) ↦ the block's answer.
        optimizer: any Optax optimiser.

    Returns:
        The new state, and the loss of each example before its update.
    """

    def loss(theta, example: Examples):
        return sample_loss(predict(theta, example.tokens, example.u), example.target)

    def update(state: TrainingState, example: Examples):
        value, gradient = jax.value_and_grad(loss)(state.theta, example)
        change, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.theta)
        return TrainingState(optax.apply_updates(state.theta, change), optimizer_state), value

    return jax.lax.scan(update, state, examples)


@dataclasses.dataclass(frozen=True)
class Report:
    """A block in training.

    Attributes:
        P: its D×D matrix P, float32 or float64.
        V: its D×D matrix V.
        losses: the loss of each update since the report before (for `train`,
            since the start), each before its update.
        mdps: MDPs done since the start.
        generation_seconds: wall time spent on MDPs, windows and targets since
            the report before (or the start), compilation included.
        update_seconds: wall time spent on updates, likewise.
    """

    P: Float[Array, "*heads D D"]
    V: Float[Array, "*heads D D"]
    losses: Float[np.ndarray, " updates"]
    mdps: int
    generation_seconds: float
    update_seconds: float


def training_run(
    algorithm: Algorithm,
    config: TrainingConfig | None = None,
    family: MDPFamily | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Iterator[Report]:
    """Run Algorithm 1 (or 2), reporting after about every 5000 updates.

    Stop iterating to stop training: the last report holds a usable block.

    Args:
        algorithm: the rule to imitate.
        config: the experiment; the paper's if not given.
        family: the distribution of MDPs; the paper's if not given.
        optimizer: any Optax optimiser; `config.optimizer()` if not given.

    Yields:
        The start, with no losses, then a report for each chunk of MDPs.

    Raises:
        ValueError: if `config.dtype` is float64 and JAX's x64 mode is off.
        FloatingPointError: if a loss is not finite; the last report still holds.
    """
    config = TrainingConfig() if config is None else config
    family = RandomMDPs() if family is None else family
    optimizer = config.optimizer() if optimizer is None else optimizer
    if config.dtype == "float64" and not jax.config.jax_enable_x64:
        raise ValueError("dtype 'float64' needs jax.config.update('jax_enable_x64', True)")
    chunk = max(1, _CHUNK_WINDOWS // config.windows)
    theta_key, data_key = jax.random.split(jax.random.key(config.seed))
    start, predict, matrices = learner(algorithm, config)
    matrices = jax.jit(matrices)

    def generate(first: int) -> Examples:
        examples = lives(
            data_key,
            first + jnp.arange(chunk),
            algorithm,
            family,
            config.windows,
            config.window_length,
            jnp.dtype(config.dtype),
        )
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), examples)

    @jax.jit
    def learn(state: TrainingState, examples: Examples):
        return consume(state, examples, predict, optimizer)

    theta = jax.jit(start)(theta_key)
    state = TrainingState(theta, optimizer.init(theta))
    yield Report(*matrices(theta), np.zeros(0, config.dtype), 0, 0.0, 0.0)
    for first in range(0, config.mdps, chunk):
        began = time.perf_counter()
        examples = jax.block_until_ready(generate(first))
        generated = time.perf_counter()
        done = min(first + chunk, config.mdps)
        if done < first + chunk:
            last = (done - first) * config.windows
            examples = jax.tree.map(lambda x, last=last: x[:last], examples)
        state, losses = learn(state, examples)
        losses = np.asarray(losses)
        updated = time.perf_counter()
        if not np.isfinite(losses).all():
            worst = int(np.argmin(np.isfinite(losses)))
            raise FloatingPointError(
                f"the loss is {losses[worst]} at update {first * config.windows + worst}"
            )
        yield Report(*matrices(state.theta), losses, done, generated - began, updated - generated)


def train(
    algorithm: Algorithm,
    config: TrainingConfig | None = None,
    family: MDPFamily | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Report:
    """Run Algorithm 1 (or 2) to its end; arguments and errors as for `training_run`.

    Returns:
        The trained block, with the losses and times of the whole run.
    """
    return summarise(training_run(algorithm, config, family, optimizer))


def summarise(reports: Iterable[Report]) -> Report:
    """The last report, with the losses and times of all of them.

    Args:
        reports: in order, the start first, as `training_run` yields them.

    Raises:
        ValueError: if there is none.
    """
    last, losses, generation_seconds, update_seconds = None, [], 0.0, 0.0
    for report in reports:
        last = report
        losses.append(report.losses)
        generation_seconds += report.generation_seconds
        update_seconds += report.update_seconds
    if last is None:
        raise ValueError("reports must hold at least one report, got none")
    return Report(
        last.P, last.V, np.concatenate(losses), last.mdps, generation_seconds, update_seconds
    )
