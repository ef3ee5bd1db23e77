"""Algorithms 1 and 2: configuration, data, inner loop, the loop, its result, and checkpoints."""

from icrl_flax.training.blocks import block_of, initial_block
from icrl_flax.training.checkpoint import load, save
from icrl_flax.training.config import TrainingConfig
from icrl_flax.training.fit import Fit, fit
from icrl_flax.training.loop import in_order, train, train_iter
from icrl_flax.training.losses import Examples, Walks, sample_loss
from icrl_flax.training.result import Run, TrainingResult, joined
from icrl_flax.training.stream import stream

__all__ = [
    "Examples",
    "Fit",
    "Run",
    "TrainingConfig",
    "TrainingResult",
    "Walks",
    "block_of",
    "fit",
    "in_order",
    "initial_block",
    "joined",
    "load",
    "sample_loss",
    "save",
    "stream",
    "train",
    "train_iter",
]
