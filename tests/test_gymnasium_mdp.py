"""Gymnasium's transition tables as MDPs, and its environments stepped."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import expected_return, from_gymnasium, rollout
from icrl_flax.control import oracle_policy, uniform_policy
from icrl_flax.experience import epsilon_mix
from icrl_flax.mdps import episode_returns

ENVIRONMENTS = {
    "FrozenLake-v1": {"is_slippery": True},
    "FrozenLake-v1, firm": {"is_slippery": False},
    "CliffWalking-v1": {},
    "Taxi-v4": {},
}
TERMINAL = {
    "FrozenLake-v1": [5, 7, 11, 12, 15],
    "FrozenLake-v1, firm": [5, 7, 11, 12, 15],
    "CliffWalking-v1": [47],
    # The passenger set down at each of the four destinations, the taxi there too.
    "Taxi-v4": [0, 85, 410, 475],
}
SUCCESS = {"FrozenLake-v1": 1, "FrozenLake-v1, firm": 1, "CliffWalking-v1": -1, "Taxi-v4": 20}


def make(name, **options):
    return gymnasium.make(name.partition(",")[0], **ENVIRONMENTS.get(name, {}), **options)


names = pytest.mark.parametrize("name", ENVIRONMENTS)


@names
def test_table(name):
    env = make(name)
    mdp = from_gymnasium(env, 0.9)
    S, A = int(env.observation_space.n), int(env.action_space.n)
    transition, reward = np.zeros((S, A, S)), np.zeros((S, A, S))
    for s, a in np.ndindex(S, A):
        for probability, successor, earned, _ in env.unwrapped.P[s][a]:
            transition[s, a, successor] += probability
            reward[s, a, successor] = earned  # here it depends on nothing else
    np.testing.assert_allclose(mdp.transition, transition, rtol=0, atol=1e-15)
    np.testing.assert_allclose(mdp.transition.sum(axis=-1), np.ones((S, A)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(mdp.reward, reward, rtol=1e-12)
    np.testing.assert_allclose(mdp.initial, env.unwrapped.initial_state_distrib, rtol=1e-15)
    assert float(mdp.gamma) == 0.9
    np.testing.assert_array_equal(np.flatnonzero(mdp.terminal), TERMINAL[name])
    # Success is paid on the way into a terminal state.
    assert float(mdp.reward[:, :, np.asarray(mdp.terminal)].max()) == max(SUCCESS[name], 0)


def test_frozen_lake_slips():
    """From state 0 to the right: up (stays), right or down, with equal chances."""
    mdp = from_gymnasium(make("FrozenLake-v1"), 0.9)
    row = np.zeros(16)
    row[[0, 1, 4]] = 1 / 3
    np.testing.assert_allclose(mdp.transition[0, 2], row, rtol=1e-15)
    firm = from_gymnasium(make("FrozenLake-v1, firm"), 0.9)
    np.testing.assert_array_equal(firm.transition[0, 2], np.eye(16)[1])


def test_the_cliff_is_no_end():
    mdp = from_gymnasium(make("CliffWalking-v1"), 0.9)
    np.testing.assert_array_equal(mdp.initial, np.eye(48)[36])
    assert mdp.transition[36, 1, 36] == 1
    assert mdp.reward[36, 1, 36] == -100
    # 13 moves at −1 are the best way.
    best = -sum(0.9**i for i in range(13))
    assert float(expected_return(mdp, oracle_policy(mdp))) == pytest.approx(best, rel=1e-6)


@names
@pytest.mark.parametrize("policy", ["uniform", "nearly optimal"])
def test_exact_return_is_what_the_environment_pays(name, policy):
    gamma = 0.9
    episodes = 3000 if name.startswith("FrozenLake") else 300
    env = make(name)  # time limits of 100 and 200 steps leave out a share of 0.9¹⁰⁰ at most
    mdp = from_gymnasium(env, gamma)
    table = uniform_policy(mdp) if policy == "uniform" else epsilon_mix(oracle_policy(mdp), 0.25)
    exact = float(expected_return(mdp, table))
    returns = episode_returns(env, table, gamma, episodes, seed=5, longest=120)
    assert returns.shape == (episodes,)
    error = returns.std(ddof=1) / episodes**0.5
    assert error > 0
    assert abs(returns.mean() - exact) < 4.5 * error + 100 * gamma**100
    assert abs(returns.mean()) > 2 * error  # there is something to compare


def test_rollouts_agree_with_the_environment():
    """Rewards of a rollout that restarts, per step, against the environment reset by hand."""
    env = make("FrozenLake-v1")
    mdp = from_gymnasium(env, 0.9)
    table = epsilon_mix(oracle_policy(mdp), 0.25)
    window = jax.jit(rollout, static_argnames="n")(jax.random.key(0), mdp, table, 0, n=4000)
    starts = np.asarray(window.states[1:])[np.asarray(window.terminated)]
    assert (starts == 0).all()
    assert not np.asarray(mdp.terminal)[np.asarray(window.states)].any()
    wins = int(window.rewards.sum())
    ended = int(window.terminated.sum())
    undiscounted = episode_returns(env, table, 0.999_999, 400, seed=2)
    spread = (0.25 / ended + 0.25 / 400) ** 0.5
    assert abs(wins / ended - undiscounted.mean()) < 4 * spread
    assert ended > 50


# Refused


@pytest.mark.parametrize("gamma", [1.0, -0.1, np.nan], ids=repr)
def test_bad_discount(gamma):
    env = make("FrozenLake-v1")
    with pytest.raises(ValueError, match=rf"gamma must lie in \[0, 1\), got {gamma}"):
        from_gymnasium(env, gamma)
    policy = jnp.full((16, 4), 1 / 4)
    with pytest.raises(ValueError, match=rf"gamma must lie in \[0, 1\), got {gamma}"):
        episode_returns(env, policy, gamma, 1)


def test_an_environment_without_a_table():
    with pytest.raises(ValueError, match=r"^env: CartPole-v1 has no transition table"):
        from_gymnasium(gymnasium.make("CartPole-v1"), 0.9)


class Stub:
    """As little as `from_gymnasium` asks for; no spec."""

    def __init__(self, table, initial=(1.0, 0.0, 0.0)):
        self.P, self.initial_state_distrib = table, np.array(initial)

    @property
    def unwrapped(self):
        return self


def table_of(*rows):
    """One action; rows are the outcomes in each state."""
    return {state: {0: outcomes} for state, outcomes in enumerate(rows)}


STAY = [(1.0, 2, 0.0, True)]


def test_a_table_alone_will_not_do():
    env = Stub(table_of(STAY, STAY, STAY))
    del env.initial_state_distrib
    with pytest.raises(ValueError, match=r"^env: Stub has no transition table"):
        from_gymnasium(env, 0.9)


def test_a_state_that_ends_episodes_only_at_times():
    env = Stub(table_of([(0.5, 1, 0.0, False), (0.5, 2, 1.0, True)], [(1.0, 2, 0.0, False)], STAY))
    message = "^env: in Stub state 2 ends an episode only on some transitions$"
    with pytest.raises(ValueError, match=message):
        from_gymnasium(env, 0.9)


def test_impossible_outcomes_do_not_count():
    env = Stub(table_of([(0.0, 1, 9.0, True), (1.0, 1, 0.0, False)], [(1.0, 2, 1.0, True)], STAY))
    mdp = from_gymnasium(env, 0.9)
    np.testing.assert_array_equal(mdp.terminal, [False, False, True])
    assert mdp.reward[0, 0, 1] == 0


def test_outcomes_with_one_successor_are_merged():
    """Their probabilities add up; the reward is their mean."""
    outcomes = [(0.25, 1, 4.0, False), (0.5, 1, -1.0, False), (0.25, 2, 3.0, True)]
    mdp = from_gymnasium(Stub(table_of(outcomes, [(1.0, 2, 0.0, True)], STAY)), 0.5)
    np.testing.assert_allclose(mdp.transition[0, 0], [0, 0.75, 0.25], rtol=1e-15)
    np.testing.assert_allclose(mdp.reward[0, 0], [0, 2 / 3, 3], rtol=1e-15)


GOOD = [(1.0, 1, 0.0, False)]
MALFORMED = [
    (table_of([(0.5, 1, 0.0, False)], STAY, STAY), "state 0, action 0: probabilities .* got 0.5"),
    (table_of(GOOD, [], STAY), "state 1, action 0: probabilities must sum to 1, got 0"),
    (table_of(GOOD, [(1.0, -1, 0.0, True)], STAY), r"state 1, action 0: .* in \[0, 3\), got -1"),
    (table_of(GOOD, [(1.0, 3, 0.0, True)], STAY), r"state 1, action 0: .* in \[0, 3\), got 3"),
    (table_of(GOOD, [(1.0, 1.5, 0.0, True)], STAY), r"state 1, action 0: .* got 1.5"),
    (table_of(GOOD, [(1.0, 2, 0.0)], STAY), r"state 1, action 0: want \(probability"),
    (
        table_of(GOOD, [(1.5, 2, 0.0, True), (-0.5, 2, 0.0, True)], STAY),
        "state 1, action 0: want probability ≥ 0",
    ),
    (table_of(GOOD, [(np.nan, 2, 0.0, True)], STAY), "state 1, action 0: want probability ≥ 0"),
    (table_of(GOOD, [(1.0, 2, np.nan, True)], STAY), "state 1, action 0: want .* finite reward"),
    ({1: {0: STAY}, 2: {0: STAY}}, None),
    ({0: {1: STAY}, 1: {0: STAY}}, None),
    ({0: {0: GOOD}, 1: {0: STAY, 1: STAY}, 2: {0: STAY}}, r"state 1 must .* got \[0, 1\]"),
    ({0: {}, 1: {0: STAY}}, None),
    ({}, None),
]


@pytest.mark.parametrize(("table", "message"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tables(table, message):
    """A successor −1 was once the last state."""
    message = f"in Stub {message}" if message else "the table of Stub must have states 0, 1, …"
    with pytest.raises(ValueError, match=f"^env: {message}"):
        from_gymnasium(Stub(table), 0.9)


def test_tables_of_lists():
    rows = [[(1.0, 1, 2.0, False)]], [[(1.0, 2, 3.0, True)]], [STAY]
    nested = from_gymnasium(Stub(list(rows)), 0.5)
    named = from_gymnasium(Stub({k: dict(enumerate(row)) for k, row in enumerate(rows)}), 0.5)
    for found, expected in zip(jax.tree.leaves(nested), jax.tree.leaves(named), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_in_the_steps_alone():
    """A fickle passenger changes destination in `step`: the table does not know."""
    env = gymnasium.make("Taxi-v4", fickle_passenger=True)
    with pytest.raises(ValueError, match=r"^env: Taxi-v4 is fickle in its steps"):
        from_gymnasium(env, 0.9)


# Stepping


UP = jnp.eye(4)[np.zeros(48, int)]


def test_an_episode_that_does_not_end_is_cut():
    env = make("CliffWalking-v1")
    returns = episode_returns(env, UP, 0.5, 2, longest=3)
    np.testing.assert_allclose(returns, [-1.75, -1.75], rtol=1e-15)


def test_time_limits_are_kept():
    env = make("CliffWalking-v1", max_episode_steps=2)
    returns = episode_returns(env, UP, 0.5, 2, longest=50)
    np.testing.assert_allclose(returns, [-1.5, -1.5], rtol=1e-15)


def test_nothing_is_earned_after_the_end():
    """Up, eleven times right and down into the goal."""
    policy = np.zeros((48, 4))
    policy[:, 1] = 1
    policy[36] = [1, 0, 0, 0]
    policy[35] = [0, 0, 1, 0]
    returns = episode_returns(make("CliffWalking-v1"), jnp.asarray(policy), 0.9, 1, longest=500)
    assert returns[0] == pytest.approx(-sum(0.9**i for i in range(13)), rel=1e-12)


def test_seed():
    env, policy = make("FrozenLake-v1"), jnp.full((16, 4), 1 / 4)
    first, again, other = (episode_returns(env, policy, 0.99, 200, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len(np.unique(first)) > 2  # episodes differ: only the first reset is seeded


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": np.full((15, 4), 1 / 4)}, r"policy must have shape \(16, 4\), got \(15, 4\)"),
        ({"policy": np.full((16, 4), 1 / 3)}, "policy must sum to 1"),
        ({"episodes": 0}, "episodes must be an integer of at least 1, got 0"),
        ({"longest": 0}, "longest must be an integer of at least 1, got 0"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(change, message):
    arguments = {"policy": np.full((16, 4), 1 / 4), "gamma": 0.9, "episodes": 1} | change
    arguments["policy"] = jnp.asarray(arguments["policy"])
    with pytest.raises(ValueError, match=message):
        episode_returns(make("FrozenLake-v1"), **arguments)
