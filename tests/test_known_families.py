"""Families that the literature knows, each against something that is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import Sarsa, cli, draw_task, load, optimal_action_values
from icrl_flax.control.tasks import check_fit
from icrl_flax.mdps import (
    FAMILIES,
    Baird,
    BoyanChain,
    Garnet,
    GridMDPs,
    Loop,
    RepresentableMDPs,
    TerminatingMDPs,
    differential_value,
    expected_rewards,
    mean_squared_value_error,
    policy_value,
    stationary_distribution,
)
from icrl_flax.rules import discover

RULES = discover()
Td, OffPolicyTd, Gtd2 = (RULES[name] for name in ("td", "off-policy-td", "gtd2"))
F64 = jnp.float64
NEW = ("baird", "boyan-chain", "loop", "garnet", "grid", "representable", "terminating")


def one(family, key=0):
    return jax.jit(lambda key: family.sample(key, F64))(jax.random.key(key))


def only(mdp):
    """The policy of an MDP with one action, or the uniform one."""
    return np.full((mdp.n_states, mdp.n_actions), 1 / mdp.n_actions)


# Boyan's chain


def test_boyans_values():
    mdp = one(BoyanChain(gamma=1 - 1e-9))
    np.testing.assert_allclose(policy_value(mdp, only(mdp)), -2 * np.arange(13), atol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(mdp.terminal), [0])
    np.testing.assert_array_equal(np.flatnonzero(mdp.initial), [12])


@pytest.mark.parametrize("size", [5, 13, 21])
def test_boyans_features_hold_the_values(size):
    d = (size - 1) // 4 + 1
    family = BoyanChain(size, 1 - 1e-9, own_features=True)
    task = draw_task(jax.random.key(0), Td(d=d), family, F64)
    np.testing.assert_allclose(task.features.phi.sum(axis=1), 1)
    w = -2.0 * 4 * np.arange(d)
    value = policy_value(task.mdp, only(task.mdp))
    np.testing.assert_allclose(task.features.phi @ w, value, atol=1e-5)


# Loop, Garnet, terminal states, grids


def test_a_loop_without_shortcuts():
    """Round and round: v(s) = Σ γ^k r(s + k), and every state equally often."""
    mdp = one(Loop(5, 0.8, density=0.0))
    reward = np.asarray(expected_rewards(mdp))[:, 0]
    around = np.array([[reward[(s + k) % 5] for k in range(5)] for s in range(5)])
    expected = around @ 0.8 ** np.arange(5) / (1 - 0.8**5)
    np.testing.assert_allclose(policy_value(mdp, only(mdp)), expected, rtol=1e-12)
    np.testing.assert_allclose(stationary_distribution(mdp, only(mdp)), 0.2, rtol=1e-12)


def test_a_loop_has_the_shortcuts_that_its_density_says():
    moves = np.stack([one(Loop(6, density=0.3), key).transition[:, 0] for key in range(40)])
    ring = np.roll(np.eye(6, dtype=bool), 1, axis=1)
    assert (moves[:, ring] > 0).all()
    share = (moves[:, ~ring] > 0).mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / moves[:, ~ring].size) ** 0.5
    assert (one(Loop(6, density=1.0)).transition > 0).all()


def test_garnet():
    mdp = one(Garnet(7, 3, 0.9, branching=2))
    np.testing.assert_array_equal((np.asarray(mdp.transition) > 0).sum(axis=-1), 2)
    single = one(Garnet(1, 4, 0.75, branching=1))
    best = np.asarray(expected_rewards(single)).max() / (1 - 0.75)
    q = optimal_action_values(single, 1e-12)
    assert float(q.max()) == pytest.approx(best, rel=1e-9)
    rewards = np.concatenate([np.ravel(one(Garnet(), k).reward[..., 0]) for k in range(30)])
    assert abs(rewards.mean()) < 4 / rewards.size**0.5
    assert abs(rewards.std() - 1) < 4 / (2 * rewards.size) ** 0.5


def test_terminal_states_by_hand():
    """Two states, one action: v(0) = r + γ p v(0), p the chance to stay."""
    mdp = one(TerminatingMDPs(2, 1, 0.6))
    stay = float(mdp.transition[0, 0, 0])
    expected = float(expected_rewards(mdp)[0, 0]) / (1 - 0.6 * stay)
    assert float(policy_value(mdp, only(mdp))[0]) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(mdp.terminal, [False, True])
    np.testing.assert_allclose(mdp.initial, [1, 0])
    three = one(TerminatingMDPs(9, 2, n_terminal=3))
    np.testing.assert_array_equal(np.flatnonzero(three.terminal), [6, 7, 8])
    assert float(three.initial[6:].sum()) == 0
    # Of an episodic life: what enters a terminal state begins anew.
    share = np.asarray(stationary_distribution(three, only(three)))
    assert np.abs(share[6:]).max() < 1e-12
    assert share.sum() == pytest.approx(1)


@pytest.mark.parametrize("key", range(3))
def test_an_open_grid(key):
    """Without walls and slips the goal is as far as its rows and columns say."""
    mdp = one(GridMDPs(4, 0.9, walls=0, slip=0.0), key)
    (goal,) = np.flatnonzero(mdp.terminal)
    cells = np.arange(16)
    distance = np.abs(cells // 4 - goal // 4) + np.abs(cells % 4 - goal % 4)
    best = np.asarray(optimal_action_values(mdp, 1e-12)).max(axis=1)
    away = cells != goal
    np.testing.assert_allclose(best[away], 0.9 ** (distance[away] - 1.0), rtol=1e-10)


def test_walls_are_never_entered():
    for key in range(5):
        mdp = one(GridMDPs(3, walls=3), key)
        free = (np.asarray(mdp.initial) > 0) | np.asarray(mdp.terminal)
        assert free.sum() == 6
        assert float(mdp.transition[free][:, :, ~free].sum()) == 0


# Features that the family sees


@pytest.mark.parametrize("name", ["td", "off-policy-td"])
def test_representable_values(name):
    rule = RULES[name](d=3, epsilon=0.4)
    task = draw_task(jax.random.key(1), rule, RepresentableMDPs(6, 3, 0.7), F64)
    policy = rule.predicted_policy(task.features)
    value = np.asarray(policy_value(task.mdp, policy))
    phi = np.asarray(task.features.phi)
    w = np.linalg.lstsq(phi, value)[0]
    np.testing.assert_allclose(phi @ w, value, atol=1e-12)
    assert np.abs(w).max() < 1
    # The other policy's values are not in the features, where it is another.
    other = RULES["td"](d=3, epsilon=0.0 if name == "td" else 0.4).predicted_policy(task.features)
    left = np.asarray(policy_value(task.mdp, other))
    assert np.abs(phi @ np.linalg.lstsq(phi, left)[0] - left).max() > 1e-4


def expected_update(rule, family):
    """E[ρφ(γφ⁺ − φ)ᵀ] by sums over states and actions."""
    task = draw_task(jax.random.key(0), rule, family, F64)
    phi = np.asarray(task.features.phi)
    behaviour = rule.behaviour(task.features, task.u)
    d, pi = stationary_distribution(task.mdp, behaviour), rule.predicted_policy(task.features)
    matrix = np.zeros((rule.d, rule.d))
    for s, a, t in np.ndindex(task.mdp.transition.shape):
        weight = float(d[s] * pi[s, a] * task.mdp.transition[s, a, t])
        matrix += weight * np.outer(phi[s], float(task.mdp.gamma) * phi[t] - phi[s])
    return task, matrix


def test_baird():
    """Values are 0 and in the features, and yet the expected update grows."""
    rule = OffPolicyTd(d=8, epsilon=1.0)
    task, matrix = expected_update(rule, Baird())
    np.testing.assert_array_equal(task.features.phi[0], [2, 0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(task.features.phi[6], [0, 0, 0, 0, 0, 0, 1, 2])
    assert np.linalg.matrix_rank(task.features.phi) == 7
    behaviour, wanted = rule.behaviour(task.features, task.u), rule.policy(task.features, task.u)
    np.testing.assert_allclose(behaviour, np.full((7, 7), 1 / 7))
    np.testing.assert_array_equal(wanted, np.eye(7)[[6] * 7])
    np.testing.assert_array_equal(policy_value(task.mdp, wanted), np.zeros(7))
    assert np.linalg.eigvals(matrix).real.max() > 0.01
    on_policy = expected_update(Td(d=8, epsilon=1.0), Baird())[1]
    assert np.linalg.eigvals(on_policy).real.max() < 1e-12


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BoyanChain(12), "n_states must be one more than a multiple of 4, got 12"),
        (lambda: BoyanChain(gamma=1.0), r"gamma must lie in \[0, 1\), got 1.0"),
        (lambda: Loop(density=1.5), r"density must lie in \[0, 1\], got 1.5"),
        (lambda: Garnet(3, branching=4), "branching must be at most n_states = 3, got 4"),
        (lambda: GridMDPs(3, walls=8), r"walls must lie in \[0, 7\] on a grid of side 3, got 8"),
        (lambda: GridMDPs(slip=-0.1), r"slip must lie in \[0, 1\], got -0.1"),
        (lambda: TerminatingMDPs(3, n_terminal=3), "n_terminal must be below n_states = 3, got 3"),
        (lambda: check_fit(Td(d=9), Baird()), "d must be 8 for the features of family 'baird'"),
        (lambda: check_fit(Sarsa(), Baird()), "family 'baird' has features for rules that pred"),
        (lambda: check_fit(Sarsa(), RepresentableMDPs()), "family 'representable' is for rules"),
        (
            lambda: check_fit(Td(d=9), BoyanChain(own_features=True)),
            "d must be 4 for the features of family 'boyan-chain', got 9",
        ),
    ],
)
def test_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


# Exact quantities


def test_differential_values_are_what_a_long_life_earns_more():
    mdp = one(TerminatingMDPs(4, 2))
    policy = only(mdp)
    h = np.asarray(differential_value(mdp, policy))
    d = np.asarray(stationary_distribution(mdp, policy))
    assert d @ h == pytest.approx(0, abs=1e-12)
    moves = np.asarray(mdp.transition).copy()
    into = moves[:, :, 3].copy()
    moves[:, :, 3] = 0
    moves += into[..., None] * np.asarray(mdp.initial)
    chain = np.einsum("sa,sat->st", policy, moves)
    reward = (policy * np.asarray(expected_rewards(mdp))).sum(axis=1)
    np.testing.assert_allclose(d @ chain, d, atol=1e-12)
    total, state = np.zeros(4), np.eye(4)
    for _ in range(300):
        total, state = total + state @ (reward - d @ reward), state @ chain
    np.testing.assert_allclose(h, total, atol=1e-10)


@pytest.mark.usefixtures("unchecked")
def test_mean_squared_value_error_by_hand():
    mdp = one(Loop(4, 0.5))
    value = np.asarray(policy_value(mdp, only(mdp)))
    d = np.asarray(stationary_distribution(mdp, only(mdp)))
    assert float(mean_squared_value_error(mdp, only(mdp), value)) == 0
    off = value + np.array([1.0, 0, -2, 0])
    expected = d[0] + 4 * d[2]
    assert float(mean_squared_value_error(mdp, only(mdp), off)) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"^values must have shape \(4\), got \(3,\)"):
        mean_squared_value_error(mdp, only(mdp), off[:3])


# By name


@pytest.mark.parametrize("name", NEW)
def test_by_name_on_the_command_line(name, tmp_path):
    """Trained on, and predicted in, by `--family`; the record knows it again."""
    d = "8" if name == "baird" else "3"
    small = ["--mdps", "2", "--windows", "2", "--window-length", "3", "--d", d]
    out = tmp_path / "run"
    arguments = ["train", "td", "--out", str(out), "--family", name, *small]
    assert cli.main(arguments) == 0
    assert load(out).family == FAMILIES[name]()
