"""Several layers: one of them bit for bit, constructions of 40, files, the command."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icrl_flax as icrl
from icrl_flax import _registry
from icrl_flax.attention import (
    Effective,
    EffectiveBlock,
    LinearAttentionBlock,
    Matrices,
    QueryBlock,
    SoftmaxBlock,
    StackedBlock,
    implicit_weights,
    query_construction,
    reward_row,
    similarity,
    trace_mask,
)
from icrl_flax.cli import main
from icrl_flax.mdps import RandomBoyanChain
from icrl_flax.rules.sarsa import Sarsa
from icrl_flax.rules.td import Td
from icrl_flax.rules.td_lambda import TdLambda

LAYERS = 40
RENEWED = ("expected-sarsa", "reinforce", "actor-critic")  # their tokens hold the policy of u
RULES = sorted(set(_registry.rules()) - set(RENEWED))
TRACED = ("td-lambda", "sarsa-lambda")
QUERIED = ("td", "off-policy-td", "residual-gradient", "differential-td", "sarsa", "n-step-sarsa")
QUERIED += (*TRACED, "differential-sarsa")
TINY = {"mdps": 4, "windows": 2, "window_length": 5, "queries": 3, "dtype": "float64"}


def relative(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def small(name, rng):
    sizes = {"m": 3} if hasattr(_registry.rules()[name], "m") else {}
    rule = _registry.rules()[name](d=3, **sizes)
    return rule, one(icrl.random_case(rng, rule, 20))


def one(cases):
    """The first of some cases, as JAX's arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), cases)


# ——— one layer ———


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize("full", [False, True])
def test_one_layer_has_the_bits_of_the_library_block(attention, full, tied):
    rng = np.random.default_rng(0)
    tokens, u = jnp.asarray(rng.normal(size=(6, 7))), jnp.asarray(rng.normal(size=3))
    shapes = [(11, 11), (11, 11)] if full else [(7, 4), (3, 7)]
    theta = (Matrices if full else Effective)(*(jnp.asarray(rng.normal(size=s)) for s in shapes))
    if attention == "softmax":
        block = SoftmaxBlock(theta, 1.7)
    else:
        block = LinearAttentionBlock.from_matrices(*theta, 7) if full else EffectiveBlock(theta)
    own = theta if tied else jax.tree.map(lambda leaf: leaf[None], theta)
    deep = StackedBlock(own, 1, tied, attention, 1.7)
    np.testing.assert_array_equal(deep.update(tokens, u), block.update(tokens, u))
    compiled = [
        jax.jit(lambda theta, each=each: each.with_theta(theta).update(tokens, u))(each.theta)
        for each in (deep, block)
    ]
    np.testing.assert_array_equal(*compiled)


# ——— forty layers ———


@pytest.mark.parametrize("name", RULES)
def test_forty_layers_are_forty_sweeps(name):
    """Of the answers' largest entry, both as θ_eff and as full P and V, at c = 0.7."""
    rule, case = small(name, np.random.default_rng(1))
    tokens, u = rule.tokens(case.features, case.u, case.window), case.u
    wanted = u
    for _ in range(LAYERS):
        wanted = rule.teacher(case.features, wanted, case.window)
    for theta in (rule.optimum(jnp.float64), icrl.construct(rule, c=0.7, dtype=jnp.float64)):
        assert relative(StackedBlock(theta, LAYERS).update(tokens, u), wanted) <= 1e-9
    assert relative(u, wanted) > 1e-3


@pytest.mark.parametrize("name", QUERIED)
def test_forty_layers_of_the_query_prompt_are_forty_sweeps(name):
    """Of the largest value, from parameters at 0: the row of the rewards holds the errors."""
    rng = np.random.default_rng(2)
    rule, case = small(name, rng)
    tokens, u = rule.tokens(case.features, case.u, case.window), jnp.zeros(rule.q)
    for _ in range(LAYERS):
        u = rule.teacher(case.features, u, case.window)
    optimum = rule.optimum(jnp.float64)
    block = QueryBlock(query_construction(optimum), reward_row(optimum), LAYERS)
    queries = jnp.asarray(rng.normal(size=(5, rule.d)))
    assert relative(block.values(tokens, queries), queries @ u[: rule.d]) <= 1e-9


def test_every_rule_of_one_head_has_a_query_construction():
    for name in RULES:
        rule, _ = small(name, np.random.default_rng(0))
        optimum = rule.optimum(jnp.float64)
        if name in QUERIED:
            assert query_construction(optimum).P.shape == (rule.p, rule.p)
        else:
            assert rule.heads == 2
            with pytest.raises(ValueError, match="optimum must be of one head"):
                query_construction(optimum)


def test_a_preconditioner_for_each_layer():
    rng = np.random.default_rng(3)
    rule, case = small("td", rng)
    tokens = rule.tokens(case.features, case.u, case.window)
    C = rng.normal(size=(3, 3, 3))
    theta = jax.vmap(lambda C: query_construction(rule.optimum(jnp.float64), C))(jnp.asarray(C))
    queries = rng.normal(size=(4, 3))
    w = np.zeros(3)
    for layer in range(3):
        total = np.zeros(3)
        for x in np.asarray(tokens):
            total += (x[6] + w @ x[3:6] - w @ x[:3]) * x[:3]
        w = w + rule.alpha * C[layer] @ total / len(tokens)
    values = QueryBlock(theta, 6, 3, False).values(tokens, jnp.asarray(queries))
    assert relative(values, queries @ w) <= 1e-12


@pytest.mark.parametrize("layers", [1, 4])
def test_a_trace_in_the_mask(layers):
    """Decay γλ is TD(λ) with its trace in the token; Wang et al. decay by λ alone, a loop."""
    rng = np.random.default_rng(4)
    rule = TdLambda(d=3, lam=0.6)
    case = one(icrl.random_case(rng, rule, 12))
    window = dataclasses.replace(case.window, terminated=np.zeros(12, bool), truncated=None)
    td = Td(d=3, alpha=rule.alpha)
    tokens, gamma = td.tokens(case.features, case.u, window), float(window.gamma)
    theta, queries = query_construction(td.optimum(jnp.float64)), jnp.eye(3)

    def masked(decay):
        return QueryBlock(theta, 6, layers, mask=trace_mask(12, decay)).values(tokens, queries)

    u = jnp.zeros(3)
    for _ in range(layers):
        u = rule.teacher(case.features, u, window)
    assert relative(masked(gamma * 0.6), u) <= 1e-12
    w = np.zeros(3)
    for _ in range(layers):
        total, trace = np.zeros(3), np.zeros(3)
        for x in np.asarray(tokens):
            trace = 0.6 * trace + x[:3]
            total += (x[6] + w @ x[3:6] - w @ x[:3]) * trace
        w = w + rule.alpha * total / 12
    assert relative(masked(0.6), w) <= 1e-12
    assert relative(w, np.asarray(u)) > 1e-2


# ——— measures ———


def test_similarity_of_a_block_with_itself_and_of_linear_ones():
    rng = np.random.default_rng(5)
    rule, case = small("td", rng)
    tokens = rule.tokens(case.features, case.u, case.window)
    phi, shares = jnp.asarray(rng.normal(size=(8, 3))), jnp.asarray(rng.dirichlet(np.ones(8)))
    block = QueryBlock(query_construction(rule.optimum(jnp.float64)), 6, 3)
    itself = similarity(block, block, tokens, phi, shares)
    np.testing.assert_allclose(itself, (1, 1, 0), atol=1e-12)
    other = block.with_theta(Matrices(*(jnp.asarray(rng.normal(size=(7, 7))) for _ in "PV")))
    apart = similarity(block, other, tokens, phi, shares)
    np.testing.assert_allclose(apart.implicit_weights, apart.sensitivity, rtol=1e-9)
    assert abs(float(apart.sensitivity)) < 0.999
    w = rng.normal(size=3)
    np.testing.assert_allclose(implicit_weights(phi, shares, phi @ w), w, rtol=1e-10)


# ——— training, files, and the command ———

CONFIGS = [
    {"layers": 2, "tied": False},
    {"layers": 3, "attention": "relu"},
    {"layers": 2, "parameters": "full", "objective": "td", "weight_decay": 1e-3},
    {"layers": 2, "prompt": "query", "parameters": "full", "objective": "true-values"},
    {"layers": 2, "tied": False, "prompt": "query", "parameters": "full", "attention": "softmax"},
]


@pytest.mark.parametrize("settings", CONFIGS, ids=lambda settings: "-".join(map(str, settings)))
def test_what_is_saved_is_loaded(settings, tmp_path):
    config = icrl.TrainingConfig(**TINY, **settings)
    result = icrl.train(Td(d=2), RandomBoyanChain(5), config)
    assert np.isfinite(result.losses).all()
    assert result.losses.shape == (8,)
    back = icrl.load(result.save(tmp_path / "run"))
    assert back.runs == result.runs
    assert type(back.block) is type(result.block)
    for here, there in zip(back.theta, result.theta, strict=True):
        np.testing.assert_array_equal(here, there)
    if config.prompt == "query":
        with pytest.raises(ValueError, match="evaluate needs a block that answers with param"):
            back.evaluate(n_mdps=1)
        with pytest.raises(ValueError, match="effective is of blocks that answer with param"):
            back.alignment()
    elif not config.tied:
        assert -1 <= back.alignment(1).cosine <= 1
        with pytest.raises(ValueError, match="layer must say which"):
            back.alignment()
    else:
        icrl.BlockAgent(back.rule, back.block)


def test_two_layers_learn_two_sweeps():
    """Tied layers from the paper's start, with the paper's optimiser."""
    config = icrl.TrainingConfig(mdps=600, layers=2, decay_every=2, dtype="float32")
    result = icrl.train(Td(d=3), icrl.RandomMDPs(n_states=5, n_actions=2), config)
    assert result.losses[-100:].mean() < 1e-5 * result.losses[:100].mean()
    assert result.alignment().cosine > 0.999


def test_weight_decay_is_added_to_the_gradient():
    theta, gradient = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 0.25])
    config = icrl.TrainingConfig(optimizer="sgd", learning_rate=0.1, weight_decay=0.01)
    optimizer = config.make_optimizer()
    change, _ = optimizer.update(gradient, optimizer.init(theta), theta)
    np.testing.assert_allclose(change, -0.1 * (gradient + 0.01 * theta), rtol=1e-12)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        (Td(d=2), {"prompt": "query"}, "parameters must be 'full' where prompt is 'query'"),
        (Td(d=2), {"weight_decay": -1.0}, "weight_decay must be finite and not negative"),
        (Td(d=2), {"layers": 0}, "layers must be an integer of at least 1, got 0"),
        (Sarsa(d=2), {"objective": "td"}, "rule must predict discounted values"),
        (TdLambda(d=2), {"objective": "td"}, "rule must predict discounted values"),
    ],
)
def test_refusals(rule, settings, message):
    with pytest.raises(ValueError, match=message):
        icrl.train(rule, config=icrl.TrainingConfig(**TINY, **settings))
    with pytest.raises(ValueError, match="theta must have a leading axis of 2 layers"):
        StackedBlock(Effective(jnp.zeros((5, 3)), jnp.zeros((2, 5))), 2, False)


def test_one_command(tmp_path, capsys):
    """The main job of Wang et al., four chains of its 5000."""
    words = """train td --d=4 --family=random-boyan-chain --prompt=query --parameters=full
        --objective=td --layers=3 --tied --mdps=4 --windows=5 --window-length=30
        --schedule=constant --weight-decay=5e-7 --out"""
    assert main([*words.split(), str(tmp_path / "run")]) == 0
    result = icrl.load(tmp_path / "run")
    assert result.losses.shape == (20,)
    assert result.block.layers == 3
    assert "mean loss of the last 20 updates" in capsys.readouterr().out
