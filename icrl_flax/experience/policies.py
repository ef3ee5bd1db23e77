"""Behaviour policies as tables π(a|s), one row per state."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks


def greedy(values: Float[Array | np.ndarray, "S A"]) -> Float[Array, "S A"]:
    """The policy that takes an action of highest value; ties share alike.

    Args:
        values: action values, indexed `[s, a]`.

    Raises:
        ValueError: if a value is not finite: no action is best then.
    """
    _checks.finite("values", values)
    values = jnp.asarray(_checks.as_reals("values", values))
    best = values == values.max(axis=-1, keepdims=True)
    return best / best.sum(axis=-1, keepdims=True, dtype=values.dtype)


def softmax(preferences: Float[Array, "S A"]) -> Float[Array, "S A"]:
    """π(a|s) ∝ exp(preference), the actor of eq. (3).

    Args:
        preferences: λᵀφ_π(s, a), indexed `[s, a]`.
    """
    return jax.nn.softmax(preferences, axis=-1)


def epsilon_mix(
    policy: Float[Array | np.ndarray, "S A"], epsilon: float | Float[Array, ""]
) -> Float[Array, "S A"]:
    """With probability ε a uniform action, otherwise the given policy's.

    Args:
        policy: π(a|s), indexed `[s, a]`.
        epsilon: probability ε in [0, 1] of a uniform action at each step.

    Raises:
        ValueError: if ε lies outside [0, 1] or a row is not a distribution.
    """
    _checks.probability("epsilon", epsilon)
    _checks.distribution("policy", policy)
    policy = jnp.asarray(_checks.as_reals("policy", policy))
    return (1 - epsilon) * policy + epsilon / policy.shape[-1]
