"""Whatever is saved comes back, to the bit.

The same cases each time; for more of them, and others on every run:

    python -m pytest tests/test_properties_checkpoint.py --hypothesis-profile=more
"""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from icrl_flax import RandomMDPs, Report, TrainingConfig, discover, load, save

RULES = discover()
SHAPE = st.integers(1, 5)


@st.composite
def runs(draw):
    """Names and numbers that make a rule, a family and a configuration; losses."""
    positive = st.floats(0, 1e3, exclude_min=True, allow_subnormal=False)
    count = st.integers(1, 10**6)
    together = draw(st.integers(1, 9))
    training = {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "mdps": together * draw(count),
        "mdps_per_update": together,
        **{name: draw(count) for name in ("windows", "window_length", "decay_every")},
        **{name: draw(positive) for name in ("learning_rate", "decay", "inverse_temperature")},
        "floor": draw(st.floats(0, 1)),
        "gain": draw(st.floats(0, 10)),
        "method": draw(st.sampled_from(["adam", "sgd"])),
        "schedule": draw(st.sampled_from(["exponential", "constant", "cosine"])),
        "parameters": draw(st.sampled_from(["effective", "full"])),
    }
    family = {
        "n_states": draw(SHAPE),
        "n_actions": draw(SHAPE),
        "gamma": draw(st.floats(0, 1, exclude_max=True)),
        "concentration": draw(positive),
        "reward": draw(st.sampled_from(["uniform", "normal", "sparse", "state-action"])),
    }
    single = st.floats(width=32, allow_nan=False, allow_infinity=False)
    losses = draw(arrays(np.float32, st.integers(0, 8), elements=single))
    return (
        draw(st.sampled_from(sorted(RULES))),
        draw(st.integers(0, 999)),
        family,
        training,
        losses,
    )


@given(runs(), st.data())
def test_checkpoint_round_trip(run, data):
    """Signed zeros, subnormal numbers and the largest ones among the weights."""
    name, seed, family, training, losses = run
    rule = RULES[name].draw(np.random.default_rng(seed), 2)
    single = st.floats(width=32, allow_nan=False, allow_infinity=False)
    matrices = [
        data.draw(arrays(np.float32, rule.weights_shape, elements=single)) for _ in range(2)
    ]
    family, training = RandomMDPs(**family), TrainingConfig(**training)
    report = Report(*map(jnp.asarray, matrices), losses, 0, 0.5, 0.25)
    with tempfile.TemporaryDirectory() as directory:
        save(Path(directory), report, rule, family, training)
        read = load(Path(directory))
    for found, written in zip((read.P, read.V, read.losses), (*matrices, losses), strict=True):
        assert found.dtype == written.dtype
        assert found.shape == written.shape
        assert found.tobytes() == written.tobytes()
    assert (read.rule, read.family, read.training) == (rule, family, training)
