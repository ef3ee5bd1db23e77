"""Several layers on top of each other, over the parameter column; and other activations.

With zeros in their free entries layers hand the context columns on unchanged, so that L
layers are L answers in turn to one window. Held as θ_eff they do that by definition. Held
as full P and V each layer writes into every column, and the next one reads it.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax.attention.block import Block, SoftmaxBlock
from icrl_flax.attention.decomposition import bilinear_term
from icrl_flax.attention.linear import last_column, linear_attention
from icrl_flax.attention.prompt import augment, build_prompt
from icrl_flax.attention.softmax import softmax_term
from icrl_flax.attention.weights import Effective, Matrices, embed, sum_over_heads

Attention = Literal["linear", "softmax", "relu", "tanh"]
"""What is done to the scores: nothing, or one of three activations."""
Value = TypeVar("Value")

_UNROLLED = 8
"""So many layers at most are written out in a program; more of them are a loop."""


def attention_weights(
    scores: Float[Array, "keys queries"],
    n: int,
    attention: str = "linear",
    inverse_temperature: float | Float[Array, ""] = 1.0,
    is_key: Any = None,
) -> Float[Array, "keys queries"]:
    """What each column weighs for each other one.

    Softmax weights are those of an average over the keys. The others are activations of
    the scores, divided by n as in eq. (1).

    Args:
        scores: h_iᵀ P h_j, row i for the key and column j for the query.
        n: number of transitions.
        attention: the activation.
        inverse_temperature: factor τ > 0 on the scores, of softmax alone.
        is_key: which rows count, one truth value each; all of them, if not given.
    """
    if attention == "softmax":
        scores = inverse_temperature * scores
        if is_key is not None:
            scores = jnp.where(is_key[:, None], scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=0)
    active = {"linear": lambda x: x, "relu": jax.nn.relu, "tanh": jnp.tanh}[attention](scores)
    return (active if is_key is None else jnp.where(is_key[:, None], active, 0)) / n


def repeat(
    layer: Callable[[Value, Any], Value], start: Value, theta: Any, layers: int, tied: bool
) -> Value:
    """What `layers` applications of `layer(value, θ_l)` make of `start`.

    Args:
        layer: one of them; keeps shapes and types.
        start: what goes in below.
        theta: the weights; untied ones have a leading axis, the layer.
        layers: how many.
        tied: whether all have the same weights.
    """
    if layers == 1:
        return layer(start, theta if tied else jax.tree.map(lambda leaf: leaf[0], theta))

    def step(value: Value, own: Any) -> tuple[Value, None]:
        return layer(value, theta if tied else own), None

    unroll = layers if layers <= _UNROLLED else 1
    return jax.lax.scan(step, start, None if tied else theta, length=layers, unroll=unroll)[0]


def split_top(theta: Any, tied: bool) -> tuple[Any, Any]:
    """The weights of all layers but the last, and those of the last."""
    if tied:
        return theta, theta
    return jax.tree.map(lambda leaf: leaf[:-1], theta), jax.tree.map(lambda leaf: leaf[-1], theta)


def check_depth(theta: Any, layers: int, tied: bool, attention: str) -> None:
    """Refuse weights without the leading axis of untied layers, and what is no activation.

    Raises:
        ValueError: naming the argument.
    """
    _checks.positive_integer("layers", layers)
    _checks.one_of("attention", attention, get_args(Attention))
    if not tied and any(leaf.shape[:1] != (layers,) for leaf in jax.tree.leaves(theta)):
        shapes = [leaf.shape for leaf in jax.tree.leaves(theta)]
        raise ValueError(f"theta must have a leading axis of {layers} layers, got shapes {shapes}")


class StackedBlock(Block, eqx.Module):
    """L layers over the paper's prompt: the parameters stand in the last column.

    Softmax attention has the parameter column as a query alone, as `SoftmaxBlock` has;
    with the other activations it is a key too, as eq. (1) has it.

    Args:
        theta: P12 and V̄21 of each layer, or all of P and V; untied layers have a
            leading axis, the layer.
        layers: their number L.
        tied: whether all layers have the same weights.
        attention: the activation.
        inverse_temperature: factor τ > 0 on the scores of softmax attention.

    Raises:
        ValueError: if θ has no axis for untied layers, or a setting is out of range.
    """

    theta: Effective | Matrices
    layers: int = eqx.field(static=True, default=1)
    tied: bool = eqx.field(static=True, default=True)
    attention: Attention = eqx.field(static=True, default="linear")
    inverse_temperature: float | Float[Array, ""] = 1.0

    def __check_init__(self) -> None:
        check_depth(self.theta, self.layers, self.tied, self.attention)

    def with_theta(self, theta: Effective | Matrices) -> "StackedBlock":
        return StackedBlock(
            theta, self.layers, self.tied, self.attention, self.inverse_temperature
        )

    @property
    def leading(self) -> tuple[int, ...]:
        return () if self.tied else (self.layers,)

    def _on_parameters(self, tokens: Float[Array, "n p"], theta: Effective) -> Callable:
        """One layer that is held as θ_eff: it changes the parameters, and nothing else."""

        @full_precision
        def activated(head: Effective, u: Float[Array, " q"]) -> Float[Array, " q"]:
            scores = tokens @ (head.P12 @ augment(u))
            weights = attention_weights(scores[:, None], len(tokens), self.attention)
            return head.V21 @ (weights[:, 0] @ tokens)

        def change(u: Float[Array, " q"]) -> Float[Array, " q"]:
            if self.attention == "linear":
                return bilinear_term(theta, tokens, u)
            if self.attention == "softmax":
                return softmax_term(theta, tokens, u, self.inverse_temperature)
            return sum_over_heads(lambda head: activated(head, u), theta)

        return change

    def _on_prompt(self, H: Float[Array, "D columns"], theta: Any) -> Float[Array, "D columns"]:
        """One layer that is held as P and V: it writes into every column."""
        P, V = theta
        if self.attention == "linear":
            return linear_attention(P, V, H)
        return _attend(P, V, H, self.attention, self.inverse_temperature)

    def update(self, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, " q"]:
        if isinstance(self.theta, Effective):
            return repeat(
                lambda u, theta: u + self._on_parameters(tokens, theta)(u),
                u,
                self.theta,
                self.layers,
                self.tied,
            )
        below, top = split_top(self.theta, self.tied)
        H = build_prompt(tokens, u)
        if self.layers > 1:
            H = repeat(self._on_prompt, H, below, self.layers - 1, self.tied)
        if self.attention == "linear":  # of the last layer the last column alone is read
            P, V = top
            return last_column(P, V, H)[-u.shape[0] :]
        if self.attention == "softmax" and self.layers == 1:
            return SoftmaxBlock(top, self.inverse_temperature).update(tokens, u)
        return self._on_prompt(H, top)[-u.shape[0] :, -1]

    @property
    def matrices(self) -> Matrices:
        return self.theta if isinstance(self.theta, Matrices) else embed(self.theta)


@full_precision
def _attend(
    P: Float[Array, "*heads D D"],
    V: Float[Array, "*heads D D"],
    H: Float[Array, "D columns"],
    attention: str,
    inverse_temperature: float | Float[Array, ""],
) -> Float[Array, "D columns"]:
    """H + V H A, A the weights of the activated scores Hᵀ P H; several heads add up."""
    columns = H.shape[1]
    is_key = jnp.arange(columns) < columns - 1 if attention == "softmax" else None

    def of_one_head(head: tuple[Float[Array, "D D"], Float[Array, "D D"]]):
        P, V = head
        scores = H.T @ P @ H
        return (V @ H) @ attention_weights(
            scores, columns - 1, attention, inverse_temperature, is_key
        )

    return H + sum_over_heads(of_one_head, (P, V))
