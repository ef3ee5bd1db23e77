"""What an agent is put before: an MDP with features, first parameters and a first state."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Key

from icrl_flax._draws import draw_index
from icrl_flax.mdps.families import MDPFamily, checked_sample
from icrl_flax.mdps.tabular import TabularMDP
from icrl_flax.rules.base import Features, Rule


class Task(eqx.Module):
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


def draw_task(
    key: Key[Array, ""],
    rule: Rule,
    family: MDPFamily,
    dtype: DTypeLike = jnp.float32,
) -> Task:
    """Draw the MDP, its features, u and s₀, as Algorithms 1 and 2 begin.

    Args:
        key: randomness.
        rule: draws features and first parameters.
        family: draws the MDP; with a method `with_features` it sees the features too.
        dtype: floating-point type of everything.
    """
    mdp_key, feature_key, parameter_key, state_key = jax.random.split(key, 4)
    mdp = family.sample(mdp_key, dtype)
    features = rule.sample_features(feature_key, mdp.n_states, mdp.n_actions, dtype)
    with_features = getattr(family, "with_features", None)
    if with_features is not None:  # on a key of its own: other draws stay what they were
        own_key = jax.random.fold_in(mdp_key, 0xFEA7)
        mdp, features = with_features(own_key, mdp, features, rule)
    return Task(
        mdp=mdp,
        features=features,
        u=rule.sample_parameters(parameter_key, dtype),
        state=draw_index(jax.random.uniform(state_key, dtype=dtype), mdp.initial),
    )


def check_fit(rule: Rule, family: MDPFamily) -> None:
    """Refuse a rule whose sizes do not fit the family's MDPs, or a family whose MDPs are none.

    Raises:
        ValueError: as the rule or `checked_sample` says.
    """
    checked_sample(family, jax.random.key(0))
    jax.eval_shape(lambda key: draw_task(key, rule, family), jax.random.key(0))
