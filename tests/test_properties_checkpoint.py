"""Whatever is saved comes back, to the bit.

The same cases each time; for more of them, and others on every run:

    python -m pytest tests/test_properties_checkpoint.py --hypothesis-profile=more
"""

import tempfile

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from icrl_flax import Effective, RandomMDPs, TrainingConfig, TrainingResult, load, save
from icrl_flax.rules import discover
from icrl_flax.training import Run
from icrl_flax.training.result import State

RULES = discover()
SHAPE = st.integers(1, 5)


@st.composite
def runs(draw):
    """A rule's name, a seed of its numbers, settings of a family and of the training."""
    positive = st.floats(0, 1e3, exclude_min=True, allow_subnormal=False)
    count = st.integers(1, 10**6)
    together = draw(st.integers(1, 9))
    config = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "mdps": together * draw(count),
        "mdps_per_update": together,
        **{name: draw(count) for name in ("windows", "window_length", "decay_every")},
        **{name: draw(positive) for name in ("learning_rate", "decay", "inverse_temperature")},
        "floor": draw(st.floats(0, 1)),
        "gain": draw(st.floats(0, 10)),
        "optimizer": draw(st.sampled_from(["adam", "sgd"])),
        "schedule": draw(st.sampled_from(["exponential", "constant", "cosine"])),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
    }
    family = {
        "n_states": draw(SHAPE),
        "n_actions": draw(SHAPE),
        "gamma": draw(st.floats(0, 1, exclude_max=True)),
        "concentration": draw(positive),
        "reward": draw(st.sampled_from(["uniform", "normal", "sparse", "state-action"])),
    }
    return draw(st.sampled_from(sorted(RULES))), draw(st.integers(0, 999)), family, config


@given(runs(), st.data())
def test_checkpoint_round_trip(run, data):
    """Signed zeros, subnormal numbers and the largest ones among the weights."""
    name, seed, family, config = run
    rule = RULES[name].draw(np.random.default_rng(seed), 2)
    config = TrainingConfig(**config)
    run = Run(rule, RandomMDPs(**family), config)
    width = int(config.dtype[-2:])
    number = st.floats(width=width, allow_nan=False, allow_infinity=False)
    heads = () if rule.heads == 1 else (rule.heads,)

    def draw(*shape):
        return data.draw(arrays(config.dtype, (*heads, *shape), elements=number))

    theta = Effective(draw(rule.p, rule.q + 1), draw(rule.q, rule.p))
    losses = data.draw(arrays(config.dtype, st.integers(0, 8), elements=number))
    state = State(Effective(*(leaf[None] for leaf in theta)), (np.zeros((1,), np.int32),))
    result = TrainingResult((run,), False, state, losses, -1, 0, 0.5, 0.25)
    with tempfile.TemporaryDirectory() as directory:
        read = load(save(result, f"{directory}/run"))
    written = (*theta, losses)
    for found, expected in zip((*read.state.theta, read.losses), written, strict=True):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
    assert read.runs == (run,)
    assert losses.size == 0 or np.isfinite(read.record["final_loss"])
