"""Sums along a window that fade: eligibility traces, returns and λ-returns."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def eligibility_traces(
    features: Float[Array, "n d"], decays: Float[Array, " n"]
) -> Float[Array, "n d"]:
    """Accumulating traces z_i = decay_{i−1} z_{i−1} + φ_i, with z_{−1} = 0 before the window.

    Args:
        features: φ_i, one row per transition.
        decays: what is left of z_i after transition i: λγ, or 0 where an episode ended.
    """

    def step(trace, inputs):
        phi, decay = inputs
        trace = trace + phi
        return decay * trace, trace

    return jax.lax.scan(step, jnp.zeros_like(features[0]), (features, decays))[1]


def discounted_sums(
    terms: Float[Array | np.ndarray, " n"], decays: Float[Array | np.ndarray, " n"]
) -> Float[Array, " n"]:
    """y_i = x_i + decay_i y_{i+1}, with y_n = 0 after the window.

    Args:
        terms: x_i: rewards, for returns; TD errors, for what λ-returns add to the values.
        decays: the weight of what follows transition i; 0 where an episode ended.
    """

    def step(total, inputs):
        term, decay = inputs
        total = term + decay * total
        return total, total

    start = jnp.zeros((), terms.dtype)
    return jax.lax.scan(step, start, (terms, decays), reverse=True)[1]
