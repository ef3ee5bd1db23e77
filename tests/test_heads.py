"""Several heads: their terms add up, and they may mix without changing the block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx

from icrl_flax import (
    BlockAgent,
    Effective,
    LinearAttentionBlock,
    RandomMDPs,
    TrainingConfig,
    align,
    build_prompt,
    cli,
    construct,
    decompose,
    draw_task,
    embed,
    linear_attention,
    load,
    readout,
    rollout,
    split,
    train,
)
from icrl_flax.attention import bilinear_term
from icrl_flax.attention.symmetry import mix
from icrl_flax.attention.weights import identity_blocks, initial_effective
from icrl_flax.rules.gtd2 import Gtd2
from icrl_flax.rules.tdc import Tdc

N, P_, Q, HEADS = 5, 4, 3, 2
D = P_ + Q + 1


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    shape = (HEADS, D, D)
    return (
        jnp.asarray(rng.normal(size=shape)),
        jnp.asarray(rng.normal(size=shape)),
        jnp.asarray(rng.normal(size=(N, P_))),
        jnp.asarray(rng.normal(size=Q)),
    )


def test_the_heads_of_a_block_add_up(weights):
    P, V, tokens, u = weights
    H = build_prompt(tokens, u)
    expected = np.asarray(H)
    for head in range(HEADS):
        expected = expected + reference.block(*map(np.asarray, (P[head], V[head], H))) - H
    np.testing.assert_allclose(linear_attention(P, V, H), expected, rtol=1e-11)
    terms = decompose(split(P, V, P_), tokens, u)
    np.testing.assert_allclose(terms.total, readout(expected, Q), rtol=1e-11)
    blocks = split(P, V, P_)
    np.testing.assert_allclose(
        bilinear_term(blocks.effective, tokens, u),
        sum(bilinear_term(split(P[h], V[h], P_).effective, tokens, u) for h in range(HEADS)),
        rtol=1e-12,
    )
    assert jnp.abs(terms.cubic).max() > 1e-3


def test_one_head_with_an_axis_is_one_head_without(weights):
    P, V, tokens, u = weights
    H = build_prompt(tokens, u)
    np.testing.assert_allclose(
        linear_attention(P[:1], V[:1], H), linear_attention(P[0], V[0], H), rtol=1e-13
    )


def test_split_and_embed_undo_each_other(weights):
    P, V, _, _ = weights
    effective = split(P, V, P_).effective
    assert effective.P12.shape == (HEADS, P_, Q + 1)
    assert effective.V21.shape == (HEADS, Q, P_)
    again = split(*embed(effective, free=(P, V)), P_)
    for name in ("P11", "P12", "P21", "V11", "V12", "V21"):
        np.testing.assert_array_equal(getattr(again, name), getattr(split(P, V, P_), name))
    assert (again.P22 == 0).all()
    assert (again.V22_bar == 0).all()
    np.testing.assert_array_equal(again.V22[:, 0], V[:, P_, P_:])
    with pytest.raises(ValueError, match="for each of 2 heads"):
        embed(effective, free=(P[0], V[0]))


def test_module_holds_every_head(weights):
    P, V, tokens, u = weights
    block = LinearAttentionBlock.from_matrices(P, V, P_)
    np.testing.assert_array_equal(block.P[...], P)
    np.testing.assert_allclose(
        block.update(tokens, u),
        readout(linear_attention(P, V, build_prompt(tokens, u)), Q),
        rtol=1e-14,
    )
    fresh = LinearAttentionBlock(P_, Q, heads=HEADS, rngs=nnx.Rngs(0))
    assert fresh.P[...].shape == fresh.V[...].shape == (HEADS, D, D)
    with pytest.raises(ValueError, match="heads must be"):
        LinearAttentionBlock(P_, Q, heads=0, rngs=nnx.Rngs(0))


def test_each_head_starts_as_one_head_would():
    start = initial_effective(nnx.Rngs(0), 200, 100, 0.1, jnp.float64, heads=2)
    for matrix in start:
        sigma = 0.1 * np.sqrt(2 / sum(matrix.shape[1:]))
        assert np.std(matrix) == pytest.approx(sigma, rel=0.03)
    assert (start.P12[0] != start.P12[1]).all()


@pytest.mark.parametrize("rule", [Gtd2(d=2), Tdc(d=2)], ids=["gtd2", "tdc"])
def test_mixed_heads_are_the_same_rule(rule):
    rng = np.random.default_rng(1)
    optimum = rule.optimum(jnp.float64)
    tokens, u = jnp.asarray(rng.normal(size=(6, rule.p))), jnp.asarray(rng.normal(size=rule.q))
    expected = bilinear_term(optimum, tokens, u)
    for _ in range(20):
        G = jnp.asarray(rng.normal(size=(2, 2)))
        mixed = mix(optimum, G)
        np.testing.assert_allclose(bilinear_term(mixed, tokens, u), expected, rtol=1e-9)
        alignment = align(mixed, optimum)
        np.testing.assert_allclose(alignment.c, G, rtol=1e-7)
        assert float(alignment.cosine) == pytest.approx(1, abs=1e-10)
        assert alignment.off_pattern < 1e-6


def test_what_is_off_the_manifold_is_not_mixed_away():
    rng = np.random.default_rng(2)
    optimum = Tdc(d=3).optimum(jnp.float64)
    noise = Effective(*(jnp.asarray(0.1 * rng.normal(size=m.shape)) for m in optimum))
    alignment = align(Effective(optimum.P12 + noise.P12, optimum.V21 + noise.V21), optimum)
    assert 0.5 < alignment.cosine < 0.99
    assert alignment.off_pattern > 0.05
    # Where P12 is four times what V̄21 agrees with, each gives up a factor of two.
    G = jnp.array([[1.0, 2.0], [-1.0, 0.5]])
    mixed = mix(optimum, G)
    uneven = align(Effective(4 * mixed.P12, mixed.V21), optimum)
    np.testing.assert_allclose(uneven.c, 2 * G, rtol=1e-10)
    for left, right in zip(uneven.aligned, optimum, strict=True):
        np.testing.assert_allclose(left, 2 * right, atol=1e-10)
    # One head is dead: no G brings it back.
    dead = Effective(optimum.P12.at[1].set(1e-9), optimum.V21)
    assert not align(dead, optimum).cosine > 0.99


def by_eigenvalues(on_p, on_v):
    """G = on_p |M|^(−1/2) as a function of each eigenvalue λ of M: (λ sign(Re λ))^(−1/2)."""
    values, vectors = np.linalg.eig(on_v.T @ on_p)
    roots = np.sqrt(np.where(values.real < 0, -values, values).astype(complex))
    return (on_p @ vectors @ np.diag(1 / roots) @ np.linalg.inv(vectors)).real


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_heads_that_disagree_in_sign(dtype):
    """Blocks of which no real square root exists: each disagreement stays in V̄21, as for c."""
    optimum = Gtd2(d=2).optimum(jnp.float64)
    # One head of V̄21 is the negative of the theory's: M has the eigenvalues 1 and −1.
    G = jnp.array([[1.0, 2.0], [-1.0, 0.5]])
    reflected = mix(Effective(optimum.P12, optimum.V21.at[1].multiply(-1)), G)
    alignment = align(jax.tree.map(lambda x: x.astype(dtype), reflected), optimum)
    tolerance = {"float64": 1e-12, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(alignment.c, G, rtol=tolerance)
    np.testing.assert_allclose(alignment.aligned.P12, optimum.P12, atol=tolerance)
    np.testing.assert_allclose(alignment.aligned.V21[1], -optimum.V21[1], atol=tolerance)
    squares = [float((x**2).sum()) for x in (optimum.P12, optimum.V21[0], optimum.V21[1])]
    expected = (squares[0] + squares[1] - squares[2]) / sum(squares)
    assert float(alignment.cosine) == pytest.approx(expected, abs=10 * tolerance)


def test_heads_in_general_position():
    rng, kinds = np.random.default_rng(5), set()
    for _ in range(100):
        heads = int(rng.integers(2, 4))
        basis = Effective(
            *(jnp.asarray(rng.normal(size=(heads, *shape))) for shape in ((5, 3), (2, 5)))
        )
        on_p, on_v = rng.normal(size=(2, heads, heads))
        trained = Effective(jnp.tensordot(on_p, basis.P12, 1), jnp.tensordot(on_v, basis.V21, 1))
        values = np.linalg.eigvals(on_v.T @ on_p)
        kinds.add((bool((values.real < 0).any()), bool(np.iscomplex(values).any())))
        if min(np.abs(values.real)) < 0.05 * max(np.abs(values)):
            continue  # nearly on the border between the signs
        found = jax.jit(align)(trained, basis)
        expected = by_eigenvalues(on_p, on_v)
        np.testing.assert_allclose(found.c, expected, atol=1e-9 * np.abs(expected).max())
        assert np.isfinite(found.cosine)
    assert len(kinds) == 4  # with and without negative real parts, with and without complex ones


@pytest.mark.parametrize("platform", ["cuda", "rocm", "tpu"])
def test_it_is_compiled_for_every_device(platform):
    optimum = Gtd2(d=2).optimum(jnp.float32)
    align_ = jax.jit(align).trace(optimum, optimum)
    assert "while" in align_.lower(lowering_platforms=(platform,)).as_text()


def test_flow_conserves_the_gram_matrices():
    """d/dt Σ ⟨P12_h, P12_k⟩ − ⟨V̄21_h, V̄21_k⟩ = 0, off the diagonal too."""
    rng = np.random.default_rng(3)
    theta = Effective(
        jnp.asarray(rng.normal(size=(2, 5, 4))), jnp.asarray(rng.normal(size=(2, 3, 5)))
    )
    tokens, u = jnp.asarray(rng.normal(size=(6, 5))), jnp.asarray(rng.normal(size=3))
    gradient = jax.grad(lambda theta: ((bilinear_term(theta, tokens, u) - 1) ** 2).sum())(theta)

    def change(weights, gradient):
        product = jnp.einsum("hab,kab->hk", weights, gradient)
        return product + product.T

    p_side, v_side = (change(w, g) for w, g in zip(theta, gradient, strict=True))
    np.testing.assert_allclose(p_side, v_side, rtol=1e-11)
    assert jnp.abs(p_side).min() > 1e-2


def test_both_ways_of_training_agree():
    config = TrainingConfig(mdps=3, windows=2, window_length=4, dtype="float64")
    full = TrainingConfig(mdps=3, windows=2, window_length=4, dtype="float64", parameters="full")
    rule, family = Tdc(d=2), RandomMDPs(3, 2)
    reports = [train(rule, family, each) for each in (config, full)]
    assert reports[0].P.shape == (2, rule.D, rule.D)
    np.testing.assert_allclose(reports[0].P, reports[1].P, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(reports[0].losses, reports[1].losses, rtol=1e-10)


def test_block_learner_takes_heads():
    rule = Gtd2(d=2)
    task = draw_task(jax.random.key(0), rule, RandomMDPs(3, 2), jnp.float64)
    behaviour = rule.behaviour(task.features, task.u)
    window = rollout(jax.random.key(1), task.mdp, behaviour, task.state, 8)
    P, V = construct(rule, 2.0, dtype=jnp.float64)
    answer = BlockAgent(rule, LinearAttentionBlock.from_matrices(P, V, rule.p))(
        task.features, task.u, window
    )
    expected = rule.teacher(task.features, task.u, window)
    np.testing.assert_allclose(answer, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="P must have shape"):
        BlockAgent(rule, LinearAttentionBlock.from_matrices(P[0], V[0], rule.p))


def test_command_line_and_checkpoint(tmp_path, capsys):
    out = tmp_path / "run"
    size = ["--d", "2", "--n-states", "3", "--n-actions", "2", "--mdps", "4", "--windows", "3"]
    assert cli.main(["train", "tdc", "--out", str(out), *size]) == 0
    assert "cosine" in capsys.readouterr().out
    assert load(out).P.shape == (2, 10, 10)


def test_identity_blocks():
    made = identity_blocks([[0, -2.0], [1, 0]], (2, 1), (1, 2), jnp.float64)
    np.testing.assert_array_equal(made, [[0, -2, 0], [0, 0, -2], [1, 0, 0]])
    assert not np.signbit(made[made == 0]).any()
    with pytest.raises(ValueError, match="zip"):
        identity_blocks([[0, -2.0]], (2, 1), (1, 2), jnp.float64)
