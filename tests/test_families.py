"""Families of MDPs unlike the paper's: their transitions, and what they share with it."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from icrl_flax import RandomMDPs, Sarsa, TabularMDP, draw_task
from icrl_flax.control.tasks import check_fit
from icrl_flax.mdps import (
    ChainMDPs,
    DeterministicMDPs,
    Fixed,
    MDPFamily,
    SparseMDPs,
    checked_sample,
    policy_value,
)

S, A, DRAWS = 5, 3, 400


def draws(family, dtype=jnp.float64):
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return jax.vmap(lambda key: family.sample(key, dtype))(keys)


KINDS = {
    "random": RandomMDPs,
    "sparse": SparseMDPs,
    "deterministic": DeterministicMDPs,
    "chain": ChainMDPs,
}
SAMPLES = {name: kind(n_states=S, n_actions=A, gamma=0.8) for name, kind in KINDS.items()}

# Sums of transition, reward and initial, weighted by cos(0), cos(1), …, of the member that
# key 7 draws in float32: taken when there were no rooms, so that no stream changes unseen.
STREAMS = [
    (RandomMDPs(), 1.1865700357445501, 3.3982643549472047, 0.29842381136350665),
    (
        RandomMDPs(4, 2, 0.8, concentration=0.3, reward="normal"),
        1.0787798990692568,
        0.7558989959596183,
        0.4054735892779556,
    ),
    (RandomMDPs(4, 2, 0.8, reward="sparse"), 0.3612617122086821, 0.0, 0.413562107861174),
    (
        RandomMDPs(4, 2, 0.8, reward="state-action"),
        0.3612617122086821,
        1.5265493683887146,
        0.413562107861174,
    ),
    (SparseMDPs(), 0.901860205375011, 1.7570909249551034, 0.2872878068666856),
    (DeterministicMDPs(), -7.430543751823152, 1.7570909249551034, 0.2872878068666856),
    (ChainMDPs(5, 3, 0.9), 0.0005433315309459988, -0.5917031604981513, 0.2789083531987246),
]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("family", "transition", "reward", "initial"), STREAMS)
def test_streams(family, transition, reward, initial, x64):
    with jax.enable_x64(x64):
        mdp = family.sample(jax.random.key(7), jnp.float32)
    for table, expected in zip(
        (mdp.transition, mdp.reward, mdp.initial), (transition, reward, initial), strict=True
    ):
        entries = np.ravel(table).astype(float)
        assert np.cos(np.arange(entries.size)) @ entries == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("name", KINDS)
def test_names(name):
    assert KINDS[name].name() == name


@pytest.mark.parametrize("name", SAMPLES)
def test_what_all_families_share(name):
    assert isinstance(SAMPLES[name], MDPFamily)
    mdps = draws(SAMPLES[name], jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(mdps)} == {np.dtype("float32")}
    assert mdps.transition.shape == mdps.reward.shape == (DRAWS, S, A, S)
    np.testing.assert_array_equal(mdps.gamma, np.full(DRAWS, np.float32(0.8)))
    for distribution in (mdps.transition, mdps.initial):
        assert (distribution >= 0).all()
        np.testing.assert_allclose(distribution.sum(axis=-1), 1, atol=1e-6)
    rewards = np.asarray(mdps.reward)
    np.testing.assert_array_equal(rewards, np.broadcast_to(rewards[:, :1], rewards.shape))
    assert scipy.stats.kstest(rewards[:, 0].ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    beta = scipy.stats.beta(1, S - 1).cdf
    assert scipy.stats.kstest(np.ravel(mdps.initial[:, 0]), beta).pvalue > 1e-3
    # The parts do not hang together.
    parts = [mdps.initial[:, 0], mdps.reward[:, 0, 0, 0], mdps.transition[:, 2, 0, 1]]
    correlations = np.corrcoef(np.stack(parts)) - np.eye(3)
    assert np.abs(correlations).max() < 4 / np.sqrt(DRAWS)
    # An agent can stand in one.
    task = draw_task(jax.random.key(1), Sarsa(d=2), SAMPLES[name], jnp.float64)
    assert 0 <= int(task.state) < S


@pytest.mark.parametrize("k", [1, 2, S])
def test_sparse(k):
    transition = np.asarray(draws(SparseMDPs(S, A, successors=k)).transition)
    np.testing.assert_array_equal((transition > 0).sum(axis=-1), k)
    # Every state is a successor equally often.
    times = (transition > 0).sum(axis=(0, 1, 2))
    expected = transition.size / S * k / S
    assert np.abs(times - expected).max() <= 4 * np.sqrt(expected)
    weights = transition[transition > 0]
    if k > 1:
        beta = scipy.stats.beta(1, k - 1).cdf
        assert scipy.stats.kstest(weights[::k], beta).pvalue > 1e-3
    else:
        np.testing.assert_array_equal(weights, 1)


def test_deterministic():
    transition = np.asarray(draws(DeterministicMDPs(S, A)).transition)
    assert set(np.unique(transition)) == {0, 1}
    times = transition.sum(axis=(0, 1, 2))
    assert scipy.stats.chisquare(times).pvalue > 1e-3
    assert len(np.unique(transition.reshape(DRAWS, -1), axis=0)) > DRAWS / 2


def test_chain():
    transition = np.asarray(draws(ChainMDPs(S, A)).transition)
    right = []
    for s in range(S):
        up, down = min(s + 1, S - 1), max(s - 1, 0)
        right.append(transition[:, s, :, up])
        np.testing.assert_allclose(transition[:, s, :, [down, up]].sum(axis=0), 1)
    right = np.stack(right, axis=1)
    assert scipy.stats.kstest(right.ravel(), "uniform").pvalue > 1e-3
    # Each pair has its own probability.
    assert np.unique(right).size == right.size


def test_one_state_and_one_action():
    for kind in (DeterministicMDPs, ChainMDPs):
        assert kind(1, 1).sample(jax.random.key(0)).transition == 1
    assert SparseMDPs(1, 1, successors=1).sample(jax.random.key(0)).transition == 1


# A family of one, and one's own

WALK = {
    "transition": [[[0, 1, 0]], [[0, 0, 1]], [[1, 0, 0]]],
    "reward": np.broadcast_to([1, 1, 3], (3, 1, 3)),
    "initial": [1, 0, 0],
    "gamma": 0.5,
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_fixed(dtype):
    mdp = TabularMDP(**WALK, terminal=[0, 0, 1])
    family = Fixed(mdp)
    assert family.name() == "fixed"
    assert isinstance(family, MDPFamily)
    for key in range(2):
        drawn = family.sample(jax.random.key(key), dtype)
        assert drawn.transition.dtype == drawn.gamma.dtype == dtype
        assert drawn.terminal.dtype == bool
        for found, expected in zip(jax.tree.leaves(drawn), jax.tree.leaves(mdp), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert len(jax.tree.leaves(family)) == 5  # numbers, so that another MDP compiles nothing


@pytest.mark.usefixtures("unchecked")
def test_fixed_takes_an_mdp():
    with pytest.raises(ValueError, match=r"^mdp must be a TabularMDP, got dict$"):
        Fixed(WALK)


class Mazes(eqx.Module):
    """Two cells, four moves; `slip` is no probability unless somebody checks it."""

    slip: float = 0.2
    dtype: str | None = eqx.field(static=True, default=None)
    reward: float = 1.0

    def sample(self, key, dtype=jnp.float32):
        dtype = self.dtype or dtype
        chosen = jax.nn.one_hot(jnp.array([[0, 0, 0, 1], [0, 1, 1, 1]]), 2, dtype=dtype)
        transition = (1 - self.slip) * chosen + self.slip * chosen.mean(1, keepdims=True)
        return TabularMDP(
            transition=transition,
            reward=jnp.full((2, 4, 2), self.reward, dtype),
            initial=jnp.full(2, 0.5, dtype),
            gamma=jnp.asarray(0.5, dtype),
        )


@dataclasses.dataclass
class Loose:
    """Not frozen, so without a hash."""

    slip: float = 0.2
    reward = 1.0
    dtype = None
    sample = Mazes.sample


class Plain:
    """A class like any other."""

    slip, reward, dtype = 0.2, 1.0, None
    sample = Mazes.sample


class Elsewhere:
    def sample(self, key, dtype):
        return WALK


@pytest.mark.parametrize(
    "family", [Mazes(), Plain(), *SAMPLES.values()], ids=lambda family: type(family).__name__
)
def test_what_can_be_drawn_from(family):
    mdp = checked_sample(family, jax.random.key(0))
    assert mdp.transition.dtype == jnp.float32
    assert mdp.transition.shape == mdp.reward.shape
    check_fit(Sarsa(d=2), family)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Mazes(slip=1.5), r"transition must not be negative, got -0.125 at index \(0, 3, 1\)"),
        (Mazes(reward=float("nan")), r"reward must be finite, got nan at index \(0, 0, 0\)"),
        (Mazes(dtype="float64"), "family must draw float32, got float64 in Mazes's transition"),
        (Loose(), "family must be an equinox.Module or a frozen dataclass, .* got Loose, which"),
        (Elsewhere(), "family must draw a TabularMDP, got dict of Elsewhere"),
        (object(), "family must be an object with a method sample, got <object"),
        (Mazes, "family must be an object with a method sample, got <class"),
        (None, "family must be an object with a method sample, got None"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot(family, message):
    for check in (checked_sample, lambda family, key: check_fit(Sarsa(d=2), family)):
        with pytest.raises(ValueError, match=rf"^{message}"):
            check(family, jax.random.key(0))


def test_families_of_the_library_are_not_drawn_to_be_checked(monkeypatch):
    """Their settings were checked when they were made."""
    monkeypatch.setattr(jax.random, "uniform", lambda *_: pytest.fail("drawn"))
    with pytest.raises(pytest.fail.Exception):
        ChainMDPs().sample(jax.random.key(0))
    monkeypatch.undo()
    found = checked_sample(ChainMDPs(), jax.random.key(0))
    assert isinstance(found.transition, jax.ShapeDtypeStruct)


@pytest.mark.parametrize(
    "ends", [[0, 0, 1], np.array([0.0, 0, 1]), np.array([False, False, True])]
)
def test_terminal_states_as_integers(ends):
    """~1 of an integer is −2: this MDP was once worth 0.45."""
    mdp = TabularMDP(**WALK, terminal=jnp.asarray(ends))
    np.testing.assert_allclose(policy_value(mdp, np.ones((3, 1))), [2.5, 3, 1.0 + 1.25])
