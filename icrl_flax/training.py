"""Algorithms 1 and 2: the block learns to answer as the teacher does."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax._precision import full_precision
from icrl_flax.ahead import ahead
from icrl_flax.algorithm import Algorithm
from icrl_flax.block import LinearAttentionBlock, initial_effective
from icrl_flax.lemma_c1 import bilinear_term
from icrl_flax.mdp import MDPFamily, RandomMDPs
from icrl_flax.prompt import build_prompt, embed
from icrl_flax.softmax_block import softmax_attention, softmax_term
from icrl_flax.stream import Examples, lives

# Windows generated together, in whole MDPs and over all runs of a batch. The data does
# not depend on it; their tokens take 30 MB, and more gain no speed.
_CHUNK_WINDOWS = 5000


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's: a static field is no array."""
    return value.item() if isinstance(value, np.generic) else value


def _count(default: int) -> Any:
    """A static integer field."""
    return eqx.field(static=True, default=default, converter=_plain)


class TrainingConfig(eqx.Module):
    """How to train: the defaults are the paper's experiment (§4).

    As in `Algorithm`, what decides about shapes and programs is a static field;
    the other numbers may differ between the runs of one batch.

    Args:
        seed: seed of all randomness.
        mdps: number K of MDPs, each lived through once.
        windows: windows per MDP, hence updates per MDP. The paper's T = 1000
            frames make 50 windows of 20 transitions; its Algorithm 1, read
            literally, makes 1000.
        window_length: transitions n per window.
        mdps_per_update: MDPs that live side by side, their losses averaged in
            each update; K must be a multiple.
        method: how a gradient becomes a step.
        schedule: how the learning rate goes from its first value: down
            exponentially in steps, not at all, or along half a cosine.
        learning_rate: the first learning rate.
        decay: factor on the learning rate (of the exponential schedule) …
        decay_every: … each time this many MDPs are done.
        floor: fraction of the first learning rate below which it does not fall.
        gain: Xavier gain of the start of P12 and V̄21.
        attention: the paper's linear attention, or softmax attention of the
            same size.
        inverse_temperature: factor τ on the logits of softmax attention.
        parameters: train θ_eff alone, which by Proposition 3.1 is the same and
            some twenty times cheaper, or all 2D² entries of P and V.
        dtype: floating-point type; float64 needs JAX's x64 mode.

    Raises:
        ValueError: if a value is out of range.
    """

    seed: int = _count(0)
    mdps: int = _count(10_000)
    windows: int = _count(50)
    window_length: int = _count(20)
    mdps_per_update: int = _count(1)
    method: Literal["adam", "sgd"] = eqx.field(static=True, default="adam")
    schedule: Literal["exponential", "constant", "cosine"] = eqx.field(
        static=True, default="exponential"
    )
    learning_rate: float = 1e-3
    decay: float = 0.99
    decay_every: int = _count(10)
    floor: float = 0.0
    gain: float = 0.1
    attention: Literal["linear", "softmax"] = eqx.field(static=True, default="linear")
    inverse_temperature: float = 1.0
    parameters: Literal["effective", "full"] = eqx.field(static=True, default="effective")
    dtype: Literal["float32", "float64"] = eqx.field(static=True, default="float32")

    def __check_init__(self) -> None:
        _checks.seed("seed", self.seed)
        for name in ("mdps", "windows", "window_length", "mdps_per_update", "decay_every"):
            _checks.positive_integer(name, getattr(self, name))
        if self.mdps % self.mdps_per_update:
            raise ValueError(
                f"mdps must be a multiple of mdps_per_update = {self.mdps_per_update}, "
                f"got {self.mdps}"
            )
        for name in ("learning_rate", "decay", "inverse_temperature"):
            _checks.positive(name, getattr(self, name))
        _checks.probability("floor", self.floor)
        _checks.non_negative("gain", self.gain)
        for name, choices in get_type_hints(type(self)).items():
            if get_origin(choices) is Literal:
                _checks.one_of(name, getattr(self, name), get_args(choices))

    @property
    def updates(self) -> int:
        """Optimiser steps in the whole run: one per window, or per set of windows."""
        return self.mdps // self.mdps_per_update * self.windows

    @property
    def stage(self) -> int:
        """Updates in which `decay_every` MDPs are done: the learning rate's steps."""
        return max(1, self.decay_every // self.mdps_per_update) * self.windows

    def rate(self, count: Int[Array, ""] | int) -> Float[Array, ""] | float:
        """The learning rate of the update after `count` others."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "cosine":
            share = (1 + jnp.cos(jnp.pi * count / self.updates)) / 2
            return self.learning_rate * (self.floor + (1 - self.floor) * share)
        # Not `optax.exponential_decay`, which rounds to float32 in float64 runs too.
        if self.mdps_per_update == 1:
            stages = count // (self.decay_every * self.windows)
        else:
            stages = count // self.windows * self.mdps_per_update // self.decay_every
        return self.learning_rate * jnp.maximum(self.decay**stages, self.floor)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam or plain gradient descent, at the scheduled learning rate."""
        return {"adam": optax.adam, "sgd": optax.sgd}[self.method](self.rate)


class Learner(NamedTuple):
    """A way to hold θ: where it starts, how it answers, and P and V made of it.

    Attributes:
        start: key ↦ θ before the first update.
        predict: (θ, tokens, u) ↦ the block's answer.
        matrices: θ ↦ (P, V).
    """

    start: Callable[[Key[Array, ""]], Any]
    predict: Callable[[Any, Float[Array, "n p"], Float[Array, " q"]], Float[Array, " q"]]
    matrices: Callable[[Any], tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]]]


def learner(algorithm: Algorithm, config: TrainingConfig) -> Learner:
    """The two ways of Proposition 3.1: θ_eff alone, or the whole block.

    Both start from the same numbers for the same key, whatever the attention.

    Raises:
        ValueError: for softmax attention with a rule that needs several heads.
    """
    p, q, dtype = algorithm.p, algorithm.q, jnp.dtype(config.dtype)
    tau = config.inverse_temperature
    if config.attention == "softmax" and algorithm.heads > 1:
        raise ValueError(
            f"attention 'softmax' has one head, got {algorithm.name()} with {algorithm.heads}"
        )
    if config.parameters == "effective":
        predict = {
            "linear": lambda theta, tokens, u: u + bilinear_term(theta, tokens, u),
            "softmax": lambda theta, tokens, u: u + softmax_term(theta, tokens, u, tau),
        }
        return Learner(
            start=lambda key: initial_effective(
                nnx.Rngs(key), p, q, config.gain, dtype, algorithm.heads
            ),
            predict=predict[config.attention],
            matrices=embed,
        )

    def block(key: Key[Array, ""]) -> LinearAttentionBlock:
        return LinearAttentionBlock(
            p, q, gain=config.gain, dtype=dtype, heads=algorithm.heads, rngs=nnx.Rngs(key)
        )

    structure = nnx.graphdef(nnx.eval_shape(lambda: block(jax.random.key(0))))

    def matrices(theta) -> tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]]:
        return theta.P[...], theta.V[...]

    def softmax_answer(theta, tokens: Float[Array, "n p"], u: Float[Array, " q"]):
        H = build_prompt(tokens, u)
        return softmax_attention(*matrices(theta), H, tau)[-q:]

    predict = {
        "linear": lambda theta, tokens, u: nnx.merge(structure, theta).update(tokens, u),
        "softmax": softmax_answer,
    }
    return Learner(lambda key: nnx.state(block(key)), predict[config.attention], matrices)


def sample_loss(predicted: Float[Array, " q"], target: Float[Array, " q"]) -> Float[Array, ""]:
    """½‖TF_θ(H) − teacher‖², whose mean over windows is L(θ), eq. (6)."""
    error = predicted - target
    return error @ error / 2


class TrainingState(NamedTuple):
    """Everything that one update changes.

    Attributes:
        theta: what is learnt, `Effective` or `Blocks`.
        optimizer_state: Optax's.
    """

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
        examples: the first axis is the update; a second one, if there is any,
            holds examples whose losses one update averages.
        predict: (θ, tokens, u) ↦ the block's answer.
        optimizer: any Optax optimiser.

    Returns:
        The new state, and the loss of each example before its update.
    """

    def loss(theta, example: Examples):
        if example.u.ndim == 2:
            return jax.vmap(loss, in_axes=(None, 0))(theta, example).mean()
        return sample_loss(predict(theta, example.tokens, example.u), example.target)

    def update(state: TrainingState, example: Examples):
        value, gradient = jax.value_and_grad(loss)(state.theta, example)
        change, optimizer_state = optimizer.update(gradient, state.optimizer_state, state.theta)
        return TrainingState(optax.apply_updates(state.theta, change), optimizer_state), value

    return jax.lax.scan(update, state, examples)


def check_precision(config: TrainingConfig) -> None:
    """Refuse float64 where JAX would quietly make float32 of it.

    Raises:
        ValueError: if `config.dtype` is float64 and JAX's x64 mode is off.
    """
    if config.dtype == "float64":
        _checks.x64("dtype 'float64'")


@jax.jit  # one small program instead of three
def _keys(seed: Int[Array | np.ndarray, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
    theta_key, data_key = jax.random.split(jax.random.key(seed))
    return theta_key, data_key


def keys(config: TrainingConfig) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """Randomness of one run: for the start of θ, and for the data."""
    return _keys(np.asarray(config.seed))


def without_seed(config: TrainingConfig) -> TrainingConfig:
    """The same run but for its keys: runs that differ in their seeds share one program."""
    return dataclasses.replace(config, seed=0)


def start(
    key: Key[Array, ""],
    algorithm: Algorithm,
    config: TrainingConfig,
    optimizer: optax.GradientTransformation | None = None,
) -> TrainingState:
    """θ and the optimiser's state before the first update."""
    optimizer = config.optimizer() if optimizer is None else optimizer
    theta = learner(algorithm, config).start(key)
    return TrainingState(theta, optimizer.init(theta))


def learn(
    state: TrainingState,
    examples: Examples,
    algorithm: Algorithm,
    config: TrainingConfig,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[TrainingState, Float[Array, " updates"]]:
    """`consume` with the prediction and the optimiser that the configuration names."""
    optimizer = config.optimizer() if optimizer is None else optimizer
    return consume(state, examples, learner(algorithm, config).predict, optimizer)


def matrices(
    state: TrainingState, algorithm: Algorithm, config: TrainingConfig
) -> tuple[Float[Array, "*heads D D"], Float[Array, "*heads D D"]]:
    """P and V of a run's θ."""
    return learner(algorithm, config).matrices(state.theta)


_start = eqx.filter_jit(start)
_learn = eqx.filter_jit(learn)
_matrices = eqx.filter_jit(matrices)


def in_order(examples: Examples, mdps_per_update: int) -> Examples:
    """Lives, in the order in which training consumes them.

    Args:
        examples: leading axes are MDP and window, as `lives` makes them.
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

    No more than there are: a short run would throw them away, and compile its learner twice.
    """
    together = config.mdps_per_update
    size = max(1, _CHUNK_WINDOWS // (config.windows * together * runs)) * together
    return min(size, config.mdps)


class Chunk(NamedTuple):
    """A stretch of training; arrays have a leading axis for the run if there are several.

    Attributes:
        state: after its last update.
        losses: of each of its updates, before it.
        mdps: MDPs done since the start.
        generation_seconds: wall time spent on MDPs, windows and targets.
        update_seconds: wall time spent on updates; the two overlap.
    """

    state: TrainingState
    losses: Float[np.ndarray, "*runs updates"]
    mdps: int
    generation_seconds: float
    update_seconds: float


Data = Iterator[tuple[Examples, float]]
"""A stretch of examples after the other, with the seconds that each took to make."""


def generation(config: TrainingConfig, size: int, generate: Callable[[int], Examples]) -> Data:
    """The data of Algorithms 1 and 2, in a thread of its own, begun at once.

    It does not depend on θ: the next chunk's is made while one is learnt from, and the
    first one's program compiled while the learner's is.

    Args:
        config: how many MDPs.
        size: MDPs in a chunk.
        generate: the examples of `size` MDPs, given the number of the first.
    """

    def generated(first: int) -> tuple[Examples, float]:
        began = time.perf_counter()
        return jax.block_until_ready(generate(first)), time.perf_counter() - began

    return ahead(generated, range(0, config.mdps, size))


def chunks(
    state: TrainingState,
    config: TrainingConfig,
    size: int,
    data: Data,
    update: Callable[[TrainingState, Examples], tuple[TrainingState, Array]],
    axis: int = 0,
) -> Iterator[Chunk]:
    """The loop of Algorithms 1 and 2, for one run or for a batch of them.

    Args:
        state: the start.
        config: how many MDPs, and how many make an update.
        size: MDPs in a chunk.
        data: what `generation` makes of the same configuration and size.
        update: consumes examples.
        axis: which axis of the examples is the update.
    """
    for first, (examples, generation_seconds) in zip(
        range(0, config.mdps, size), data, strict=True
    ):
        began = time.perf_counter()
        done = min(first + size, config.mdps)
        if done < first + size:
            last = (done - first) // config.mdps_per_update * config.windows
            examples = jax.tree.map(
                lambda x, last=last: jax.lax.slice_in_dim(x, 0, last, axis=axis), examples
            )
        state, losses = update(state, examples)
        losses = np.asarray(losses)
        yield Chunk(state, losses, done, generation_seconds, time.perf_counter() - began)


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
        update_seconds: wall time spent on updates, likewise. The next chunk's data is
            made at the same time, so the two may add up to more than has passed.
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
        FloatingPointError: if a loss or a weight is not finite; the last report still holds.
    """
    config = TrainingConfig() if config is None else config
    family = RandomMDPs() if family is None else family
    check_precision(config)
    theta_key, data_key = keys(config)
    config = without_seed(config)
    size = chunk_size(config)

    def generate(first: int) -> Examples:
        n, dtype = config.window_length, jnp.dtype(config.dtype)
        mdps = jnp.asarray(np.arange(first, first + size))
        examples = lives(data_key, mdps, algorithm, family, config.windows, n, dtype)
        return in_order(examples, config.mdps_per_update)

    def update(state: TrainingState, examples: Examples):
        return _learn(state, examples, algorithm, config, optimizer)

    data = generation(config, size, generate)
    state = _start(theta_key, algorithm, config, optimizer)
    nothing = np.zeros(0, config.dtype)
    yield Report(*_matrices(state, algorithm, config), nothing, 0, 0.0, 0.0)
    # While the first chunk is made. JAX keeps the program, and does not compile it again.
    shapes = eqx.filter_eval_shape(generate, 0)
    blank = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    lowered = _learn.lower(  # pyright: ignore[reportFunctionMemberAccess]  Equinox gives it
        state, blank, algorithm, config, optimizer
    )
    lowered.compile()
    before = 0
    for chunk in chunks(state, config, size, data, update):
        wrong = np.flatnonzero(~np.isfinite(chunk.losses))
        if wrong.size:
            worst = int(wrong[0])
            raise FloatingPointError(
                f"the loss is {chunk.losses[worst]} at update {before + worst}"
            )
        before += chunk.losses.size
        P, V = _matrices(chunk.state, algorithm, config)
        if not (np.isfinite(P).all() and np.isfinite(V).all()):  # no loss has seen them yet
            raise FloatingPointError(f"the weights are not finite after update {before - 1}")
        yield Report(
            P,
            V,
            chunk.losses,
            chunk.mdps,
            chunk.generation_seconds,
            chunk.update_seconds,
        )


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
