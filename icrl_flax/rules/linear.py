"""Tokens and weights of rules whose values are linear in features φ, state's or action's.

`now` holds φ_i and `then` φ_{i+1}, one row for each transition of a window.
"""

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective, identity_blocks
from icrl_flax.experience.traces import eligibility_traces
from icrl_flax.experience.window import Window

Number = float | Float[Array, ""]


def td_tokens(
    now: Float[Array, "n d"], then: Float[Array, "n d"], window: Window
) -> Float[Array, "n p"]:
    """x_i = [φ_i ; γφ_{i+1} ; r_{i+1}], eq. (4)."""
    return jnp.concatenate(
        [now, window.discounts[:, None] * then, window.rewards[:, None]], axis=1
    )


def td_weights(d: int, alpha: Number, dtype: DTypeLike) -> Effective:
    """Eq. (5): P⋆12 w̃ = [−w ; w ; 1] and V̄⋆21 = [αI, 0, 0]."""
    return Effective(
        identity_blocks([[0, -1], [0, 1], [1, 0]], (d, d, 1), (1, d), dtype),
        identity_blocks([[alpha, 0, 0]], (d,), (d, d, 1), dtype),
    )


def trace_tokens(
    now: Float[Array, "n d"], then: Float[Array, "n d"], lam: Number, window: Window
) -> Float[Array, "n p"]:
    """x_i = [φ_i ; γφ_{i+1} ; r_{i+1} ; z_i]; the trace z_i is cut where an episode ends."""
    traces = eligibility_traces(now, lam * window.trace_discounts)
    return jnp.concatenate([td_tokens(now, then, window), traces], axis=1)


def trace_weights(d: int, alpha: Number, dtype: DTypeLike) -> Effective:
    """P⋆12 w̃ = [−w ; w ; 1 ; 0] and V̄⋆21 = [0, 0, 0, αI]."""
    return Effective(
        identity_blocks([[0, -1], [0, 1], [1, 0], [0, 0]], (d, d, 1, d), (1, d), dtype),
        identity_blocks([[0, 0, 0, alpha]], (d,), (d, d, 1, d), dtype),
    )


def differential_tokens(
    now: Float[Array, "n d"], then: Float[Array, "n d"], window: Window
) -> Float[Array, "n p"]:
    """x_i = [φ_i ; φ_{i+1} ; r_{i+1} ; 1]."""
    rewards = window.rewards[:, None]
    return jnp.concatenate([now, then, rewards, jnp.ones_like(rewards)], axis=1)


def differential_weights(d: int, alpha: Number, beta: Number, dtype: DTypeLike) -> Effective:
    """P⋆12 w̃ = [−w ; w ; 1 ; −r̄] and V̄⋆21 = [[αI, 0, 0, 0], [0, 0, 0, β]]."""
    return Effective(
        identity_blocks(
            [[0, -1, 0], [0, 1, 0], [1, 0, 0], [0, 0, -1]], (d, d, 1, 1), (1, d, 1), dtype
        ),
        identity_blocks([[alpha, 0, 0, 0], [0, 0, 0, beta]], (d, 1), (d, d, 1, 1), dtype),
    )
