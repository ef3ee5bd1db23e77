"""Blocks in charge of MDPs that they have never seen (§4.2, Figure 3).

In closed loop the block's own answer is the next parameter vector, and sets the
behaviour policy for the next window. A *learner* is whatever turns a window into
new parameters: a block, or the textbook rule itself.
"""

import dataclasses
from collections.abc import Callable, Mapping
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
from icrl_flax.mdp import RandomMDPs, TabularMDP
from icrl_flax.policy import greedy
from icrl_flax.prompt import split
from icrl_flax.rollout import Window


def teacher(algorithm: Algorithm) -> Learner:
    """The textbook rule as a learner."""
    return algorithm.teacher


def block(
    algorithm: Algorithm, P: Float[Array, "D D"], V: Float[Array, "D D"], layers: int = 1
) -> Learner:
    """A block as a learner: its answer to the prompt, by Lemma C.1.

    Args:
        algorithm: says how a window becomes tokens.
        P: the block's D×D matrix P.
        V: the block's D×D matrix V.
        layers: how many copies of the block are stacked. A block with zeros in
            its free entries hands the context columns on unchanged, so L layers
            are L answers in turn to one window.

    Raises:
        ValueError: if P or V does not have the algorithm's size, or layers < 1.
    """
    for name, matrix in (("P", P), ("V", V)):
        _checks.shape(name, matrix, (algorithm.D, algorithm.D))
    _checks.positive_integer("layers", layers)
    blocks = split(jnp.asarray(P), jnp.asarray(V), algorithm.p)

    def learn(features: Features, u: Float[Array, " q"], window: Window) -> Float[Array, " q"]:
        tokens = algorithm.tokens(features, u, window)
        for _ in range(layers):
            u = decompose(blocks, tokens, u).total
        return u

    return learn


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

    def __post_init__(self):
        _checks.seed("seed", self.seed)
        for field in dataclasses.fields(self):
            if field.name != "seed":
                _checks.positive_integer(field.name, getattr(self, field.name))

    @property
    def points(self) -> np.ndarray:
        """The steps at which the iterate is evaluated, from 0."""
        return np.arange(0, self.steps + 1, self.every)


def held_out_worlds(
    algorithm: Algorithm, config: EvaluationConfig, family: RandomMDPs | None = None
) -> tuple[World, Key[Array, " held_out"]]:
    """Fresh MDPs with their features, first parameters and states, and a key for each.

    The keys differ from any that training derives from a seed.
    """
    family = RandomMDPs() if family is None else family
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0x4E1D), 2)
    draws = jax.random.split(keys[0], config.held_out)
    worlds = jax.vmap(lambda key: draw_world(key, algorithm, family, jnp.float32))(draws)
    return worlds, jax.random.split(keys[1], config.held_out)


@full_precision
def run(
    keys: Key[Array, " worlds"],
    worlds: World,
    algorithm: Algorithm,
    learner: Learner,
    steps: int,
    n: int,
) -> Float[Array, "worlds steps+1 q"]:
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

    def one(key: Key[Array, ""], world: World) -> Float[Array, "steps+1 q"]:
        before, _, after = interact(key, world, algorithm, learner, steps, n)
        return jnp.concatenate([before[:1], after])

    return jax.vmap(one)(keys, worlds)


READINGS: Mapping[str, Callable] = {
    "policy": lambda algorithm, features, u: algorithm.policy(features, u),
    "behaviour": lambda algorithm, features, u: algorithm.behaviour(features, u),
}
"""What a frozen iterate may mean: the policy that it stands for, or with its exploration."""


class Returns(NamedTuple):
    """Discounted returns from s₀ ~ the initial distribution; axes: point, world."""

    exact: Float[Array, "points worlds"]
    monte_carlo: Float[Array, "points worlds"]


def returns_of(
    key: Key[Array, ""],
    mdp: TabularMDP,
    policies: Float[Array, "points worlds S A"],
    config: EvaluationConfig,
) -> Returns:
    """Exact and Monte Carlo returns of policy tables.

    Args:
        key: randomness of the Monte Carlo estimates.
        mdp: the MDPs, stacked.
        policies: π(a|s) for each point and MDP.
        config: number and length of trajectories.
    """

    def one(key, mdp, policy):
        sampled = monte_carlo_return(key, mdp, policy, config.trajectories, config.length)
        return Returns(expected_return(mdp, policy), sampled.mean())

    keys = jax.random.split(key, policies.shape[:2])
    return jax.vmap(jax.vmap(one), in_axes=(0, None, 0))(keys, mdp, policies)


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
    P: Float[Array, "D D"],
    V: Float[Array, "D D"],
    config: EvaluationConfig | None = None,
    family: RandomMDPs | None = None,
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
    learners = {"block": block(algorithm, P, V), "teacher": teacher(algorithm)}
    worlds, keys = held_out_worlds(algorithm, config, family)
    returns_key = jax.random.fold_in(jax.random.key(config.seed), 0x5EED)

    @jax.jit
    @full_precision
    def sample(policies: Float[Array, "points worlds S A"]) -> Returns:
        return returns_of(returns_key, worlds.mdp, policies, config)

    returns = {}
    for name, learner in learners.items():
        history = jax.jit(
            lambda keys, worlds, learner=learner: run(
                keys, worlds, algorithm, learner, config.steps, config.window_length
            )
        )(keys, worlds)
        frozen = history[:, config.points].swapaxes(0, 1)
        for reading, table in READINGS.items():
            per_world = jax.vmap(lambda f, u, t=table: t(algorithm, f, u))
            policies = jax.vmap(per_world, in_axes=(None, 0))(worlds.features, frozen)
            returns[name, reading] = sample(policies)
    returns["oracle", "policy"] = sample(jax.vmap(oracle)(worlds.mdp)[None])
    returns["uniform", "policy"] = sample(jax.vmap(uniform)(worlds.mdp)[None])
    return Evaluation(config.points, jax.tree.map(np.asarray, returns))


def oracle(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The greedy policy of Q⋆."""
    return greedy(optimal_action_values(mdp))


def uniform(mdp: TabularMDP) -> Float[Array, "S A"]:
    """The policy that takes every action with the same probability."""
    return jnp.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions, mdp.transition.dtype)
