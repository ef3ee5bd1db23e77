"""Undoing c, and measuring what is left."""

import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import ActorCritic, Effective, Sarsa, align, rescale


@pytest.mark.parametrize("rule", [Sarsa(d=4, alpha=0.3), ActorCritic(m=3, d=2)], ids=repr)
def test_any_scale_is_undone(rule):
    rng = np.random.default_rng(0)
    optimum = rule.optimum(jnp.float64)
    for sign in (-1, 1):
        for c in sign * 10 ** rng.uniform(-2, 2, 10):
            alignment = align(rescale(optimum, float(c)), optimum)
            assert float(alignment.c) == pytest.approx(c, rel=1e-12)
            for aligned, expected in zip(alignment.aligned, optimum, strict=True):
                np.testing.assert_allclose(aligned, expected, rtol=1e-12, atol=0)
            assert float(alignment.cosine) == pytest.approx(1, abs=1e-12)
            assert alignment.off_pattern == 0


@pytest.mark.parametrize("c", [1.0, -2.0])
def test_example_by_hand(c):
    # d = 1, α = ½. Entries off the pattern do not move c: 0.3 in P12 (beside ones) and
    # 0.1 in V̄21 (beside ½, so 0.2 of it).
    optimum = Sarsa(d=1, alpha=0.5).optimum(jnp.float64)
    P12 = jnp.array([[0.3, -1.0], [0.0, 1.0], [1.0, 0.0]])
    V21 = jnp.array([[0.5, 0.1, 0.0]])
    alignment = align(Effective(c * P12, V21 / c), optimum)
    assert float(alignment.c) == pytest.approx(c, rel=1e-14)
    assert float(alignment.off_pattern) == pytest.approx(0.3, rel=1e-14)
    assert float(alignment.cosine) == pytest.approx(3.25 / np.sqrt(3.35 * 3.25), rel=1e-14)
    np.testing.assert_allclose(alignment.aligned.P12, P12, rtol=1e-14)
    np.testing.assert_allclose(alignment.aligned.V21, V21, rtol=1e-14)
    swapped = align(Effective(optimum.P12, jnp.array([[0.5, 0.2, 0.0]])), optimum)
    assert float(swapped.off_pattern) == pytest.approx(0.4, rel=1e-14)


def test_c_is_the_ratio_of_the_components_along_the_theory():
    # P12 four times the theory's and V̄21 itself: c² = 4, and 2 P⋆12, 2 V̄⋆21 are left.
    optimum = Sarsa(d=2, alpha=0.5).optimum(jnp.float64)
    alignment = align(Effective(4 * optimum.P12, optimum.V21), optimum)
    assert float(alignment.c) == pytest.approx(2, rel=1e-14)
    np.testing.assert_allclose(alignment.aligned.P12, 2 * optimum.P12, rtol=1e-14)
    np.testing.assert_allclose(alignment.aligned.V21, 2 * optimum.V21, rtol=1e-14)


def test_blocks_that_disagree_in_sign_are_not_aligned_away():
    optimum = Sarsa(d=2, alpha=0.5).optimum(jnp.float64)
    alignment = align(Effective(optimum.P12, -optimum.V21), optimum)
    assert float(alignment.cosine) == pytest.approx((5 - 0.5) / 5.5, rel=1e-14)


def test_off_pattern_compares_the_largest_entries():
    # 3 where the theory has 1 and 0.5 where it has −1; 6 where it has 0.
    optimum = Sarsa(d=1, alpha=0.5).optimum(jnp.float64)
    trained = Effective(jnp.array([[6.0, -0.5], [0.0, 0.5], [3.0, 0.0]]), 1.6 * optimum.V21)
    assert float(align(trained, optimum).off_pattern) == pytest.approx(2, rel=1e-14)
