"""Blocks in charge of MDPs that they have never seen (§4.2, Figure 3).

In closed loop the block's own answer is the next parameter vector, and sets the
behaviour policy for the next window. A *learner* is whatever turns a window into
new parameters: a block, or the textbook rule itself.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax._precision import full_precision
from icrl_flax.algorithm import Algorithm, Features
from icrl_flax.evaluation import expected_return, monte_carlo_return, optimal_action_values
from icrl_flax.interaction import Learner, World, draw_world, interact
from icrl_flax.lemma_c1 import decompose
from icrl_flax.mdp import MDPFamily, RandomMDPs, TabularMDP
from icrl_flax.policy import greedy
from icrl_flax.prompt import split
from icrl_flax.windows import Window


class BlockLearner(eqx.Module):
    """A block as a learner: its answer to the prompt, by Lemma C.1.

    Args:
        algorithm: says how a window becomes tokens.
        P: the block's D×D matrix P.
        V: the block's D×D matrix V.
        layers: how many copies of the block are stacked. A block with zeros in
            its free entries hands the context columns on unchanged, so L layers
            are L answers in turn to one window. (Tokens are not rewritten: an
            actor's score stays that of the policy that acted.)

    Raises:
        ValueError: if P or V does not have the algorithm's size, or layers < 1.
    """

    algorithm: Algorithm
    P: Float[Array, "*heads D D"] = eqx.field(converter=jnp.asarray)
    V: Float[Array, "*heads D D"] = eqx.field(converter=jnp.asarray)
    layers: int = eqx.field(static=True, default=1)

    def __check_init__(self) -> None:
        for name in ("P", "V"):
            _checks.shape(name, getattr(self, name), self.algorithm.weights_shape)
            _checks.finite(name, getattr(self, name))
        _checks.positive_integer("layers", self.layers)

    def __call__(
        self, features: Features, u: Float[Array, " q"], window: Window
    ) -> Float[Array, " q"]:
        blocks = split(self.P.astype(u.dtype), self.V.astype(u.dtype), self.algorithm.p)
        tokens = self.algorithm.tokens(features, u, window)
        for _ in range(self.layers):
            u = decompose(blocks, tokens, u).total
        return u


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How to evaluate in closed loop: the paper's protocol (§4), run until the curves are flat.

    Args:
        seed: seed of all randomness.
        held_out: number of MDPs that training has not seen.
        steps: windows in closed loop on each MDP.
        every: freeze and evaluate the iterate every so many windows.
        window_length: transitions n per window.
        trajectories: Monte Carlo trajectories for each estimate.
        length: transitions of each trajectory.

    Raises:
        ValueError: if a value is out of range.
    """

    seed: int = 0
    held_out: int = 100
    steps: int = 1500
    every: int = 10
    window_length: int = 20
    trajectories: int = 32
    length: int = 50

    def __post_init__(self) -> None:
        _checks.seed("seed", self.seed)
        for field in dataclasses.fields(self):
            if field.name != "seed":
                _checks.positive_integer(field.name, getattr(self, field.name))
        if self.trajectories < 2:
            raise ValueError(f"trajectories must be at least 2, got {self.trajectories}")

    @property
    def points(self) -> np.ndarray:
        """The steps at which the iterate is evaluated, from 0."""
        return np.arange(0, self.steps + 1, self.every)


def held_out_worlds(
    algorithm: Algorithm, config: EvaluationConfig, family: MDPFamily | None = None
) -> tuple[World, Key[Array, " held_out"]]:
    """Fresh MDPs with their features, first parameters and states, and a key for each.

    The keys differ from any that training derives from a seed.
    """
    family = RandomMDPs() if family is None else family
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0x4E1D), 2)
    draws = jax.random.split(keys[0], config.held_out)
    worlds = jax.vmap(lambda key: draw_world(key, algorithm, family, jnp.float32))(draws)
    return worlds, jax.random.split(keys[1], config.held_out)


@eqx.filter_jit
@full_precision
def run(
    keys: Key[Array, " worlds"],
    worlds: World,
    algorithm: Algorithm,
    learner: Learner,
    steps: int,
    n: int,
) -> Float[Array, "worlds {steps}+1 q"]:
    """Parameters before the first and after each window, in closed loop on each world.

    Two learners that are given the same keys see the same random numbers: their
    windows are the same while their policies are.

    Args:
        keys: randomness of each world.
        worlds: MDPs, features, first parameters and states, stacked.
        algorithm: says how parameters act.
        learner: what makes new parameters of a window.
        steps: windows.
        n: transitions per window.
    """

    def one(key: Key[Array, ""], world: World) -> Float[Array, "times q"]:
        before, _, after = interact(key, world, algorithm, learner, steps, n)
        return jnp.concatenate([before[:1], after])

    return jax.vmap(one)(keys, worlds)


READINGS: Mapping[str, Callable] = {
    "policy": lambda algorithm, features, u: algorithm.policy(features, u),
    "behaviour": lambda algorithm, features, u: algorithm.behaviour(features, u),
}
"""What a frozen iterate may mean: the policy that it stands for, or with its exploration."""


class Returns(NamedTuple):
    """Discounted returns from s₀ ~ the initial distribution; axes: point, world.

    Attributes:
        exact: by solving the linear system.
        monte_carlo: mean of the sampled trajectories, cut at their length.
        variance: of one trajectory's return, estimated from the sample.
    """

    exact: Float[Array, "*points_worlds"]
    monte_carlo: Float[Array, "*points_worlds"]
    variance: Float[Array, "*points_worlds"]


@eqx.filter_jit
@full_precision
def returns_of(
    key: Key[Array, ""],
    mdps: TabularMDP,
    policies: Float[Array, "points worlds S A"],
    config: EvaluationConfig,
) -> Returns:
    """Exact and Monte Carlo returns of policy tables.

    Args:
        key: randomness of the Monte Carlo estimates.
        mdps: the MDPs, stacked.
        policies: π(a|s) for each point and MDP.
        config: number and length of trajectories.
    """

    def one(key: Key[Array, ""], mdp: TabularMDP, policy: Float[Array, "S A"]) -> Returns:
        sampled = monte_carlo_return(key, mdp, policy, config.trajectories, config.length)
        return Returns(expected_return(mdp, policy), sampled.mean(), sampled.var(ddof=1))

    def at_one_point(batch: tuple) -> Returns:
        keys, tables = batch
        return jax.vmap(one)(keys, mdps, tables)

    # Point after point: all at once would hold gigabytes of random numbers.
    return jax.lax.map(at_one_point, (jax.random.split(key, policies.shape[:2]), policies))


class Evaluation(NamedTuple):
    """Closed-loop returns of one checkpoint and of what it is compared with.

    Attributes:
        points: steps at which iterates were evaluated.
        returns: by (contender, reading). Contenders are `block`, `teacher`,
            `oracle` and `uniform`; the last two have one point.
    """

    points: Int[np.ndarray, " points"]
    returns: dict[tuple[str, str], Returns]


def evaluate(
    algorithm: Algorithm,
    P: Float[Array | np.ndarray, "*heads D D"],
    V: Float[Array | np.ndarray, "*heads D D"],
    config: EvaluationConfig | None = None,
    family: MDPFamily | None = None,
) -> Evaluation:
    """Figure 3: block and teacher in closed loop on shared random numbers.

    Args:
        algorithm: the rule that the block was trained on.
        P: the block's D×D matrix P.
        V: the block's D×D matrix V.
        config: the protocol.
        family: where the held-out MDPs come from; the paper's if not given.

    Raises:
        ValueError: if P or V does not have the algorithm's size.
    """
    config = EvaluationConfig() if config is None else config
    learners = {"block": BlockLearner(algorithm, P, V), "teacher": algorithm.teacher}
    worlds, keys = held_out_worlds(algorithm, config, family)
    tables, names = [], []
    for name, learner in learners.items():
        history = run(keys, worlds, algorithm, learner, config.steps, config.window_length)
        frozen = history[:, config.points].swapaxes(0, 1)
        for reading, table in READINGS.items():
            tables.append(policies_of(algorithm, table, worlds.features, frozen))
            names.append((name, reading))
    for name, table in (("oracle", oracle), ("uniform", uniform)):
        tables.append(jax.vmap(table)(worlds.mdp)[None])
        names.append((name, "policy"))
    # All in one call, so that it is compiled once.
    key = jax.random.fold_in(jax.random.key(config.seed), 0x5EED)
    returns = jax.tree.map(
        np.asarray, returns_of(key, worlds.mdp, jnp.concatenate(tables), config)
    )
    ends = np.cumsum([len(table) for table in tables])[:-1]
    parts = zip(*(np.split(leaf, ends) for leaf in returns), strict=True)
    return Evaluation(
        config.points,
        {name: Returns(*part) for name, part in zip(names, parts, strict=True)},
    )


@eqx.filter_jit
def policies_of(
    algorithm: Algorithm,
    reading: Callable[[Algorithm, Features, Array], Array],
    features: Features,
    u: Float[Array, "points worlds q"],
) -> Float[Array, "points worlds S A"]:
    """The table that each frozen iterate stands for, in one of the READINGS."""
    per_world = jax.vmap(lambda features, u: reading(algorithm, features, u))
    return jax.vmap(per_world, in_axes=(None, 0))(features, u)


def oracle(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The greedy policy of Q⋆."""
    return greedy(optimal_action_values(mdp))


def uniform(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The policy that takes every action with the same probability."""
    return jnp.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions, mdp.transition.dtype)


CSV_COLUMNS = ("contender", "reading", "estimator", "step", "mdp", "return")


def rows(evaluation: Evaluation) -> Iterator[tuple[str, str, str, int, int, float]]:
    """The evaluation as a tidy table: one row per CSV_COLUMNS.

    Oracle and uniform policy do not change with the step; theirs is 0.
    """
    for (contender, reading), returns in evaluation.returns.items():
        for estimator in ("exact", "monte_carlo"):
            for point, values in zip(evaluation.points, getattr(returns, estimator), strict=False):
                for mdp, value in enumerate(values):
                    yield contender, reading, estimator, int(point), mdp, float(value)
