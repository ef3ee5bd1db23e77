"""Lemma C.1: u + V̄21 Σ̂ P12 w̃ + (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃) and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import build_prompt, decompose, linear_attention, readout, split
from icrl_flax.attention import bilinear_term


@jax.jit
def both(*given):
    P, V, tokens, u = map(jnp.asarray, given)
    blocks = split(P, V, tokens.shape[1])
    return decompose(blocks, tokens, u), readout(
        linear_attention(P, V, build_prompt(tokens, u)), u.size
    )


def instance(seed, n, p, q):
    rng = np.random.default_rng(seed)
    D = p + q + 1
    return (
        rng.normal(size=(D, D)),
        rng.normal(size=(D, D)),
        rng.normal(size=(n, p)),
        rng.normal(size=q),
    )


@pytest.mark.parametrize(("n", "p", "q"), [(1, 1, 1), (1, 5, 2), (6, 9, 4), (20, 21, 13)])
def test_decomposition_is_the_block_for_any_weights(n, p, q):
    for seed in range(10):
        P, V, tokens, u = instance(seed, n, p, q)
        terms, answer = both(P, V, tokens, u)
        size = sum(np.abs(term).max() for term in terms)
        np.testing.assert_allclose(terms.total, answer, rtol=0, atol=1e-12 * size)
        exact = reference.transformer(P, V, tokens, u)
        np.testing.assert_allclose(answer, exact, rtol=0, atol=1e-12 * size)
        for term, expected in zip(terms, reference.lemma_c1(P, V, tokens, u), strict=True):
            np.testing.assert_allclose(term, expected, rtol=0, atol=1e-12 * size)


def test_bilinear_term_alone():
    P, V, tokens, u = instance(0, 6, 9, 4)
    effective = split(jnp.asarray(P), jnp.asarray(V), 9).effective
    term = bilinear_term(effective, jnp.asarray(tokens), jnp.asarray(u))
    np.testing.assert_allclose(term, reference.lemma_c1(P, V, tokens, u)[1], rtol=1e-11)


def test_cubic_term_is_cubic():
    # With the 1 of w̃ switched off, doubling u multiplies the term by 2³.
    P, V, tokens, u = instance(1, 4, 5, 3)
    P[5, :] = P[:, 5] = V[:, 5] = 0
    once, _ = both(P, V, tokens, u)
    twice, _ = both(P, V, tokens, 2 * u)
    assert np.abs(once.cubic).max() > 1e-3
    np.testing.assert_allclose(twice.cubic, 8 * once.cubic, rtol=1e-12)


def test_cubic_term_needs_both_blocks():
    P, V, tokens, u = instance(2, 4, 5, 3)
    no_P22, no_V22 = P.copy(), V.copy()
    no_P22[5:, 5:] = 0
    no_V22[6:, 5:] = 0
    assert np.abs(both(P, V, tokens, u)[0].cubic).max() > 1e-3
    assert (both(no_P22, V, tokens, u)[0].cubic == 0).all()
    assert (both(P, no_V22, tokens, u)[0].cubic == 0).all()


def test_every_other_block_is_irrelevant():
    P, V, tokens, u = instance(3, 4, 5, 3)
    other_P, other_V, _, _ = instance(4, 4, 5, 3)
    other_P[:, 5:] = P[:, 5:]
    other_V[6:] = V[6:]
    _, answer = both(P, V, tokens, u)
    np.testing.assert_array_equal(both(other_P, other_V, tokens, u)[1], answer)


def test_inert_blocks_have_zero_gradient():
    """Proposition 3.1: (i) always, (ii) while P22 = V̄22 = 0; exactly, not nearly."""
    P, V, tokens, u = instance(5, 4, 5, 3)
    P[5:, 5:] = 0
    V[6:, 5:] = 0

    def loss(P, V):
        return jnp.sum((both(P, V, tokens, u)[1] - 1) ** 2)

    gradient = split(*jax.grad(loss, (0, 1))(jnp.asarray(P), jnp.asarray(V)), 5)
    for name in ("P11", "P21", "P22", "V11", "V12", "V22"):
        assert (getattr(gradient, name) == 0).all(), name
    assert (gradient.V21[0] == 0).all()
    assert (gradient.P12 != 0).all()
    assert (gradient.V21_bar != 0).all()
