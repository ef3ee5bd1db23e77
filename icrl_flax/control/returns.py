"""Discounted returns of policies: exact, and sampled."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax._draws import draw_index
from icrl_flax.experience.rollout import rollout
from icrl_flax.mdps.tabular import TabularMDP
from icrl_flax.mdps.values import expected_return


def monte_carlo_return(
    key: Key[Array, ""],
    mdp: TabularMDP,
    policy: Float[Array, "S A"],
    trajectories: int,
    length: int,
) -> Float[Array, " trajectories"]:
    """Discounted returns of sampled trajectories from s₀ ~ the initial distribution.

    Args:
        key: randomness.
        mdp: the environment.
        policy: π(a|s), indexed `[s, a]`.
        trajectories: how many.
        length: transitions of each; what comes later is left out.

    Raises:
        ValueError: if a count is not a positive integer or the policy is no policy.
    """
    _checks.positive_integer("trajectories", trajectories)
    _checks.positive_integer("length", length)

    def one(key: Key[Array, ""]) -> Float[Array, ""]:
        start_key, rollout_key = jax.random.split(key)
        start = draw_index(jax.random.uniform(start_key, dtype=policy.dtype), mdp.initial)
        window = rollout(rollout_key, mdp, policy, start, length)
        # γ^i until the episode ends, 0 after: the next episode is another one.
        weights = jnp.cumprod(jnp.roll(window.discounts, 1).at[0].set(1))
        return weights @ window.rewards

    return jax.vmap(one)(jax.random.split(key, trajectories))


class Returns(NamedTuple):
    """Discounted returns from s₀ ~ the initial distribution; axes: point, task.

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
    policies: Float[Array, "points tasks S A"],
    trajectories: int,
    length: int,
) -> Returns:
    """Exact and Monte Carlo returns of policy tables.

    Args:
        key: randomness of the Monte Carlo estimates.
        mdps: the MDPs, stacked.
        policies: π(a|s) for each point and MDP.
        trajectories: of each estimate.
        length: transitions of each trajectory.
    """

    def one(key: Key[Array, ""], mdp: TabularMDP, policy: Float[Array, "S A"]) -> Returns:
        sampled = monte_carlo_return(key, mdp, policy, trajectories, length)
        return Returns(expected_return(mdp, policy), sampled.mean(), sampled.var(ddof=1))

    def at_one_point(batch: tuple) -> Returns:
        keys, tables = batch
        return jax.vmap(one)(keys, mdps, tables)

    # Point after point: all at once would hold gigabytes of random numbers.
    return jax.lax.map(at_one_point, (jax.random.split(key, policies.shape[:2]), policies))
