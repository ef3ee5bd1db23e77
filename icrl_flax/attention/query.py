"""The other prompt: the last column holds a state's features, and the answer is its value.

Wang et al. (arXiv:2405.13861) put no parameters into the prompt. Its columns are

    z_i = [φ_i ; γφ_{i+1} ; r_{i+1}]  for the n transitions, and  [φ ; 0 ; 0]  for the query,

and minus the entry of the query's column in the row of the rewards, after L layers, is the
value of φ. In that row a constructed block keeps the TD errors δ_i of the transitions, and
−wᵀφ for the query: w itself is written nowhere. Only transitions are keys.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax._ambient import full_precision
from icrl_flax.attention.deep import (
    Attention,
    attention_weights,
    check_depth,
    repeat,
    split_top,
)
from icrl_flax.attention.weights import Effective, Matrices


class QueryBlock(eqx.Module):
    """L layers over a prompt whose last column is a query.

    Args:
        theta: P and V, p × p for tokens of height p; untied layers have a leading axis,
            the layer.
        row: the row of the tokens that holds the rewards; 2d for tokens of TD(0).
        layers: their number L.
        tied: whether all layers have the same weights.
        attention: the activation; softmax averages over the transitions.
        inverse_temperature: factor τ > 0 on the scores of softmax attention.
        mask: n × n matrix M, by which values are mixed: the block adds V Z M A in place
            of V Z A. Wang et al. have M_ij = λ^(i−j) for i ≥ j, and 0 else, for TD(λ).

    Raises:
        ValueError: if θ has no axis for untied layers, or a setting is out of range.
    """

    theta: Matrices
    row: int = eqx.field(static=True)
    layers: int = eqx.field(static=True, default=1)
    tied: bool = eqx.field(static=True, default=True)
    attention: Attention = eqx.field(static=True, default="linear")
    inverse_temperature: float | Float[Array, ""] = 1.0
    mask: Float[Array, "n n"] | None = None

    def __check_init__(self) -> None:
        check_depth(self.theta, self.layers, self.tied, self.attention)

    def with_theta(self, theta: Matrices) -> "QueryBlock":
        """The same block with other weights."""
        return eqx.tree_at(lambda block: block.theta, self, theta)

    @property
    def matrices(self) -> Matrices:
        """P and V, with a leading axis if the layers are untied."""
        return self.theta

    @full_precision
    def values(
        self, tokens: Float[Array, "n p"], queries: Float[Array, "k d"]
    ) -> Float[Array, " k"]:
        """The value of each query, from the same window.

        No transition looks at a query, so the window is worked through once for all.
        """
        height = tokens.shape[1] - queries.shape[1]
        Q = jnp.concatenate([queries.T, jnp.zeros((height, len(queries)), queries.dtype)])
        if self.attention == "linear":
            return self._linear_values(tokens, Q)

        def layer(Z: Any, theta: Matrices) -> Any:
            context, Q = Z

            def change(columns: Array) -> Array:
                weights = attention_weights(
                    context.T @ (theta.P @ columns),
                    len(tokens),
                    self.attention,
                    self.inverse_temperature,
                )
                return theta.V @ context @ (weights if self.mask is None else self.mask @ weights)

            return context + change(context), Q + change(Q)

        _, Q = repeat(layer, (tokens.T, Q), self.theta, self.layers, self.tied)
        return -Q[self.row]

    def _linear_values(
        self, tokens: Float[Array, "n p"], Q: Float[Array, "p k"]
    ) -> Float[Array, " k"]:
        """The same for linear attention, where a layer multiplies all columns by I + A.

        With S = (1/n) Z M Zᵀ it is A = V S P, and S becomes (I + A) S (I + A)ᵀ: after S the
        window is not looked at again.
        """
        n = len(tokens)
        S = tokens.T @ (tokens if self.mask is None else self.mask @ tokens) / n

        def layer(carry: Any, theta: Matrices) -> Any:
            S, Q = carry
            A = theta.V @ S @ theta.P
            half = S + A @ S
            return half + half @ A.T, Q + A @ Q

        below, top = split_top(self.theta, self.tied)
        if self.layers > 1:
            S, Q = repeat(layer, (S, Q), below, self.layers - 1, self.tied)
        return -(Q + top.V @ (S @ (top.P @ Q)))[self.row]

    def value(self, tokens: Float[Array, "n p"], query: Float[Array, " d"]) -> Float[Array, ""]:
        """The value of one query."""
        return self.values(tokens, query[None])[0]


def query_construction(
    optimum: Effective, preconditioner: Float[Array, "q q"] | None = None
) -> Matrices:
    """P and V with which a layer of `QueryBlock` takes a rule's step from parameters at 0.

    A rule with P⋆12 w̃ = e + B u, where e picks the reward, adds (1/n) Σ_j δ_j V̄⋆21 x_j to u.
    That changes the error δ_i = x_iᵀ(e + B u) by (1/n) Σ_j δ_j x_iᵀ B V̄⋆21 x_j. So
    P = (C V̄⋆21)ᵀ Bᵀ and V = e eᵀ. A preconditioner C multiplies the rule's step.

    Args:
        optimum: the rule's construction, of one head.
        preconditioner: C; the identity, if not given.

    Raises:
        ValueError: if the rule has several heads, or the reward is not in its error alone
            and by itself.
    """
    if np.ndim(optimum.P12) != 2:
        raise ValueError(f"optimum must be of one head, got shape {np.shape(optimum.P12)}")
    e, B = optimum.P12[:, 0], optimum.P12[:, 1:]
    step = optimum.V21 if preconditioner is None else preconditioner @ optimum.V21
    if not isinstance(e, Tracer):  # of which there are no values to look at
        row = reward_row(optimum)
        if np.any(np.asarray(optimum.V21)[:, row]) or np.any(np.asarray(B)[row]):
            raise ValueError("optimum must use the reward in its error alone")
    return Matrices(step.T @ B.T, jnp.outer(e, e))


def reward_row(optimum: Effective) -> int:
    """The row of a rule's tokens that holds the reward, from its construction.

    Raises:
        ValueError: if its error is more than the reward at parameters 0.
    """
    e = np.asarray(optimum.P12)[:, 0]
    row = int(np.abs(e).argmax())
    if not np.array_equal(e, np.eye(len(e))[row]):
        raise ValueError(f"optimum must have an error that is the reward at 0, got {e}")
    return row


def trace_mask(n: int, decay: float, dtype: DTypeLike = float) -> Float[Array, "n n"]:
    """M_ij = decay^(i−j) for i ≥ j, 0 else: a trace that begins with the window, as a mask.

    Args:
        n: number of transitions.
        decay: λ in Wang et al.; γλ for the trace of the textbook's TD(λ).
        dtype: floating-point type.
    """
    ages = np.subtract.outer(np.arange(n), np.arange(n))
    return jnp.asarray(np.where(ages >= 0, float(decay) ** np.maximum(ages, 0), 0), dtype)
