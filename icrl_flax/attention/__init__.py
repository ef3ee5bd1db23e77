"""The transformer: its prompt, its weights, linear and softmax attention, the constructions."""

from typing import TYPE_CHECKING, Any

from icrl_flax.attention.alignment import Alignment, align
from icrl_flax.attention.block import Block, EffectiveBlock, SoftmaxBlock
from icrl_flax.attention.decomposition import Decomposition, bilinear_term, decompose
from icrl_flax.attention.deep import Attention, StackedBlock, attention_weights
from icrl_flax.attention.linear import linear_attention
from icrl_flax.attention.prompt import augment, build_prompt, readout
from icrl_flax.attention.query import QueryBlock, query_construction, reward_row, trace_mask
from icrl_flax.attention.similarity import Similarity, implicit_weights, similarity
from icrl_flax.attention.softmax import softmax_attention, softmax_term
from icrl_flax.attention.symmetry import mix, rescale
from icrl_flax.attention.weights import (
    Blocks,
    Effective,
    Matrices,
    embed,
    identity_blocks,
    initial_effective,
    split,
)

if TYPE_CHECKING:
    from icrl_flax.attention.module import LinearAttentionBlock

__all__ = [
    "Alignment",
    "Attention",
    "Block",
    "Blocks",
    "Decomposition",
    "Effective",
    "EffectiveBlock",
    "LinearAttentionBlock",
    "Matrices",
    "QueryBlock",
    "Similarity",
    "SoftmaxBlock",
    "StackedBlock",
    "align",
    "attention_weights",
    "augment",
    "bilinear_term",
    "build_prompt",
    "decompose",
    "embed",
    "identity_blocks",
    "implicit_weights",
    "initial_effective",
    "linear_attention",
    "mix",
    "query_construction",
    "readout",
    "rescale",
    "reward_row",
    "similarity",
    "softmax_attention",
    "softmax_term",
    "split",
    "trace_mask",
]


def __getattr__(name: str) -> Any:
    """The Flax module, when it is first asked for: Flax is a third of all imports."""
    if name == "LinearAttentionBlock":
        from icrl_flax.attention.module import LinearAttentionBlock

        return LinearAttentionBlock
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
