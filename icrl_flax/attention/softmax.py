"""The same block with softmax attention: what every reader asks about first.

A softmax needs all logits to be one thing: the weights of an average. So the
parameter column is masked from the keys, and its own output is

    H_out's last column = h + V Σ_i softmax_i(τ h_iᵀ P h) h_i,  h = [0 ; w̃],

over the n context columns h_i = [x_i ; 0]. As in linear attention only P12 and
V̄21 matter: h_iᵀ P h = x_iᵀ P12 w̃, and the readout of V h_i is V̄21 x_i.
"""

import jax
from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.attention.prompt import augment
from icrl_flax.attention.weights import Effective


@full_precision
def softmax_attention(
    P: Float[Array, "D D"],
    V: Float[Array, "D D"],
    H: Float[Array, "D columns"],
    inverse_temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, " D"]:
    """The last column of a softmax block's output.

    Args:
        P: the D×D matrix that stands for QᵀK.
        V: the D×D value matrix.
        H: the prompt, its last column a query and never a key.
        inverse_temperature: factor τ > 0 on the logits.
    """
    context, query = H[:, :-1], H[:, -1]
    weights = jax.nn.softmax(inverse_temperature * (context.T @ (P @ query)))
    return query + V @ (context @ weights)


@full_precision
def softmax_term(
    effective: Effective,
    tokens: Float[Array, "n p"],
    u: Float[Array, " q"],
    inverse_temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, " q"]:
    """V̄21 Σ_i softmax_i(τ x_iᵀ P12 w̃) x_i: what a softmax block adds to u.

    Args:
        effective: the blocks P12 and V̄21.
        tokens: one row per transition, x_iᵀ.
        u: the parameters before the update.
        inverse_temperature: factor τ > 0 on the logits.
    """
    logits = tokens @ (effective.P12 @ augment(u))
    return effective.V21 @ (jax.nn.softmax(inverse_temperature * logits) @ tokens)
