"""What holds for every block, prompt and rule, on cases that Hypothesis makes up.

The same cases each time; for more of them, and others on every run:

    python -m pytest tests/test_properties_block.py --hypothesis-profile=more
"""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis.extra.numpy import arrays
from samples import as_window

from icrl_flax import (
    ActorCritic,
    Effective,
    Sarsa,
    align,
    build_prompt,
    construct,
    decompose,
    embed,
    linear_attention,
    readout,
    rescale,
    split,
)
from icrl_flax.attention import bilinear_term
from icrl_flax.rules.actor_critic import ActorCriticFeatures
from icrl_flax.training import sample_loss

# Few shapes: XLA compiles a program for each.
SIZES = [(1, 1, 1, 1), (2, 3, 3, 4), (3, 1, 2, 7)]  # d, m, S = A, n
SHAPES = [(1, 1, 1), (4, 5, 2), (2, 7, 3)]  # n, p, q

numbers = functools.partial(st.floats, allow_nan=False, allow_subnormal=False)
scales = st.builds(
    lambda sign, exponent: sign * 10**exponent, st.sampled_from([-1, 1]), numbers(-3, 3)
)
powers_of_two = st.builds(
    lambda sign, exponent: sign * 2.0**exponent, st.sampled_from([-1, 1]), st.integers(-9, 9)
)


def values(*shape, bound=4):
    """An array with any entries in [−bound, bound], equal and zero ones among them."""
    # Nothing between 0 and 1e-9, so that products of several entries do not underflow.
    entries = numbers(-bound, bound).map(lambda x: 0.0 if abs(x) < 1e-9 else x)
    return arrays(np.float64, shape, elements=entries)


@st.composite
def blocks(draw):
    """P, V, tokens and u of any kind."""
    n, p, q = draw(st.sampled_from(SHAPES))
    D = p + q + 1
    return draw(st.tuples(values(D, D), values(D, D), values(n, p), values(q)))


@st.composite
def lessons(draw):
    """Sizes and step sizes, features, parameters, a path and two D×D matrices, for `lesson`."""
    d, m, n_states, n = draw(st.sampled_from(SIZES))
    index = st.integers(0, n_states - 1)
    path = (
        draw(arrays(np.int64, n + 1, elements=index)),
        draw(arrays(np.int64, n + 1, elements=index)),
        draw(values(n)),
        np.float64(draw(numbers(0, 0.99))),
    )
    D = 3 * d + 2 * m + 2
    return (
        (d, m, draw(numbers(0.01, 2)), draw(numbers(0.01, 2))),
        (draw(values(n_states, n_states, m, bound=1)), draw(values(n_states, d, bound=1))),
        draw(values(d + m)),
        path,
        (draw(values(D, D, bound=100)), draw(values(D, D, bound=100))),
    )


def lesson(kind, drawn):
    """The same for one of the two rules; SARSA has actor-critic's m features, and no others."""
    (d, m, alpha, beta), (phi_pi, phi_v), u, path, free = drawn
    if kind is ActorCritic:
        rule = ActorCritic(m=m, d=d, alpha=alpha, beta=beta)
        return rule, ActorCriticFeatures(phi_pi, phi_v), u, path, free
    rule = Sarsa(d=m, alpha=alpha)
    return rule, phi_pi, u[:m], path, tuple(matrix[: rule.D, : rule.D] for matrix in free)


def teach(rule, features, u, path):
    """Eq. (2) or (3) in NumPy."""
    if isinstance(rule, Sarsa):
        return reference.sarsa(features, u, rule.alpha, *path)
    return reference.actor_critic(*features, u, rule.alpha, rule.beta, *path)


def assert_close(found, expected, P, V, tokens, u):
    """Equal up to rounding: 1e-13 of the sum of all terms' sizes."""
    size = reference.transformer(*map(np.abs, (P, V, tokens, u)))
    assert (np.abs(found - expected) <= 1e-13 * (size + np.abs(u))).all()


@jax.jit
def answer(P, V, tokens, u):
    return readout(linear_attention(P, V, build_prompt(tokens, u)), u.size)


@jax.jit
def constructed(rule, features, u, path, c, free):
    P, V = construct(rule, c, free, jnp.float64)
    tokens = rule.tokens(features, u, as_window(*path))
    return P, V, tokens, readout(linear_attention(P, V, build_prompt(tokens, u)), rule.q)


@pytest.mark.parametrize("kind", [Sarsa, ActorCritic])
@given(drawn=lessons(), c=scales)
def test_theorems_3_1_and_3_3(kind, drawn, c):
    rule, features, u, path, free = lesson(kind, drawn)
    *inputs, found = map(np.asarray, constructed(rule, features, u, path, c, free))
    assert_close(found, teach(rule, features, u, path), *inputs, u)


@pytest.mark.parametrize("kind", [Sarsa, ActorCritic])
@given(drawn=lessons(), c=powers_of_two)
def test_free_entries_and_powers_of_two_change_no_bit(kind, drawn, c):
    """Multiplying and dividing by the same power of two rounds nothing."""
    rule, features, u, path, free = lesson(kind, drawn)
    *_, found = constructed(rule, features, u, path, c, free)
    *_, plain = constructed(rule, features, u, path, 1.0, tuple(map(np.zeros_like, free)))
    np.testing.assert_array_equal(found, plain)


@given(blocks())
def test_lemma_c1(block):
    P, V, tokens, u = block
    terms = [np.asarray(term) for term in _decompose(*block)]
    expected = reference.lemma_c1(P, V, tokens, u)
    for term, by_loops in zip(terms, expected, strict=True):
        assert_close(term, by_loops, *block)
    assert_close(sum(terms), reference.transformer(*block), *block)
    assert_close(np.asarray(answer(*block)), reference.transformer(*block), *block)


@jax.jit
def _decompose(P, V, tokens, u):
    return decompose(split(P, V, tokens.shape[1]), tokens, u)


@given(blocks(), st.randoms(use_true_random=False))
def test_order_of_the_context_does_not_matter(block, random):
    P, V, tokens, u = block
    order = list(range(len(tokens)))
    random.shuffle(order)
    assert_close(np.asarray(answer(P, V, tokens[order], u)), answer(*block), *block)


@given(blocks())
def test_prompt_by_loops(block):
    P, V, tokens, u = map(jnp.asarray, block)
    H = build_prompt(tokens, u)
    np.testing.assert_array_equal(H, reference.prompt(tokens, u))
    np.testing.assert_array_equal(readout(H, u.size), u)
    P, V, H, out = map(np.asarray, (P, V, H, linear_attention(P, V, H)))
    size = reference.block(*map(np.abs, (P, V, H)))
    assert (np.abs(out - reference.block(P, V, H)) <= 1e-13 * size).all()


@given(blocks())
def test_embedding_by_loops(block):
    P, V, tokens, _ = block
    p, D = tokens.shape[1], len(P)
    parts = split(jnp.asarray(P), jnp.asarray(V), p)
    full = embed(parts.effective, (jnp.asarray(P), jnp.asarray(V)))
    for i, j in np.ndindex(D, D):
        constrained = i >= p and j >= p
        assert full[0][i, j] == (0 if constrained else P[i, j])
        assert full[1][i, j] == (0 if constrained and i > p else V[i, j])


@jax.jit
@functools.partial(jax.value_and_grad, argnums=0)
def loss(effective, tokens, u, target):
    return sample_loss(u + bilinear_term(effective, tokens, u), target)


def flat(effective):
    return np.concatenate([np.ravel(block) for block in effective])


@given(blocks(), scales)
def test_scale_and_sign_leave_the_loss_alone(block, c):
    """Its gradient turns with θ: by c⁻¹ for P12 and by c for V̄21."""
    P, V, tokens, u = block
    effective = split(jnp.asarray(P), jnp.asarray(V), tokens.shape[1]).effective
    target = u[::-1]
    value, gradient = loss(effective, tokens, u, target)
    moved, turned = loss(rescale(effective, c), tokens, u, target)
    size = loss(*jax.tree.map(jnp.abs, (effective, tokens, u)), -np.abs(target))
    assert abs(moved - value) <= 1e-12 * size[0]
    back = Effective(turned.P12 * c, turned.V21 / c)
    for found, expected, bound in zip(back, gradient, size[1], strict=True):
        assert (np.abs(found - expected) <= 1e-12 * bound).all()


@given(blocks())
def test_gradients_of_the_two_blocks_balance(block):
    """⟨P12, ∂L/∂P12⟩ = ⟨V̄21, ∂L/∂V̄21⟩: what the symmetry of the scale conserves."""
    P, V, tokens, u = block
    effective = split(jnp.asarray(P), jnp.asarray(V), tokens.shape[1]).effective
    target = u[::-1]
    _, gradient = loss(effective, tokens, u, target)
    _, size = loss(*jax.tree.map(jnp.abs, (effective, tokens, u)), -np.abs(target))
    left, right = (np.vdot(g, block) for g, block in zip(gradient, effective, strict=True))
    bound = np.vdot(size.P12, np.abs(effective.P12))
    assert abs(left - right) <= 1e-12 * bound


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def full_gradient(P, V, tokens, u, target):
    return sample_loss(answer(P, V, tokens, u), target)


@given(blocks())
def test_inert_blocks_never_move(block):
    """Proposition 3.1, to the bit."""
    P, V, tokens, u = map(jnp.asarray, block)
    p = tokens.shape[1]
    at_zero = embed(split(P, V, p).effective, (P, V))
    for start, names in (((P, V), ()), (at_zero, ("P22", "V22"))):
        gradient = split(*full_gradient(*start, tokens, u, u[::-1]), p)
        for name in ("P11", "P21", "V11", "V12", *names):
            assert (getattr(gradient, name) == 0).all(), name
        assert (gradient.V21[0] == 0).all()


@pytest.mark.parametrize("rule", [Sarsa(d=2, alpha=0.3), ActorCritic(m=2, d=1)], ids=repr)
@given(data=st.data(), c=scales)
def test_alignment_undoes_any_scale(rule, data, c):
    """Of any weights that are not far from the theory's, as trained ones are not."""
    optimum = rule.optimum(jnp.float64)
    noise = (data.draw(values(*block.shape, bound=0.05)) for block in optimum)
    near = Effective(*map(jnp.add, optimum, noise))
    once, moved = align(near, optimum), align(rescale(near, c), optimum)
    assert float(moved.c) == pytest.approx(c * float(once.c), rel=1e-12)
    np.testing.assert_allclose(flat(moved.aligned), flat(once.aligned), rtol=1e-12, atol=1e-15)
    assert float(moved.cosine) == pytest.approx(float(once.cosine), rel=1e-12)
    assert float(moved.off_pattern) == pytest.approx(float(once.off_pattern), rel=1e-11)
    assert float(once.cosine) <= 1 + 1e-15
