"""Other people's transition tables: lists, tuples, arrays with axes in another order."""

import jax
import numpy as np
import pytest
import scipy.sparse
from samples import sparse_mdp

from icrl_flax import optimal_action_values
from icrl_flax.mdps import from_arrays, from_outcomes

pytestmark = pytest.mark.usefixtures("unchecked")


def outcomes_of(mdp):
    """The same as lists of tuples; nothing ends an episode."""
    moves, earned = np.asarray(mdp.transition), np.asarray(mdp.reward)
    return [
        [
            [(float(moves[s, a, t]), t, float(earned[s, a, t]), False) for t in range(4)]
            for a in range(3)
        ]
        for s in range(4)
    ]


@pytest.mark.parametrize("form", ["lists", "tuples", "dictionaries"])
def test_nested_outcomes(form):
    mdp = sparse_mdp(np.random.default_rng(0))
    table = outcomes_of(mdp)
    if form == "tuples":
        table = tuple(tuple(map(tuple, row)) for row in table)
    if form == "dictionaries":
        table = {s: dict(enumerate(row)) for s, row in enumerate(table)}
    found = from_outcomes(table, 0.7, mdp.initial)
    np.testing.assert_allclose(found.transition, mdp.transition, rtol=1e-12)
    possible = np.asarray(mdp.transition) > 0
    np.testing.assert_allclose(found.reward, np.where(possible, mdp.reward, 0), rtol=1e-12)
    assert not found.terminal.any()


def test_an_episode_starts_where_none_ends():
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 2, 5.0, True)]], [[(1.0, 0, 9.0, False)]]]
    mdp = from_outcomes(table, 0.5)
    np.testing.assert_array_equal(mdp.terminal, [False, False, True])
    np.testing.assert_array_equal(mdp.initial, [0.5, 0.5, 0])
    table[0][0] = [(0.5, 1, 0.0, False), (0.5, 2, 0.0, False)]
    with pytest.raises(ValueError, match=r"^outcomes: state 2 ends an episode only on some tr"):
        from_outcomes(table, 0.5)


ORDERS = {"S": (0,), "SA": (0, 1), "AS": (1, 0), "SAT": (0, 1, 2), "AST": (1, 0, 2)}


@pytest.mark.parametrize("moves", ["SAT", "AST", "TSA", "ATS"])
@pytest.mark.parametrize("paid", ["S", "SA", "AS", "SAT", "AST", "ST", "T"])
def test_axes(moves, paid):
    """Whatever their order, the arrays say the same."""
    rng = np.random.default_rng(1)
    mdp = sparse_mdp(rng)
    sizes = {"S": 4, "A": 3, "T": 4}
    reward = rng.normal(size=[sizes[letter] for letter in paid])
    found = from_arrays(
        np.einsum(f"SAT->{moves}", mdp.transition),
        reward.tolist(),
        0.7,
        transition_axes=moves,
        reward_axes=paid,
    )
    np.testing.assert_array_equal(found.transition, mdp.transition)
    for index in np.ndindex(4, 3, 4):
        at = dict(zip("SAT", index, strict=True))
        assert found.reward[index] == reward[tuple(at[letter] for letter in paid)]
    np.testing.assert_allclose(found.initial, 0.25)


def test_a_forest():
    """pymdptoolbox's first example: wait (0) or cut (1); three ages, a fire with chance 0.1."""
    fire, S = 0.1, 3
    wait = np.zeros((S, S))
    wait[:, 0] = fire
    wait[[0, 1, 2], [1, 2, 2]] = 1 - fire
    cut = np.zeros((S, S))
    cut[:, 0] = 1
    reward = np.array([[0.0, 0.0], [0.0, 1.0], [4.0, 2.0]])
    dense = from_arrays(
        np.stack([wait, cut]), reward, 0.96, transition_axes="AST", reward_axes="SA"
    )
    q = np.asarray(optimal_action_values(dense, 1e-10))
    np.testing.assert_array_equal(q.argmax(axis=1), [0, 0, 0])
    # v solves its own linear system: always wait.
    value = np.linalg.solve(np.eye(S) - 0.96 * wait, reward[:, 0])
    np.testing.assert_allclose(q.max(axis=1), value, atol=1e-8)
    sparse = from_arrays(
        [scipy.sparse.csr_matrix(wait), scipy.sparse.csr_matrix(cut)],
        reward,
        0.96,
        transition_axes="AST",
        reward_axes="SA",
    )
    for one, other in zip(jax.tree.leaves(dense), jax.tree.leaves(sparse), strict=True):
        np.testing.assert_array_equal(one, other)


STAY, GO = [(1.0, 1, 0.0, False)], [(0.5, 0, 1.0, False), (0.5, 1, 0.0, False)]


def with_outcomes(outcomes, state=1, action=0):
    table = [[GO, STAY], [GO, STAY]]
    table[state][action] = outcomes
    return table


TABLES = [
    (with_outcomes([(0.9, 0, 0.0, False)]), "state 1, action 0: probabilities must sum to 1, got"),
    (with_outcomes([]), "state 1, action 0: probabilities must sum to 1, got 0"),
    (with_outcomes([(1.0, -1, 0.0, False)]), r"state 1, action 0: .* in \[0, 2\), got -1"),
    (with_outcomes([(1.0, 2, 0.0, False)], 0, 1), r"state 0, action 1: .* in \[0, 2\), got 2"),
    (with_outcomes([(1.0, 0.5, 0.0, False)]), r"state 1, action 0: .* got 0.5"),
    (with_outcomes([(1.0, np.nan, 0.0, False)]), r"state 1, action 0: .* got nan"),
    (with_outcomes([(1.0, "end", 0.0, False)]), r"state 1, action 0: want \(probability, state"),
    (with_outcomes([(1.0, 0, 0.0)]), r"state 1, action 0: want \(probability, state"),
    (with_outcomes([1.0, 0.0]), r"state 1, action 0: want \(probability, state"),
    (with_outcomes([(1.0, 0, np.inf, False)]), "state 1, action 0: want .* finite reward"),
    (with_outcomes([(2.0, 0, 0, False), (-1.0, 1, 0, False)]), "state 1, action 0: want prob"),
    (with_outcomes(0.5), "state 1, action 0: want a list of outcomes, got 0.5"),
    ([[GO, STAY], [GO]], "state 1 must have actions 0 … 1, as state 0 has, got"),
    ([[GO, STAY], None], "state 1 must have actions 0 … 1, as state 0 has, got None"),
    ({1: [GO, STAY], 2: [GO, STAY]}, r"the table must have .*: state 0 is missing, got \[1, 2\]"),
    ({0: [GO, STAY], 2: [GO, STAY]}, r"the table must have .*: state 1 is missing, got \[0, 2\]"),
    ([{1: GO, 2: STAY}, [GO, STAY]], "the table must have .*: in state 0 is no action 0"),
    ([], r"the table must have states .*: got \[\]"),
]


@pytest.mark.parametrize(("table", "message"), TABLES, ids=range(len(TABLES)))
def test_malformed_outcomes(table, message):
    """A successor −1 would be the last state, and a state that counts from 1 one too many."""
    with pytest.raises(ValueError, match=f"^outcomes: {message}") as raised:
        from_outcomes(table, 0.9)
    assert "\n" not in str(raised.value)


MOVES = np.full((3, 2, 3), 1 / 3)


def entry(value, state=2, action=1, successor=0):
    moves = MOVES.tolist()
    moves[state][action][successor] = value
    return moves


def short(state=2, action=1):
    moves = MOVES.tolist()
    moves[state][action] = moves[state][action][:2]
    return moves


ARRAYS = [
    (entry(0.5), {}, "transition: state 2, action 1: probabilities must sum to 1, got 1.16667"),
    (entry(-0.5), {}, "transition: state 2, action 1: the probability of successor 0 must be"),
    (entry(np.nan), {}, "transition: state 2, action 1: the probability of .*, got nan"),
    (entry("x"), {}, "transition: state 2, action 1, successor 0: want a number, got 'x'"),
    (entry(None), {}, "transition: state 2, action 1: the probability of .*, got nan"),
    (short(), {}, "transition: state 2, action 1: want 3 successors, as the first has, got 2"),
    (
        [[[1.0]] * 2, [[1.0]]],
        {},
        "transition: state 1: want 2 actions, as the first has, got 1",
    ),
    (MOVES[:, :, :2], {}, "transition must have as many successors as states, got 2 of 3"),
    (MOVES, {"transition_axes": "AST"}, "transition must have as many successors as states"),
    (MOVES[0], {}, r"transition must have 3 axes, 'SAT', .* got shape \(2, 3\)"),
    (MOVES, {"transition_axes": "SAS"}, "transition_axes must be the letters S, A and T"),
    (MOVES, {"reward_axes": "SS"}, "reward_axes must be some of the letters S, A and T"),
    (MOVES, {"reward": np.zeros((2, 3))}, r"reward must have shape \(3, 2\) for axes 'SA', got"),
    (
        MOVES,
        {"reward": [[0, 0], [0, np.nan], [0, 0]]},
        "reward: state 1, action 1: the reward must be finite, got nan",
    ),
    (
        MOVES,
        {"reward": [[0, 0], [0, "x"], [0, 0]]},
        "reward: state 1, action 1: want a number, got 'x'",
    ),
    (MOVES, {"gamma": 1.0}, r"gamma must lie in \[0, 1\), got 1.0"),
    (MOVES, {"initial": [1, 1, 1]}, "initial must sum to 1"),
    (MOVES, {"terminal": [0, 1]}, r"terminal must have shape \(3\), got \(2,\)"),
]


@pytest.mark.parametrize(("moves", "change", "message"), ARRAYS, ids=range(len(ARRAYS)))
def test_malformed_arrays(moves, change, message):
    arguments = {
        "reward": np.zeros((3, 2)),
        "gamma": 0.9,
        "transition_axes": "SAT",
        "reward_axes": "SA",
        "initial": None if "terminal" not in change else [1.0, 0, 0],
    } | change
    with pytest.raises(ValueError, match=f"^{message}"):
        from_arrays(moves, **arguments)
