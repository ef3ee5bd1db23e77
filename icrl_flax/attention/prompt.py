"""The prompt and the parameters' block structure, written once over (p, q).

SARSA and actor-critic share one shape. With p the height of a token x_i and q
the number of parameters that the rule updates, D = p + q + 1 and

    H = [ x_0 … x_{n−1}  0 ]      w̃ = [1 ; u]
        [  0  …    0     w̃ ]

(eqs. 4 and 13). P and V split conformally into p and q+1 rows and columns.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def augment(u: Float[Array, " q"]) -> Float[Array, " q+1"]:
    """w̃ = [1 ; u]."""
    return jnp.concatenate([jnp.ones(1, u.dtype), u])


def build_prompt(tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, "D n+1"]:
    """H of eq. (4) or (13): n context columns, then one parameter column.

    Args:
        tokens: one row per transition, x_iᵀ.
        u: the parameters before the update.
    """
    n, p = tokens.shape
    q = u.shape[0]
    context = jnp.concatenate([tokens.T, jnp.zeros((q + 1, n), tokens.dtype)])
    column = jnp.concatenate([jnp.zeros(p, u.dtype), augment(u)])
    return jnp.concatenate([context, column[:, None]], axis=1)


def readout(H: Float[Array, "D columns"], q: int) -> Float[Array, " q"]:
    """The block's answer: the last q entries of the last column."""
    return H[-q:, -1]
