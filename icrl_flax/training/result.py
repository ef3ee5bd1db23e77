"""What training comes to: one run, or several with a leading axis for them."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from icrl_flax import _ambient
from icrl_flax.attention.alignment import Alignment, align
from icrl_flax.attention.weights import Effective, Matrices, embed, split
from icrl_flax.control.evaluation import Evaluation, EvaluationConfig, evaluate
from icrl_flax.mdps.families import MDPFamily, RandomMDPs
from icrl_flax.rules.base import Rule
from icrl_flax.training.blocks import block_of
from icrl_flax.training.config import TrainingConfig


class Run(NamedTuple):
    """All that one run of training depends on.

    Attributes:
        rule: the rule to imitate.
        family: the distribution of MDPs.
        config: the experiment.
    """

    rule: Rule
    family: MDPFamily = RandomMDPs()
    config: TrainingConfig = TrainingConfig()


class State(NamedTuple):
    """Everything that one update changes; leaves have a leading axis, the run.

    Attributes:
        theta: the blocks'.
        optimizer_state: Optax's.
    """

    theta: Any
    optimizer_state: Any


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """Blocks in training, or trained. Of several runs, `result[i]` is one.

    Attributes:
        runs: rule, family and configuration of each.
        several: whether arrays have a leading axis, the run; without it there is one run.
        state: θ and the optimiser's state, always with that axis, on the device
            or as NumPy arrays; there may be more rows than runs.
        losses: the loss of each update since the result before (for `train`,
            since the start), each before its update; NaN from the first one on
            that is not finite.
        diverged_at: the number of that update, or −1; of the update to come, where
            a weight is not finite before any loss has shown it. θ of such a run is
            of no use.
        mdps: MDPs done since the start, by each run.
        generation_seconds: wall time spent on MDPs, windows and targets since
            the result before (or the start), compilation included.
        update_seconds: wall time spent on updates, likewise. The next chunk's data is
            made at the same time, so the two may add up to more than has passed.
        record: of a result that `load` read, the whole of its record.
    """

    runs: tuple[Run, ...]
    several: bool
    state: State
    losses: Float[np.ndarray, "*runs updates"]
    diverged_at: int | Int[np.ndarray, " runs"]
    mdps: int
    generation_seconds: float
    update_seconds: float
    record: dict[str, Any] | None = None

    def __len__(self) -> int:
        """How many runs there are, if they have an axis."""
        if not self.several:
            raise TypeError("this result is one run, without an axis")
        return len(self.runs)

    def __getitem__(self, run: int) -> "TrainingResult":
        """One run of several, without the axis."""
        run = range(len(self))[run]
        state = jax.tree.map(lambda leaf: np.asarray(leaf)[run : run + 1], self.state)
        return dataclasses.replace(
            self,
            runs=(self.runs[run],),
            several=False,
            state=state,
            losses=self.losses[run],
            diverged_at=int(np.asarray(self.diverged_at)[run]),
        )

    def _one(self, of: str) -> Run:
        if self.several:
            raise ValueError(f"{of} is that of one run, got {len(self.runs)}: take result[i]")
        return self.runs[0]

    @property
    def rule(self) -> Rule:
        """Of one run."""
        return self._one("rule").rule

    @property
    def family(self) -> MDPFamily:
        """Of one run."""
        return self._one("family").family

    @property
    def config(self) -> TrainingConfig:
        """Of one run."""
        return self._one("config").config

    @property
    def diverged(self) -> Any:
        """Whether a loss or a weight was not finite: a bool, or one for each run."""
        return self.diverged_at >= 0

    def settled(self) -> Any:
        """The settings under which this result was made; see `_ambient.settled`."""
        return _ambient.settled(self.runs[0].config.dtype == "float64")

    def rows(self, count: int) -> State:
        """The state with so many rows, copies of the last one where it has fewer."""
        rows = [*range(len(self.runs)), *[len(self.runs) - 1] * (count - len(self.runs))]
        return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], self.state)

    @property
    def theta(self) -> Any:
        """What was trained, `Effective` or `Matrices`, with the runs' axis if there is one."""
        rows = slice(len(self.runs)) if self.several else 0
        with self.settled():
            return jax.tree.map(lambda x: jax.device_put(np.asarray(x)[rows]), self.state.theta)

    @property
    def block(self) -> Any:
        """The block of one run, a `Block`, or a `QueryBlock` where the prompt holds a query."""
        rule, _, config = self._one("block")
        with self.settled():
            return block_of(self.theta, rule, config)

    @property
    def matrices(self) -> Matrices:
        """P and V, with the runs' axis if there is one."""
        theta = self.theta
        if isinstance(theta, Matrices):
            return theta
        with self.settled():
            return embed(theta)

    @property
    def P(self) -> Float[Array, "*runs_heads D D"]:
        """The matrix P of each block."""
        return self.matrices.P

    @property
    def V(self) -> Float[Array, "*runs_heads D D"]:
        """The matrix V of each block."""
        return self.matrices.V

    @property
    def effective(self) -> Effective:
        """P12 and V̄21 of each block, and of each layer where those are untied."""
        theta = self.theta
        if self.runs[0].config.prompt == "query":
            raise ValueError("effective is of blocks that answer with parameters, got a query's")
        return (
            split(*theta, self.runs[0].rule.p).effective if isinstance(theta, Matrices) else theta
        )

    def alignment(self, layer: int | None = None) -> Alignment:
        """The weights of one run beside the theory's, in float64 NumPy; see `align`.

        Args:
            layer: which of untied layers; of tied ones there is one set of weights.

        Raises:
            ValueError: if a layer is given and there is one set, or the other way round, or
                the block does not answer with parameters.
        """
        rule, _, config = self._one("alignment")
        trained = jax.tree.map(lambda x: np.asarray(x, np.float64), self.effective)
        if config.tied != (layer is None):
            layers = "one set of weights" if config.tied else f"{config.layers} layers"
            raise ValueError(
                f"layer must say which, of untied layers alone: got {layer}, {layers}"
            )
        if layer is not None:
            if not 0 <= layer < config.layers:
                raise ValueError(f"layer must lie in [0, {config.layers}), got {layer}")
            trained = jax.tree.map(lambda x: x[layer], trained)
        numbers = jax.tree.map(lambda x: np.asarray(x) if isinstance(x, float) else x, rule)
        with _ambient.settled(x64=True), jax.default_device(jax.local_devices(backend="cpu")[0]):
            return jax.tree.map(np.asarray, _align(trained, numbers))

    def evaluate(self, config: EvaluationConfig | None = None, **settings: Any) -> Evaluation:
        """The block of one run in control of MDPs of its family that it has not seen (§4.2).

        Args:
            config: the protocol; made of `settings`, if not given.
            settings: fields of `EvaluationConfig`.
        """
        rule, family, training = self._one("evaluate")
        if training.prompt == "query":
            raise ValueError("evaluate needs a block that answers with parameters, got a query's")
        config = EvaluationConfig(**settings) if config is None else config
        return evaluate(rule, self.block, family, config)

    def save(self, path: Path | str, *, weights_only: bool = False) -> Path:
        """Write one run into one file, for `load`; see `icrl_flax.save`."""
        from icrl_flax.training.checkpoint import save  # which knows this class

        return save(self, path, weights_only=weights_only)


@eqx.filter_jit  # some forty operations that would each be compiled
def _align(trained: Effective, rule: Rule) -> Alignment:
    return align(trained, rule.optimum(np.float64))


def mean_loss(losses: Float[np.ndarray, " updates"]) -> float:
    """The mean, which is finite where the losses are, however large; NaN of none."""
    losses = np.asarray(losses, np.float64)
    return float((losses / losses.size).sum()) if losses.size else float("nan")


def joined(results: Iterable[TrainingResult]) -> TrainingResult:
    """The last result, with the losses and times of all of them.

    Args:
        results: in order, the start first, as `train_iter` yields them.

    Raises:
        ValueError: if there is none.
    """
    last, losses, generation_seconds, update_seconds = None, [], 0.0, 0.0
    for result in results:  # not kept: their weights would fill the memory
        last = result
        losses.append(result.losses)
        generation_seconds += result.generation_seconds
        update_seconds += result.update_seconds
    if last is None:
        raise ValueError("results must hold at least one result, got none")
    return dataclasses.replace(
        last,
        losses=np.concatenate(losses, axis=-1),
        generation_seconds=generation_seconds,
        update_seconds=update_seconds,
    )
