"""What several runs say together: the numbers behind ±, bands and shares."""

import numpy as np
import pytest
import scipy.stats

from icrl_flax.experiments import (
    bootstrap_interval,
    exponent,
    for_each,
    interquartile_mean,
    mean_interval,
    read_experiment,
    share_of_oracle,
)

RNG = np.random.default_rng(0)


def test_student_s_interval_is_scipy_s_for_each_column():
    values = RNG.normal(size=(7, 2))
    found = mean_interval(values)
    for column in range(2):
        one = values[:, column]
        ends = scipy.stats.t.interval(0.95, 6, one.mean(), scipy.stats.sem(one))
        np.testing.assert_allclose([found.low[column], found.high[column]], ends, rtol=1e-12)
    np.testing.assert_allclose(found.mean + found.half, found.high, rtol=1e-12)


def test_of_losses_it_is_the_geometric_mean():
    losses = 10.0 ** np.array([-8, -9, -10])
    found, logs = mean_interval(losses, log=True), mean_interval(np.log10(losses))
    assert found.mean == pytest.approx(1e-9)
    np.testing.assert_allclose(np.log10(found), logs, rtol=1e-12)


def test_equal_values_have_no_interval():
    assert mean_interval([2.0, 2.0, 2.0]) == (2, 2, 2)


def test_the_bootstrap_draws_seeds_and_mdps_again():
    """Against the same written out, draw for draw."""
    values = RNG.normal(size=(4, 3, 5))
    found = bootstrap_interval(lambda v: v.mean((0, 2)), values, axes=(0, 2), resamples=50, seed=3)
    rng, means = np.random.default_rng(3), []
    for _ in range(50):
        seeds, mdps = rng.integers(0, 4, 4), rng.integers(0, 5, 5)
        means.append(values[np.ix_(seeds, range(3), mdps)].mean((0, 2)))
    np.testing.assert_allclose(found, np.quantile(means, [0.025, 0.975], axis=0), rtol=1e-12)


def test_the_bootstrap_keeps_together_what_belongs_together():
    values = RNG.normal(size=20)
    found = bootstrap_interval(lambda a, b: (a - b).max(), values, 2 * values - values)
    np.testing.assert_allclose(found, 0, atol=1e-15)


def test_no_outlier_moves_the_interquartile_mean():
    values = np.array([[1.0, 2, 3, 1e9], [1, 2, 3, -1e9]])
    assert interquartile_mean(values, axes=(0, 1)) == 2
    assert interquartile_mean(values[:, None], axes=(0, 2)).tolist() == [2]
    assert interquartile_mean(values.T).tolist() == [2.5, 1.5]


def test_shares_and_exponents():
    assert share_of_oracle(np.array([1.0, 2, 3]), 1, 3).tolist() == [0, 0.5, 1]
    x = np.array([1.0, 3, 10])
    assert exponent(x, 5 * x**-2) == pytest.approx(-2)
    np.testing.assert_allclose(exponent(x, np.stack([x, x**3], 1)), [1, 3], rtol=1e-12)


def test_each_name_gets_its_own_answer():
    assert for_each(len, ("a", "bb", "")) == {"a": 1, "bb": 2, "": 0}


def test_an_experiment_is_read_beside_its_specification(pytestconfig):
    root = pytestconfig.rootpath
    found = read_experiment(root / "experiments/softmax.toml", root / "results/softmax")
    assert len(found.cells) == len(found.curves) == len(found.table["cell"]) == 12
    assert found.updates[-1] == found.table["updates"][0] == 500_000
    with pytest.raises(ValueError, match="another sweep"):
        read_experiment(root / "experiments/seeds.toml", root / "results/softmax")
