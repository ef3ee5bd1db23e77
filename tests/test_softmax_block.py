"""Softmax attention against a NumPy loop, and in training."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import (
    Effective,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    split,
    stream,
    train,
    train_iter,
)
from icrl_flax.attention import softmax_attention, softmax_term

RULE, FAMILY = Sarsa(d=2), RandomMDPs(3, 2)
CONFIG = TrainingConfig(
    mdps=4,
    windows=5,
    window_length=4,
    attention="softmax",
    optimizer="sgd",
    schedule="constant",
    learning_rate=0.3,
    gain=2.0,
    inverse_temperature=1.7,
    dtype="float64",
)


def softmax_answer(P, V, tokens, u, tau):
    """The readout of h + V Σ_i softmax_i(τ h_iᵀ P h) h_i, a loop for every sum."""
    H = reference.prompt(tokens, u)
    n, query = H.shape[1] - 1, H[:, -1]
    weights = [math.exp(tau * (H[:, i] @ P @ query)) for i in range(n)]
    out = np.array(query)
    for i in range(n):
        out += weights[i] / sum(weights) * (V @ H[:, i])
    return out[len(out) - len(u) :]


def test_attention_is_the_loop():
    rng = np.random.default_rng(0)
    for n in (1, 2, 7):
        P, V = rng.normal(size=(2, 8, 8))
        tokens, u, tau = rng.normal(size=(n, 5)), rng.normal(size=2), rng.uniform(0.1, 3)
        expected = softmax_answer(P, V, tokens, u, tau)
        H = jnp.asarray(reference.prompt(tokens, u))
        column = softmax_attention(jnp.asarray(P), jnp.asarray(V), H, tau)
        assert column.shape == (8,)
        np.testing.assert_allclose(column[-2:], expected, rtol=1e-12)
        effective = Effective(jnp.asarray(P[:5, 5:]), jnp.asarray(V[6:, :5]))
        term = softmax_term(effective, jnp.asarray(tokens), jnp.asarray(u), tau)
        np.testing.assert_allclose(u + term, expected, rtol=1e-12)


def test_parameter_column_is_no_key():
    """With a logit of its own it would take part of the weight of one lone transition."""
    rng = np.random.default_rng(1)
    P = np.zeros((8, 8))
    P[5:, 5:] = 1e3 * np.eye(3)
    V, token, u = rng.normal(size=(8, 8)), rng.normal(size=5), rng.normal(size=2)
    H = jnp.asarray(reference.prompt(token[None], u))
    column = softmax_attention(jnp.asarray(P), jnp.asarray(V), H)
    np.testing.assert_allclose(column[-2:], u + V[6:, :5] @ token, rtol=1e-12)


def test_large_logits_do_not_overflow():
    effective = Effective(jnp.full((5, 3), 1e3), jnp.ones((2, 5)))
    answer = softmax_term(effective, jnp.ones((4, 5)), jnp.ones(2), 1e3)
    np.testing.assert_allclose(answer, [5, 5])


@pytest.fixture(scope="module")
def effective():
    return list(train_iter(RULE, FAMILY, CONFIG))


def test_first_updates_follow_the_losss_slope(effective):
    """One update per run, so that its step is −rate × gradient."""
    config = dataclasses.replace(CONFIG, mdps=1, windows=1)
    start, end = train_iter(RULE, FAMILY, config)
    assert end.losses[0] == effective[1].losses[0]
    _, key = jax.random.split(jax.random.key(config.seed))
    data = stream(key, jnp.arange(1), RULE, FAMILY, 1, config.window_length, jnp.float64)
    tokens, u, target = (np.asarray(x)[0, 0] for x in (data.tokens, data.u, data.target))

    def loss(P, V):
        error = softmax_answer(P, V, tokens, u, CONFIG.inverse_temperature) - target
        return error @ error / 2

    P, V = np.array(start.P), np.array(start.V)
    assert end.losses[0] == pytest.approx(loss(P, V), rel=1e-12)
    steps = (P, end.P - start.P), (V, end.V - start.V)
    for matrix, step in steps:
        assert np.abs(step).max() > 1e-4
        for i, j in np.ndindex(matrix.shape):
            kept, h = matrix[i, j], 1e-5
            matrix[i, j] = kept + h
            above = loss(P, V)
            matrix[i, j] = kept - h
            slope = (above - loss(P, V)) / (2 * h)
            matrix[i, j] = kept
            # Entries outside the effective blocks have no slope, and do not move.
            assert step[i, j] == pytest.approx(-0.3 * slope, rel=1e-5, abs=1e-9)


def test_all_entries_or_two_blocks_is_the_same(effective):
    full = list(train_iter(RULE, FAMILY, dataclasses.replace(CONFIG, parameters="full")))
    for few, all_ in zip(effective, full, strict=True):
        np.testing.assert_allclose(all_.losses, few.losses, rtol=1e-9)
        np.testing.assert_allclose(all_.P, few.P, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(all_.V, few.V, rtol=1e-9, atol=1e-12)
    start, end = (split(report.P, report.V, RULE.p) for report in full)
    for name in ("P11", "P21", "P22", "V11", "V12", "V22"):
        np.testing.assert_array_equal(getattr(end, name), getattr(start, name))


def test_start_is_the_linear_blocks(effective):
    linear = next(train_iter(RULE, FAMILY, dataclasses.replace(CONFIG, attention="linear")))
    np.testing.assert_array_equal(effective[0].P, linear.P)
    np.testing.assert_array_equal(effective[0].V, linear.V)


@pytest.mark.parametrize("parameters", ["effective", "full"])
def test_temperatures_of_one_batch(parameters):
    config = dataclasses.replace(CONFIG, parameters=parameters)
    configs = [dataclasses.replace(config, inverse_temperature=tau) for tau in (0.5, 1.7)]
    batch = train(RULE, FAMILY, configs)
    for row, config in enumerate(configs):
        alone = train(RULE, FAMILY, config)
        np.testing.assert_allclose(batch.losses[row], alone.losses, rtol=1e-9)
    assert abs(batch.losses[0, 0] / batch.losses[1, 0] - 1) > 1e-3
