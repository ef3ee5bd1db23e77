"""`verify` passes the constructions and fails anything else."""

import jax.numpy as jnp
import numpy as np
import pytest

from icrl_flax import ActorCritic, Effective, Sarsa
from icrl_flax.verification import BOUNDS, Verdict, random_case, verify


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


def run(rule):
    return list(verify(rule, sizes=2, cases_per_size=5, largest=6, longest=8))


@pytest.mark.parametrize("rule", [Sarsa, ActorCritic])
def test_constructions_hold(rule):
    verdicts = run(rule)
    assert [verdict.dtype for verdict in verdicts] == ["float64", "float32"]
    for verdict in verdicts:
        assert verdict.holds
        assert verdict.rule == rule.name()
        assert verdict.cases == 10
        assert verdict.bound == BOUNDS[verdict.dtype]
    # Neither precision may pass for the other, nor the check for no check at all.
    assert 0 < verdicts[0].worst < 1e-12 < verdicts[1].worst


def test_wrong_sign_is_found():
    assert not any(verdict.holds for verdict in run(WrongSign))


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
