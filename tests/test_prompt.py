"""Eqs. (4) and (13), and the cut into blocks."""

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from icrl_flax import Effective, augment, build_prompt, embed, readout, split
from icrl_flax.attention.weights import identity_blocks, sum_over_heads


@pytest.mark.parametrize(("n", "p", "q"), [(1, 1, 1), (4, 7, 3), (20, 13, 9)])
def test_prompt_is_the_papers_entry_by_entry(n, p, q):
    rng = np.random.default_rng(n)
    tokens, u = rng.normal(size=(n, p)), rng.normal(size=q)
    H = build_prompt(jnp.asarray(tokens), jnp.asarray(u))
    assert H.shape == (p + q + 1, n + 1)
    np.testing.assert_array_equal(H, reference.prompt(tokens, u))


def test_prompt_literally():
    H = build_prompt(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), jnp.array([7.0, 8.0]))
    expected = [[1, 4, 0], [2, 5, 0], [3, 6, 0], [0, 0, 1], [0, 0, 7], [0, 0, 8]]
    np.testing.assert_array_equal(H, expected)


def test_augment_puts_the_one_first():
    np.testing.assert_array_equal(augment(jnp.array([2.0, 3.0])), [1, 2, 3])


def test_readout_is_the_end_of_the_last_column():
    H = jnp.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(readout(H, 1), [11])
    np.testing.assert_array_equal(readout(H, 3), [5, 8, 11])


def test_types_are_kept():
    tokens, u = jnp.ones((2, 3), jnp.float32), jnp.ones(2, jnp.float32)
    assert build_prompt(tokens, u).dtype == jnp.float32
    assert {
        matrix.dtype for matrix in embed(Effective(jnp.ones((3, 3), jnp.float32), tokens))
    } == {np.dtype("float32")}


def test_split_cuts_where_the_paper_cuts():
    P, V = np.random.default_rng(0).normal(size=(2, 6, 6))
    b = split(jnp.asarray(P), jnp.asarray(V), 3)
    np.testing.assert_array_equal(np.block([[b.P11, b.P12], [b.P21, b.P22]]), P)
    np.testing.assert_array_equal(np.block([[b.V11, b.V12], [b.V21, b.V22]]), V)
    assert b.P12.shape == (3, 3)
    np.testing.assert_array_equal(b.V21_bar, V[4:, :3])
    np.testing.assert_array_equal(b.V22_bar, V[4:, 3:])
    assert b.effective.P12 is b.P12
    np.testing.assert_array_equal(b.effective.V21, V[4:, :3])


@pytest.mark.parametrize("junk", [False, True])
def test_embed_fills_the_constrained_blocks_only(junk):
    p, q = 4, 2
    D = p + q + 1
    rng = np.random.default_rng(1)
    effective = Effective(
        *map(jnp.asarray, (rng.normal(size=(p, q + 1)), rng.normal(size=(q, p))))
    )
    free = rng.normal(size=(2, D, D)) if junk else np.zeros((2, D, D))
    P, V = embed(effective, tuple(map(jnp.asarray, free)) if junk else None)
    expected_P, expected_V = free
    expected_P[:p, p:] = effective.P12
    expected_P[p:, p:] = 0
    expected_V[p + 1 :, :p] = effective.V21
    expected_V[p + 1 :, p:] = 0
    np.testing.assert_array_equal(P, expected_P)
    np.testing.assert_array_equal(V, expected_V)
    for back, there in zip(split(P, V, p).effective, effective, strict=True):
        np.testing.assert_array_equal(back, there)


def test_heads_are_added():
    P, V = np.random.default_rng(2).normal(size=(2, 3, 4, 4))

    def product(pair):
        return pair[0] @ pair[1]

    several = sum_over_heads(product, (jnp.asarray(P), jnp.asarray(V)))
    np.testing.assert_allclose(several, P[0] @ V[0] + P[1] @ V[1] + P[2] @ V[2], rtol=1e-13)
    one = sum_over_heads(product, (jnp.asarray(P[0]), jnp.asarray(V[0])))
    np.testing.assert_allclose(one, P[0] @ V[0], rtol=1e-13)


def test_blocks_of_multiples_of_the_identity():
    np.testing.assert_array_equal(
        identity_blocks([[2, -3], [0, 5]], (2, 1), (2, 3), jnp.float64),
        [[2, 0, -3, 0, 0], [0, 2, 0, -3, 0], [0, 0, 5, 0, 0]],
    )


@pytest.mark.usefixtures("unchecked")
def test_cut_must_leave_two_rows_of_square_matrices():
    square, wide = jnp.zeros((6, 6)), jnp.zeros((6, 7))
    for p in (1, 4):
        assert split(square, square, p).P12.shape == (p, 6 - p)
    for p in (0, 5):
        with pytest.raises(ValueError, match=rf"p must lie in \[1, 4\] for D = 6, got {p}"):
            split(square, square, p)
    for pair in ((square, wide), (wide, square), (wide, wide), (square, square[:5, :5])):
        with pytest.raises(ValueError, match="P and V must be square of one size"):
            split(*pair, 2)
    heads = jnp.zeros((2, 6, 6))
    assert split(heads, heads, 1).P21.shape == (2, 5, 1)


@pytest.mark.usefixtures("unchecked")
def test_free_entries_come_from_matrices_of_the_same_size():
    effective = Effective(jnp.ones((4, 3)), jnp.ones((2, 4)))
    fits, small = jnp.zeros((7, 7)), jnp.zeros((6, 6))
    for pair in ((fits, small), (small, fits), (small, small)):
        with pytest.raises(ValueError, match=r"free must hold two 7×7 matrices, got"):
            embed(effective, pair)
    several = Effective(jnp.ones((2, 4, 3)), jnp.ones((2, 2, 4)))
    with pytest.raises(ValueError, match="two 7×7 matrices for each of 2 heads, got"):
        embed(several, (fits, fits))
