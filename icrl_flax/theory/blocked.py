"""A population's loss with its windows in blocks that a processor's cache holds."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.theory.population import Population, through

_BYTES = 1 << 20
"""Of the tokens of a block: at d = 36, where all of them are read four times for each ∇L, that
is 2.5 times as fast as in one piece. Where the windows fit into one block nothing changes."""


class Blocked(eqx.Module):
    """L and ∇L of a population, for flows: what does not depend on Δ is computed once.

    The windows that fill the last block are zero, and add nothing.

    Args:
        tokens: the windows.
        w: w̃ = [1 ; u].
        b: Σ̂ P⋆12 w̃.
        optimum: (P⋆12, V̄⋆21).
        size: the number of windows.
    """

    tokens: Float[Array, "blocks k n p"]
    w: Float[Array, "blocks k width"]
    b: Float[Array, "blocks k p"]
    optimum: Effective
    size: Float[Array, ""]

    @classmethod
    def of(cls, population: Population, together: int | None = None) -> "Blocked":
        """The same loss, of the same windows, so many of them in a block if it is said."""
        size = population.size
        fitting = max(1, _BYTES // population.tokens[0].nbytes)
        return _blocked(population, min(size, together or fitting))

    def loss(self, c: float | Float[Array, ""], delta: Effective) -> Float[Array, ""]:
        """L(θ̄(c) + Δ) = ½ E‖X + Y‖², eq. (6)."""
        U, W = delta
        rows = self.optimum.V21 / c + W

        def add(total: Array, block: Any) -> tuple[Array, None]:
            tokens, w, b = block
            error = through(tokens, w @ U.T) @ rows.T + c * b @ W.T
            return total + (error**2).sum(), None

        total, _ = jax.lax.scan(add, jnp.zeros((), self.w.dtype), (self.tokens, self.w, self.b))
        return total / self.size / 2

    def gradient(self, c: float | Float[Array, ""], delta: Effective) -> Effective:
        """∇L at θ̄(c) + Δ."""
        U, W = delta
        rows = self.optimum.V21 / c + W

        def add(total: Effective, block: Any) -> tuple[Effective, None]:
            tokens, w, b = block
            moved, still = through(tokens, w @ U.T), c * b
            error = moved @ rows.T + still @ W.T
            P_slope = through(tokens, error @ rows).T @ w
            V_slope = error.T @ (still + moved)
            return Effective(total.P12 + P_slope, total.V21 + V_slope), None

        start = jax.tree.map(jnp.zeros_like, self.optimum)
        total, _ = jax.lax.scan(add, start, (self.tokens, self.w, self.b))
        return jax.tree.map(lambda slope: slope / self.size, total)


@eqx.filter_jit
def _blocked(population: Population, together: int) -> Blocked:
    tokens, w, b = population.tokens, population.w, population.b
    size = len(tokens)
    blocks = -(-size // together)

    def split(x: Array) -> Array:
        filled = jnp.concatenate([x, jnp.zeros((blocks * together - size, *x.shape[1:]), x.dtype)])
        return filled.reshape(blocks, together, *x.shape[1:])

    return Blocked(split(tokens), split(w), split(b), population.optimum, jnp.asarray(float(size)))
