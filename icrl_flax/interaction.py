"""Acting and learning in turns: the loop that training data and control share."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax.algorithm import Algorithm, Features
from icrl_flax.mdp import MDPFamily, TabularMDP
from icrl_flax.windows import Window, draw_index, rollout

Learner = Callable[[Features, Float[Array, " q"], Window], Float[Array, " q"]]
"""Whatever turns (features, parameters, window) into new parameters: a rule or a block."""


class World(eqx.Module):
    """An MDP with what an agent brings to it.

    Args:
        mdp: the environment.
        features: the agent's feature tables.
        u: the agent's parameters before its first window.
        state: where it stands.
    """

    mdp: TabularMDP
    features: Features
    u: Float[Array, "*batch q"]
    state: Int[Array, "*batch"]


def draw_world(
    key: Key[Array, ""],
    algorithm: Algorithm,
    family: MDPFamily,
    dtype: DTypeLike = jnp.float32,
) -> World:
    """Draw the MDP, its features, u and s₀, as Algorithms 1 and 2 begin.

    Args:
        key: randomness.
        algorithm: draws features and first parameters.
        family: draws the MDP.
        dtype: floating-point type of everything.
    """
    mdp_key, feature_key, parameter_key, state_key = jax.random.split(key, 4)
    mdp = family.sample(mdp_key, dtype)
    return World(
        mdp=mdp,
        features=algorithm.sample_features(feature_key, mdp.n_states, mdp.n_actions, dtype),
        u=algorithm.sample_parameters(parameter_key, dtype),
        state=draw_index(jax.random.uniform(state_key, dtype=dtype), mdp.initial),
    )


def check_fit(algorithm: Algorithm, family: MDPFamily) -> None:
    """Refuse an algorithm whose sizes do not fit the family's MDPs: a trace shows it.

    Raises:
        ValueError: as the algorithm says.
    """
    jax.eval_shape(lambda key: draw_world(key, algorithm, family), jax.random.key(0))


def interact(
    key: Key[Array, ""],
    world: World,
    algorithm: Algorithm,
    learner: Learner,
    windows: int,
    n: int,
) -> tuple[Float[Array, "windows q"], Window, Float[Array, "windows q"]]:
    """Act for a window, let the learner answer, act on its answer, and so on.

    No reset between windows: each starts where the one before it ended.

    Args:
        key: randomness; two learners given the same key see the same windows
            while their behaviour is the same.
        world: MDP, features, first parameters and state.
        algorithm: says how parameters act.
        learner: makes new parameters of features, parameters and window.
        windows: how many.
        n: transitions per window.

    Returns:
        Parameters before each window, the windows, and parameters after each.

    Raises:
        ValueError: if a count is not a positive integer.
    """
    _checks.positive_integer("windows", windows)

    def one_window(carry, key):
        u, state = carry
        behaviour = algorithm.behaviour(world.features, u)
        window = rollout(key, world.mdp, behaviour, state, n)
        answer = learner(world.features, u, window)
        return (answer, window.states[-1]), (u, window, answer)

    keys = jax.random.split(key, windows)
    start = world.u, jnp.asarray(world.state, jnp.int32)
    return jax.lax.scan(one_window, start, keys)[1]
