"""One linear self-attention block (eq. 1) as a Flax NNX module over full P and V.

A file of its own, which `icrl_flax` imports when the class is first asked for: Flax takes a
third of the time of all imports, and training on θ_eff, sweeps and commands do without it.
"""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.block import Block
from icrl_flax.attention.linear import last_column, linear_attention
from icrl_flax.attention.prompt import build_prompt
from icrl_flax.attention.weights import Blocks, Matrices, embed, initial_effective, split


class LinearAttentionBlock(Block, nnx.Module):
    """The transformer of the paper: full D×D matrices P and V, D = p + q + 1.

    Starts as the paper's experiments do: P12 and V̄21 Xavier-normal, zero elsewhere.

    Args:
        p: height of a token.
        q: number of parameters that the rule updates.
        gain: Xavier gain of the two blocks that learn.
        dtype: floating-point type of P and V.
        heads: number of heads; with several, P and V have a leading axis.
        rngs: streams of randomness; `params` is used.

    Raises:
        ValueError: if a size is not a positive integer or the gain is negative.
    """

    def __init__(
        self,
        p: int,
        q: int,
        *,
        gain: float | Float[Array, ""] = 0.1,
        dtype: DTypeLike = jnp.float32,
        heads: int = 1,
        rngs: nnx.Rngs,
    ) -> None:
        _checks.positive_integer("p", p)
        _checks.positive_integer("q", q)
        _checks.positive_integer("heads", heads)
        _checks.non_negative("gain", gain)
        self.p, self.q = p, q
        P, V = embed(initial_effective(rngs, p, q, gain, dtype, heads))
        self.P = nnx.Param(P)
        self.V = nnx.Param(V)

    @classmethod
    def from_matrices(
        cls, P: Float[Array, "*heads D D"], V: Float[Array, "*heads D D"], p: int
    ) -> "LinearAttentionBlock":
        """A block with the given weights and tokens of height p."""
        *leading, D = P.shape[:-1]
        for name, matrix in (("P", P), ("V", V)):
            _checks.shape(name, matrix, (*leading, D, D))
        heads = leading[0] if leading else 1
        # The structure alone, without drawing weights that nobody wants.
        block = nnx.eval_shape(lambda: cls(p, D - p - 1, heads=heads, rngs=nnx.Rngs(0)))
        block.P, block.V = nnx.Param(jnp.asarray(P)), nnx.Param(jnp.asarray(V))
        return block

    @property
    def theta(self) -> Matrices:  # pyright: ignore[reportIncompatibleVariableOverride]
        """P and V."""
        return Matrices(self.P[...], self.V[...])

    @property
    def matrices(self) -> Matrices:
        return self.theta

    def with_theta(self, theta: Matrices) -> "LinearAttentionBlock":
        """A block of the same size with other weights."""
        return self.from_matrices(*theta, self.p)

    @property
    def blocks(self) -> Blocks:
        """P and V, split at row and column p."""
        return split(self.P[...], self.V[...], self.p)

    def __call__(self, H: Float[Array, "D columns"]) -> Float[Array, "D columns"]:
        """Eq. (1): the whole output, one column per column of the prompt."""
        _checks.shape("H", H, (self.p + self.q + 1, None))
        return linear_attention(self.P[...], self.V[...], H)

    def update(self, tokens: Float[Array, "n p"], u: Float[Array, " q"]) -> Float[Array, " q"]:
        """TF_θ: the parameters that the block reads out of the prompt for (tokens, u)."""
        _checks.shape("tokens", tokens, (None, self.p))
        _checks.shape("u", u, (self.q,))
        return last_column(*self.theta, build_prompt(tokens, u))[-self.q :]
