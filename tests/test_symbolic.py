"""Eq. (1) in SymPy says what the block computes."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import Effective, Sarsa, build_prompt, embed, linear_attention, readout

sympy = pytest.importorskip("sympy", reason="the book's extra")

from icrl_flax.attention import symbolic  # noqa: E402

SIZES = [(1, 1, 1), (2, 3, 1), (1, 3, 2), (3, 2, 2)]  # n, p, q


def numbers(rng, matrix):
    """A random value for every symbol of a matrix."""
    return {symbol: rng.normal() for symbol in sorted(matrix.free_symbols, key=str)}


def put(matrix, values):
    """The matrix with its symbols replaced, in float64."""
    return np.array(matrix.subs(values).evalf(30).tolist(), np.float64)


def test_symbols():
    matrix = symbolic.symbols("x", 3, 2)
    assert matrix.shape == (3, 2)
    assert len(matrix.free_symbols) == 6
    assert matrix[2, 0] == sympy.Symbol("x_31")
    assert symbolic.symbols("x", 4).shape == (4, 1)


@pytest.mark.parametrize(("n", "p", "q"), SIZES)
def test_output_for_any_weights(n, p, q):
    """P and V full of symbols: with numbers for them, what `attention` answers."""
    D = p + q + 1
    P, V = symbolic.symbols("P", D, D), symbolic.symbols("V", D, D)
    tokens, u = symbolic.symbols("x", n, p), symbolic.symbols("u", q)
    output = symbolic.block_output(P, V, tokens, u)
    assert output.shape == (q, 1)
    rng = np.random.default_rng((n, p, q))
    for _ in range(3):
        values = {}
        for matrix in (P, V, tokens, u):
            values |= numbers(rng, matrix)
        found = put(output, values)[:, 0]
        P_, V_, tokens_ = (put(matrix, values) for matrix in (P, V, tokens))
        u_ = put(u, values)[:, 0]
        H = build_prompt(jnp.asarray(tokens_), jnp.asarray(u_))
        answer = readout(linear_attention(jnp.asarray(P_), jnp.asarray(V_), H), q)
        np.testing.assert_allclose(found, answer, rtol=1e-11, atol=1e-12)
        exact = reference.transformer(P_, V_, tokens_, u_)
        np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("n", "p", "q"), SIZES)
def test_embed_is_the_librarys(n, p, q):
    """Every free entry its own symbol; with numbers, the matrices of `icrl_flax.embed`."""
    P12, V21 = symbolic.symbols("a", p, q + 1), symbolic.symbols("b", q, p)
    P, V = symbolic.embed(P12, V21)
    D = p + q + 1
    assert P.shape == V.shape == (D, D)
    fixed = P12.free_symbols | V21.free_symbols
    # All but P12 and P22, and all but V̄21 and V̄22.
    assert len(P.free_symbols - fixed) == D * p
    assert len(V.free_symbols - fixed) == D * (p + 1)
    assert not (P.free_symbols & V.free_symbols)
    rng = np.random.default_rng(0)
    values = numbers(rng, P) | numbers(rng, V)
    P_, V_ = put(P, values), put(V, values)
    effective = Effective(jnp.asarray(put(P12, values)), jnp.asarray(put(V21, values)))
    expected = embed(effective, (jnp.asarray(P_), jnp.asarray(V_)))
    np.testing.assert_array_equal(P_, expected[0])
    np.testing.assert_array_equal(V_, expected[1])
    assert np.count_nonzero(P_) == D * D - (q + 1) ** 2
    assert np.count_nonzero(V_) == D * D - q * (q + 1)


def test_theorem_3_1_for_all_values():
    """Eq. (2), whatever the free entries, features, rewards, γ and w are."""
    d, n = 1, 2
    alpha, c = sympy.symbols("alpha c", nonzero=True)
    P12, V21 = (
        sympy.Matrix(np.asarray(matrix).astype(int).tolist())
        for matrix in Sarsa(d=d, alpha=1.0).optimum(jnp.float64)
    )
    P, V = symbolic.embed(c * P12, alpha / c * V21)
    tokens, u = symbolic.symbols("x", n, 2 * d + 1), symbolic.symbols("w", d)
    output = symbolic.block_output(P, V, tokens, u)
    w = u[0]
    errors = [tokens[i, 2] + w * tokens[i, 1] - w * tokens[i, 0] for i in range(n)]
    expected = w + alpha / n * sum(errors[i] * tokens[i, 0] for i in range(n))
    assert sympy.expand(output[0] - expected) == 0
    assert output[0].free_symbols - tokens.free_symbols <= {alpha, c, w}
