"""`verify` passes the constructions and fails anything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import ActorCritic, Effective, Sarsa
from icrl_flax.rules import discover
from icrl_flax.verification import DTYPES, Verdict, random_case, rounding, verify


class WrongSign(Sarsa):
    """SARSA with one sign of P⋆12 flipped."""

    def optimum(self, dtype):
        P12, V21 = super().optimum(dtype)
        return Effective(P12.at[0, 1].multiply(-1), V21)


class NotANumber(Sarsa):
    """SARSA with one entry of V̄⋆21 lost."""

    def optimum(self, dtype):
        P12, V21 = super().optimum(dtype)
        return Effective(P12, V21.at[0, -1].set(jnp.nan))


class WrongFactor(Sarsa):
    """SARSA with one entry of V̄⋆21 a thousandth too large."""

    def optimum(self, dtype):
        P12, V21 = super().optimum(dtype)
        return Effective(P12, V21.at[0, 0].multiply(1.001))


class WrongIndex(ActorCritic):
    """Actor-critic with the critic's step in the row of another parameter."""

    def optimum(self, dtype):
        P12, V21 = super().optimum(dtype)
        return Effective(P12, jnp.roll(V21, 1, axis=0))


class Groups(Sarsa):
    """State aggregation: features are the number of each pair's group, not a table of reals."""

    def sample_features(self, key, n_states, n_actions, dtype):
        return jax.random.randint(key, (n_states, n_actions), 0, self.d)

    def table(self, features, u):
        return jax.nn.one_hot(features, self.d, dtype=u.dtype)

    def tokens(self, features, u, window):
        return super().tokens(self.table(features, u), u, window)

    def teacher(self, features, u, window):
        return super().teacher(self.table(features, u), u, window)


def run(rule):
    return list(verify(rule, sizes=2, cases_per_size=5, largest=6, longest=8))


@pytest.mark.parametrize("rule", [Sarsa, ActorCritic, Groups])
def test_constructions_hold(rule):
    verdicts = run(rule)
    assert [verdict.dtype for verdict in verdicts] == ["float64", "float32"]
    for verdict in verdicts:
        assert verdict.holds
        assert verdict.rule == rule.name()
        assert verdict.cases == 10
    # Neither precision may pass for the other, nor the check for no check at all.
    assert 0 < verdicts[0].worst < verdicts[0].bound < 1e-13 < verdicts[1].worst


@pytest.mark.parametrize("rule", [WrongSign, WrongFactor, WrongIndex])
def test_what_is_wrong_is_found(rule):
    assert not any(verdict.holds for verdict in run(rule))


def test_the_bound_counts_roundings():
    rule = ActorCritic(m=2, d=3)  # p = 9, q = 5
    assert rounding(rule, 4, "float64") == 2.0**-52 * (18 + 6 + 4)
    assert rounding(rule, 4, "float32") == 2.0**-23 * (18 + 6 + 4)


def test_an_answer_that_cancels_is_no_failure():
    """Off-policy TD at seed 3 once failed its bound, by rounding alone; so small a case would."""
    kind = discover()["off-policy-td"]
    verdicts = list(verify(kind, sizes=1, cases_per_size=20_000, largest=1, longest=2, seed=3))
    assert all(verdict.holds for verdict in verdicts)
    # The margin is neither of rounding's kind only, nor without end.
    assert all(0.01 < verdict.worst / verdict.bound < 0.5 for verdict in verdicts)


@pytest.mark.parametrize("name", ["td", "sarsa-lambda", "gtd2", "expected-sarsa", "actor-critic"])
def test_blocks_on_top_of_each_other(name):
    """Three blocks are three updates, of rules whose tokens do not look at the parameters."""
    kind = discover()[name]
    options = {"sizes": 2, "cases_per_size": 16, "largest": 6, "longest": 8}
    verdicts = list(verify(kind, layers=3, **options))
    depth = 1 if name in ("expected-sarsa", "actor-critic") else 3
    assert [verdict.layers for verdict in verdicts] == [depth, depth]
    assert all(verdict.holds for verdict in verdicts)
    assert verdicts[0].worst > 0


def test_what_is_wrong_is_found_at_depth():
    for rule in (WrongSign, WrongFactor):
        verdicts = list(verify(rule, sizes=1, cases_per_size=5, largest=6, longest=8, layers=4))
        assert not any(verdict.holds for verdict in verdicts)
        assert verdicts[0].layers == 4


def test_several_rules_in_turn():
    options = {"sizes": 2, "cases_per_size": 3, "largest": 4, "longest": 5}
    together = list(verify([Sarsa, ActorCritic], **options))
    assert [each[:2] for each in together] == [
        (name, dtype) for name in ("sarsa", "actor-critic") for dtype in DTYPES
    ]
    assert together[2:] == list(verify(ActorCritic, **options))


def test_every_number_of_a_rule_is_drawn():
    rng = np.random.default_rng(0)
    kind = discover()["n-step-sarsa"]
    drawn = [kind.draw(rng, 12) for _ in range(300)]
    assert {rule.d for rule in drawn} == set(range(1, 13))
    assert {rule.k for rule in drawn} == set(range(1, 9))
    for name, high in (("alpha", 2), ("epsilon", 0.9)):
        numbers = [getattr(rule, name) for rule in drawn]
        assert 0 <= min(numbers) < 0.05 * high < 0.95 * high < max(numbers) <= high
    assert {rule.features for rule in drawn} == {"uniform"}


def test_nan_is_found():
    verdicts = run(NotANumber)
    assert not any(verdict.holds for verdict in verdicts)
    assert all(np.isnan(verdict.worst) for verdict in verdicts)


def test_verdict_compares_with_its_bound():
    def holds(worst):
        return Verdict("x", "float64", 1, worst, 1e-12).holds

    assert holds(1e-12)
    assert not holds(1.1e-12)
    assert not holds(float("nan"))


def test_cases_cover_what_the_theorems_allow():
    rule = ActorCritic(m=2, d=3)
    case = random_case(np.random.default_rng(0), rule, 5, 200)
    assert case.window.states.shape == (200, 6)
    assert case.window.rewards.shape == (200, 5)
    assert case.u.shape == (200, 5)
    assert case.free[0].shape == case.free[1].shape == (200, rule.D, rule.D)
    assert all((junk != 0).all() for junk in case.free)
    assert {-1, 1} == set(np.sign(case.c))
    assert 0.1 <= np.abs(case.c).min() < 0.2 < 5 < np.abs(case.c).max() <= 10
    gamma = case.window.gamma
    assert 0 <= gamma.min() < 0.1 < 0.9 < gamma.max() < 1
    assert not case.window.terminated.any(), "eqs. (2) and (3) know one γ"
