"""How to train: the paper's experiment by default (§4)."""

from typing import Any, Literal, get_args, get_origin, get_type_hints

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from icrl_flax import _checks
from icrl_flax.attention.deep import Attention


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's: a static field is no array."""
    return value.item() if isinstance(value, np.generic) else value


def _count(default: int) -> Any:
    """A static integer field."""
    return eqx.field(static=True, default=default, converter=_plain)


class TrainingConfig(eqx.Module):
    """How to train: the defaults are the paper's experiment (§4).

    As in `Rule`, what decides about shapes and programs is a static field;
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
        optimizer: how a gradient becomes a step.
        schedule: how the learning rate goes from its first value: down
            exponentially in steps, not at all, or along half a cosine.
        learning_rate: the first learning rate.
        decay: factor on the learning rate (of the exponential schedule) …
        decay_every: … each time this many MDPs are done.
        floor: fraction of the first learning rate below which it does not fall.
        gain: Xavier gain of the start of P12 and V̄21.
        attention: the paper's linear attention, or attention of the same size with
            an activation of its scores.
        inverse_temperature: factor τ on the logits of softmax attention.
        parameters: train θ_eff alone, which by Proposition 3.1 is the same and
            some twenty times cheaper, or all 2D² entries of P and V.
        dtype: floating-point type of everything.
        layers: number L of layers; the teacher makes as many sweeps of each window.
        tied: whether all layers have the same weights.
        prompt: what its last column holds: the parameters, and the answer is the new
            ones; or a state's features, and the answer is its value.
        objective: what answers are held against: the teacher's; or, for rules that
            predict, the semi-gradient target of TD(0), sampled returns, or the policy's
            exact values.
        queries: values that an update learns from, each with its window, where answers
            are values; a window is then moved on by one transition from one to the next.
        weight_decay: factor on the weights that is added to the gradient before Adam
            scales it; none, if not given.

    Raises:
        ValueError: if a value is out of range.
    """

    seed: int = _count(0)
    mdps: int = _count(10_000)
    windows: int = _count(50)
    window_length: int = _count(20)
    mdps_per_update: int = _count(1)
    optimizer: Literal["adam", "sgd"] = eqx.field(static=True, default="adam")
    schedule: Literal["exponential", "constant", "cosine"] = eqx.field(
        static=True, default="exponential"
    )
    learning_rate: float = 1e-3
    decay: float = 0.99
    decay_every: int = _count(10)
    floor: float = 0.0
    gain: float = 0.1
    attention: Attention = eqx.field(static=True, default="linear")
    inverse_temperature: float = 1.0
    parameters: Literal["effective", "full"] = eqx.field(static=True, default="effective")
    dtype: Literal["float32", "float64"] = eqx.field(static=True, default="float32")
    layers: int = _count(1)
    tied: bool = eqx.field(static=True, default=True)
    prompt: Literal["parameters", "query"] = eqx.field(static=True, default="parameters")
    objective: Literal["teacher", "td", "monte-carlo", "true-values"] = eqx.field(
        static=True, default="teacher"
    )
    queries: int = _count(64)
    weight_decay: float | None = None

    def __check_init__(self) -> None:
        _checks.seed("seed", self.seed)
        for name in (
            *("mdps", "windows", "window_length", "mdps_per_update", "decay_every"),
            *("layers", "queries"),
        ):
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
        if self.weight_decay is not None:
            _checks.non_negative("weight_decay", self.weight_decay)
        if self.prompt == "query" and self.parameters != "full":
            raise ValueError(
                "parameters must be 'full' where prompt is 'query': θ_eff is of the other prompt, "
                f"got {self.parameters!r}"
            )
        for name, choices in get_type_hints(type(self)).items():
            if get_origin(choices) is Literal:
                _checks.one_of(name, getattr(self, name), get_args(choices))

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes of the weights before those of one layer: (L,) for untied layers."""
        return () if self.tied else (self.layers,)

    @property
    def is_paper_block(self) -> bool:
        """Whether linear layers answer with parameters: of those alone the theory speaks."""
        return self.attention == "linear" and self.prompt == "parameters"

    @property
    def updates(self) -> int:
        """Optimiser steps in the whole run: one per window, or per set of windows."""
        return self.mdps // self.mdps_per_update * self.windows

    @property
    def stage(self) -> int:
        """Updates in which `decay_every` MDPs are done: the learning rate's first step."""
        return -(-self.decay_every // self.mdps_per_update) * self.windows

    def stage_of(self, count: Any) -> Any:
        """How many steps the learning rate has taken before the update after `count` others.

        Where several MDPs share an update that may not divide evenly, and then stages
        differ in length.
        """
        if self.mdps_per_update == 1:
            return count // (self.decay_every * self.windows)
        return count // self.windows * self.mdps_per_update // self.decay_every

    def rate(self, count: Int[Array, ""] | int) -> Float[Array, ""] | float:
        """The learning rate of the update after `count` others."""
        if self.schedule == "constant":
            return self.learning_rate
        if self.schedule == "cosine":
            share = (1 + jnp.cos(jnp.pi * count / self.updates)) / 2
            return self.learning_rate * (self.floor + (1 - self.floor) * share)
        # Not `optax.exponential_decay`, which rounds to float32 in float64 runs too.
        return self.learning_rate * jnp.maximum(self.decay ** self.stage_of(count), self.floor)

    def make_optimizer(self) -> optax.GradientTransformation:
        """Adam or plain gradient descent, at the scheduled learning rate."""
        optimizer = {"adam": optax.adam, "sgd": optax.sgd}[self.optimizer](self.rate)
        if self.weight_decay is None:
            return optimizer
        return optax.chain(optax.add_decayed_weights(self.weight_decay), optimizer)
