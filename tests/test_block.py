"""Eq. (1), and the module that holds its weights."""

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.stats
from flax import nnx

from icrl_flax import (
    LinearAttentionBlock,
    build_prompt,
    decompose,
    linear_attention,
    readout,
)
from icrl_flax.attention import initial_effective
from icrl_flax.attention.weights import draw_effective, first_keys


def random_weights(seed, D, n):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(D, D)), rng.normal(size=(D, D)), rng.normal(size=(D, n + 1))


@pytest.mark.parametrize(("D", "n"), [(3, 1), (8, 5)])
def test_attention_is_equation_1(D, n):
    P, V, H = random_weights(D, D, n)
    out = linear_attention(*map(jnp.asarray, (P, V, H)))
    np.testing.assert_allclose(out, reference.block(P, V, H), rtol=1e-12, atol=1e-12)


def test_normaliser_counts_transitions_not_columns():
    # D = 1, H = [1, 1, 1]: each output is 1 + (1/2)·(1 + 1 + 1), where 1/3 would give 2.
    one = jnp.ones((1, 1))
    np.testing.assert_array_equal(linear_attention(one, one, jnp.ones((1, 3))), [[2.5, 2.5, 2.5]])


def test_order_of_the_context_is_irrelevant():
    P, V, H = map(jnp.asarray, random_weights(0, 8, 6))
    order = np.array([3, 0, 5, 1, 4, 2, 6])
    out, permuted = linear_attention(P, V, H), linear_attention(P, V, H[:, order])
    np.testing.assert_allclose(permuted, out[:, order], rtol=1e-12)
    np.testing.assert_allclose(readout(permuted, 3), readout(out, 3), rtol=1e-12)


def test_module_starts_with_two_blocks_of_two_full_matrices():
    p, q = 5, 3
    D = p + q + 1
    block = LinearAttentionBlock(p, q, rngs=nnx.Rngs(0))
    weights = nnx.state(block, nnx.Param)
    assert {name: leaf.shape for name, leaf in weights.items()} == {"P": (D, D), "V": (D, D)}
    inside_P, inside_V = np.zeros((2, D, D), bool)
    inside_P[:p, p:] = True
    inside_V[p + 1 :, :p] = True
    np.testing.assert_array_equal(np.asarray(block.P[...]) != 0, inside_P)
    np.testing.assert_array_equal(np.asarray(block.V[...]) != 0, inside_V)


@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_start_is_xavier_normal(gain):
    p, q = 300, 200
    start = initial_effective(nnx.Rngs(3), p, q, gain, jnp.float64)
    for block in start:
        sigma = gain * np.sqrt(2 / sum(block.shape))
        entries = np.asarray(block).ravel()
        assert np.std(entries) == pytest.approx(sigma, rel=5 / np.sqrt(2 * entries.size))
        assert scipy.stats.kstest(entries / sigma, "norm").pvalue > 1e-3
    assert start.P12.shape == (p, q + 1)
    assert start.V21.shape == (q, p)
    correlation = np.corrcoef(start.P12.ravel()[: p * q], start.V21.ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(p * q)


def test_start_without_flax_is_that_of_its_streams():
    key = jax.random.key(7)
    theirs = initial_effective(nnx.Rngs(key), 3, 2, dtype=jnp.float64)
    for ours, block in zip(
        draw_effective(first_keys(key), 3, 2, dtype=jnp.float64), theirs, strict=True
    ):
        np.testing.assert_array_equal(ours, block)


def test_flax_is_imported_when_its_module_is_asked_for():
    """It takes as long to import as JAX does, and commands do without it."""
    code = """
        import sys
        import icrl_flax.cli
        assert "flax" not in sys.modules
        assert icrl_flax.LinearAttentionBlock is icrl_flax.attention.LinearAttentionBlock
        assert "flax" in sys.modules
        assert set(icrl_flax.__all__) >= {"LinearAttentionBlock"}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_seed_and_type_of_the_start():
    def start(seed, dtype):
        return LinearAttentionBlock(3, 2, dtype=dtype, rngs=nnx.Rngs(seed)).P[...]

    assert start(0, jnp.float64).dtype == jnp.float64
    assert start(0, jnp.float32).dtype == jnp.float32
    np.testing.assert_array_equal(start(0, jnp.float64), start(0, jnp.float64))
    assert (start(0, jnp.float64) != start(1, jnp.float64)).any()


def test_from_matrices_answers_as_equation_1():
    n, p, q = 4, 5, 2
    P, V, _ = random_weights(1, p + q + 1, n)
    rng = np.random.default_rng(2)
    tokens, u = rng.normal(size=(n, p)), rng.normal(size=q)
    block = LinearAttentionBlock.from_matrices(jnp.asarray(P), jnp.asarray(V), p)
    np.testing.assert_array_equal(block.P[...], P)
    np.testing.assert_array_equal(block.V[...], V)
    assert (block.p, block.q) == (p, q)
    H = build_prompt(jnp.asarray(tokens), jnp.asarray(u))
    np.testing.assert_allclose(block(H), reference.block(P, V, np.asarray(H)), rtol=1e-11)
    answer = block.update(jnp.asarray(tokens), jnp.asarray(u))
    np.testing.assert_allclose(answer, reference.transformer(P, V, tokens, u), rtol=1e-11)
    terms = decompose(block.blocks, jnp.asarray(tokens), jnp.asarray(u))
    np.testing.assert_allclose(terms.total, answer, rtol=1e-11)


def test_module_under_jit_and_grad():
    block = LinearAttentionBlock(3, 2, dtype=jnp.float64, rngs=nnx.Rngs(0))
    tokens, u = jnp.ones((2, 3)), jnp.ones(2)
    eager = block.update(tokens, u)
    jitted = nnx.jit(lambda block: block.update(tokens, u))(block)
    np.testing.assert_allclose(jitted, eager, rtol=1e-14)
    gradient = nnx.grad(lambda block: block.update(tokens, u).sum())(block)
    assert jax.tree.map(jnp.shape, nnx.to_pure_dict(gradient)) == {"P": (6, 6), "V": (6, 6)}


def test_gain_is_a_tenth_and_the_number_of_heads_does_not_change_it():
    unit = initial_effective(nnx.Rngs(1), 3, 2, gain=1.0, dtype=jnp.float64)
    default = initial_effective(nnx.Rngs(1), 3, 2, dtype=jnp.float64)
    block = LinearAttentionBlock(3, 2, dtype=jnp.float64, rngs=nnx.Rngs(1))
    for start in (default, block.blocks.effective):
        np.testing.assert_allclose(start.P12, 0.1 * unit.P12, rtol=1e-14)
        np.testing.assert_allclose(start.V21, 0.1 * unit.V21, rtol=1e-14)
    heads = initial_effective(nnx.Rngs(1), 30, 20, 1.0, jnp.float64, heads=50)
    assert heads.P12.shape == (50, 30, 21)
    for entries, sigma in ((heads.P12, (2 / 51) ** 0.5), (heads.V21, (2 / 50) ** 0.5)):
        assert np.std(entries) == pytest.approx(sigma, rel=5 / np.sqrt(2 * entries.size))
