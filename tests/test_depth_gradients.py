"""Gradients at every depth, objective, prompt and activation, against complex steps in NumPy.

The NumPy side writes each layer over all columns of the prompt, as eq. (1) prints it, and
knows nothing of θ_eff, of shared windows or of S = Z Zᵀ/n. A derivative is the imaginary
part of the loss at θ + 1e-30 i, exact to rounding.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icrl_flax as icrl
from icrl_flax.attention import Matrices
from icrl_flax.control import draw_task
from icrl_flax.mdps import RandomBoyanChain, policy_value
from icrl_flax.rules.td import Td
from icrl_flax.training import block_of, initial_block

D_, STATES, N, K = 2, 5, 4, 3
RULE, FAMILY = Td(d=D_), RandomBoyanChain(STATES)
ACTIVATIONS = ("linear", "softmax", "relu", "tanh")
OBJECTIVES = ("teacher", "td", "monte-carlo", "true-values")
FORMS = (("parameters", "effective"), ("parameters", "full"), ("query", "full"))
STEP = 1e-30


def config(form, attention="linear", layers=1, tied=True, objective="teacher"):
    prompt, parameters = form
    return icrl.TrainingConfig(
        window_length=N,
        layers=layers,
        tied=tied,
        attention=attention,
        prompt=prompt,
        parameters=parameters,
        objective=objective,
        queries=K,
        inverse_temperature=1.3,
        dtype="float64",
    )


@functools.cache
def example(prompt, objective, layers):
    """One update's data."""
    data = icrl.stream(
        jax.random.key(3),
        jnp.arange(1),
        RULE,
        FAMILY,
        1,
        N,
        jnp.float64,
        sweeps=layers,
        objective=objective,
        prompt=prompt,
        queries=K,
    )
    return jax.tree.map(lambda leaf: leaf[0, 0], data)


# ——— NumPy ———


def numpy_layer(P, V, H, attention, keys, n):
    """H + V H A, one query column after the other."""
    new = H.astype(complex)
    for j in range(H.shape[1]):
        scores = H[:, :keys].T @ P @ H[:, j]
        if attention == "softmax":
            weights = np.exp(1.3 * (scores - scores.real.max()))
            weights = weights / weights.sum()
        else:
            weights = {
                "linear": lambda x: x,
                "relu": lambda x: np.where(x.real > 0, x, 0),
                "tanh": np.tanh,
            }[attention](scores) / n
        new[:, j] += V @ H[:, :keys] @ weights
    return new


def numpy_stack(theta, H, attention, layers, tied, keys):
    for layer in range(layers):
        P, V = theta if tied else (theta[0][layer], theta[1][layer])
        H = numpy_layer(P, V, H, attention, keys, H.shape[1] - 1)
    return H


def numpy_parameters(theta, form, tokens, u, attention, layers, tied):
    """The last q entries of the last column; θ_eff is put into full matrices first."""
    n, p = tokens.shape
    q = len(u)
    if form[1] == "effective":
        P12, V21 = theta
        lead = P12.shape[:-2]
        P, V = np.zeros((2, *lead, p + q + 1, p + q + 1), complex)
        P[..., :p, p:] = P12
        V[..., p + 1 :, :p] = V21
        theta = P, V
    H = np.zeros((p + q + 1, n + 1), complex)
    H[:p, :n] = tokens.T
    H[p, n], H[p + 1 :, n] = 1, u
    keys = n if attention == "softmax" else n + 1
    return numpy_stack(theta, H, attention, layers, tied, keys)[-q:, -1]


def numpy_value(theta, form, tokens, query, attention, layers, tied):
    n, p = tokens.shape
    if form[0] == "parameters":
        zero = np.zeros(len(query))
        return query @ numpy_parameters(theta, form, tokens, zero, attention, layers, tied)
    H = np.zeros((p, n + 1), complex)
    H[:, :n], H[: len(query), n] = tokens.T, query
    return -numpy_stack(theta, H, attention, layers, tied, n)[-1, -1]


def numpy_loss(theta, form, data, frozen, attention, layers, tied):
    """½ mean squared error; `frozen` are the values in the targets, None for parameters."""
    how = (attention, layers, tied)
    if frozen is None:
        error = numpy_parameters(theta, form, data["tokens"], data["u"], *how) - data["target"]
        return (error**2).sum() / 2
    total = 0
    for k in range(K):
        tokens = data["tokens"][k : k + N]
        value = numpy_value(theta, form, tokens, data["queries"][k], *how)
        total = total + (data["target"][k] + data["discounts"][k] * frozen[k] - value) ** 2
    return total / (2 * K)


def numpy_gradient(theta, form, data, attention, layers, tied):
    frozen = None
    if "queries" in data:
        frozen = [
            numpy_value(
                theta,
                form,
                data["tokens"][k + 1 : k + 1 + N],
                data["queries"][k + 1],
                attention,
                layers,
                tied,
            ).real
            for k in range(K)
        ]
    gradient = [np.zeros_like(leaf) for leaf in theta]
    for leaf, out in enumerate(gradient):
        for at in np.ndindex(out.shape):
            moved = [np.array(x, complex) for x in theta]
            moved[leaf][at] += 1j * STEP
            loss = numpy_loss(moved, form, data, frozen, attention, layers, tied)
            out[at] = loss.imag / STEP
    return numpy_loss(theta, form, data, frozen, attention, layers, tied).real, gradient


# ——— the library beside it ———


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("attention", ACTIVATIONS)
@pytest.mark.parametrize(("layers", "tied"), [(1, True), (3, True), (3, False)])
def test_losses_and_gradients_of_every_objective(form, attention, layers, tied):
    settings = config(form, attention, layers, tied)
    theta = initial_block(jax.random.key(0), RULE, settings).theta
    rng = np.random.default_rng(layers)
    theta = type(theta)(*(jnp.asarray(rng.normal(size=x.shape, scale=0.4)) for x in theta))
    loss_and_gradient = jax.jit(
        jax.value_and_grad(lambda theta, data: data.loss(block_of(theta, RULE, settings)))
    )
    for objective in OBJECTIVES:
        data = example(form[0], objective, layers)
        loss, gradient = loss_and_gradient(theta, data)
        plain = {name: np.asarray(leaf) for name, leaf in vars(data).items()}
        there = [np.asarray(leaf) for leaf in theta]
        expected, wanted = numpy_gradient(there, form, plain, attention, layers, tied)
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        scale = max(np.abs(leaf).max() for leaf in wanted)
        assert scale > 1e-3  # there is something to compare
        for found, leaf in zip(gradient, wanted, strict=True):
            assert np.abs(found - leaf).max() <= 1e-10 * max(scale, 1)


def test_targets_without_a_teacher():
    """Rewards, exact values and the teacher's answers, from the MDP that a key draws."""
    key = jax.random.split(jax.random.fold_in(jax.random.key(3), 0))[0]
    task = draw_task(key, RULE, FAMILY, jnp.float64)
    mdp, phi = task.mdp, np.asarray(task.features.phi)
    chain, reward = np.asarray(mdp.transition[:, 0]), np.asarray(mdp.reward[:, 0, 0])
    exact = np.linalg.solve(np.eye(STATES) - 0.9 * chain, reward)
    np.testing.assert_allclose(policy_value(mdp, np.ones((STATES, 1))), exact, rtol=1e-12)

    walk = example("query", "td", 1)
    asked = [int(np.abs(phi - np.asarray(q)).sum(1).argmin()) for q in walk.queries]
    np.testing.assert_array_equal(phi[asked], walk.queries)
    np.testing.assert_allclose(walk.target, reward[asked[:-1]], rtol=1e-12)
    np.testing.assert_allclose(walk.discounts, 0.9)
    for state, following in itertools.pairwise(asked):
        assert chain[state, following] > 0

    truth = example("query", "true-values", 1)
    np.testing.assert_array_equal(truth.queries, walk.queries)  # of the same walk
    np.testing.assert_allclose(truth.target, exact[asked[:-1]], rtol=1e-12)
    assert not np.any(truth.discounts)

    taught = example("query", "teacher", 3)
    tokens = np.asarray(taught.tokens)
    for k in range(K):
        w = np.zeros(D_)
        for _ in range(3):
            total = np.zeros(D_)
            for now, then, r in zip(
                tokens[k : k + N, :D_],
                tokens[k : k + N, D_ : 2 * D_],
                tokens[k : k + N, -1],
                strict=True,
            ):
                total += (r + w @ then - w @ now) * now
            w = w + RULE.alpha * total / N
        np.testing.assert_allclose(taught.target[k], w @ phi[asked[k]], rtol=1e-10, atol=1e-14)


def test_sampled_returns_have_the_values_as_their_mean():
    """Over 20 000 of them, within four standard errors and what 40 steps leave out."""
    key = jax.random.key(8)
    sampled, truth = (
        icrl.stream(
            key, jnp.arange(100), RULE, FAMILY, 2, N, jnp.float64, objective=which, queries=100
        )
        for which in ("monte-carlo", "true-values")
    )
    np.testing.assert_array_equal(sampled.queries, truth.queries)
    differences = np.asarray(sampled.target - truth.target).reshape(100, -1).mean(1)
    assert np.asarray(sampled.target != truth.target).all()
    assert abs(differences.mean()) < 4 * differences.std() / 10 + 0.9**40 / (1 - 0.9) / 10


def test_untied_layers_with_equal_weights_are_tied_ones():
    data = example("query", "td", 1)
    tied = initial_block(jax.random.key(1), RULE, config(FORMS[2], layers=3, objective="td"))
    settings = config(FORMS[2], layers=3, tied=False, objective="td")
    same = Matrices(*(jnp.stack([leaf] * 3) for leaf in tied.theta))
    loss, gradient = jax.value_and_grad(lambda t: data.loss(block_of(t, RULE, settings)))(same)
    assert loss == data.loss(tied)
    total = jax.grad(lambda t: data.loss(tied.with_theta(t)))(tied.theta)
    for layers, leaf in zip(gradient, total, strict=True):
        np.testing.assert_allclose(layers.sum(0), leaf, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("attention", ["linear", "relu"])
@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_scale_of_each_layer_is_conserved(form, attention, objective):
    """⟨P_l, ∂L/∂P_l⟩ = ⟨V_l, ∂L/∂V_l⟩: under the flow ‖P_l‖² − ‖V_l‖² stands still."""
    settings = config(form, attention, 3, False, objective)
    theta = initial_block(jax.random.key(2), RULE, settings).theta
    theta = jax.tree.map(lambda x: 3 * x, theta)
    data = example(form[0], objective, 3)
    gradient = jax.grad(lambda theta: data.loss(block_of(theta, RULE, settings)))(theta)
    on_p, on_v = (
        (leaf * slope).sum(axis=(1, 2)) for leaf, slope in zip(theta, gradient, strict=True)
    )
    np.testing.assert_allclose(on_p, on_v, rtol=1e-9, atol=1e-14)
    assert np.abs(on_p).min() > 1e-9


def test_of_the_inert_blocks_depth_wakes_one_row_alone():
    """Of the free entries at 0 only V21's first row has a gradient, below the top layer."""
    settings = config(("parameters", "full"), "linear", 3, False)
    theta = initial_block(jax.random.key(4), RULE, settings).theta
    theta = jax.tree.map(lambda x: 5 * x, theta)
    data = example("parameters", "teacher", 3)
    gradient = jax.grad(lambda theta: data.loss(block_of(theta, RULE, settings)))(theta)
    blocks = icrl.split(*gradient, RULE.p)
    awake = {
        name: np.abs(leaf).max(axis=(1, 2)) > 1e-12
        for name, leaf in blocks._asdict().items()
        if name != "V21"
    }
    awake["V̄21"] = np.abs(blocks.V21_bar).max(axis=(1, 2)) > 1e-12
    awake["first row"] = np.abs(blocks.V21[:, 0]).max(axis=1) > 1e-12
    for name, layers in awake.items():
        expected = {"P12": [1, 1, 1], "V̄21": [1, 1, 1], "first row": [1, 1, 0]}.get(
            name, [0, 0, 0]
        )
        assert layers.tolist() == [bool(x) for x in expected], name
