"""A further rule is one new file, registered nowhere: gradient Monte Carlo."""

import functools
import pathlib
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import reference
from samples import as_window, random_path

from icrl_flax import ActorCritic, Sarsa, cli, load, rules, sweep, verify
from icrl_flax.rules import PredictionFeatures, discover

FILE = pathlib.Path(__file__).with_name("gradient_monte_carlo.py")
NAME = "gradient-monte-carlo"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory whose modules count as icrl_flax/rules/."""
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in {name for name in sys.modules if name.startswith(rules.__name__)} - known:
        del sys.modules[name]
        delattr(rules, name.rpartition(".")[2])


@pytest.fixture
def monte_carlo(folder):
    shutil.copy(FILE, folder)
    return discover()[NAME]


def test_the_library_has_one_rule_in_each_file():
    """So that this test, too, need not be touched when a rule is added."""
    found = discover()
    assert found["actor-critic"] is ActorCritic
    assert found["sarsa"] is Sarsa
    for name, kind in found.items():
        assert kind.__module__ == f"icrl_flax.rules.{name.replace('-', '_')}"


def test_one_more_is_found(monte_carlo):
    assert NAME in discover()
    assert monte_carlo.name() == NAME


def test_two_of_one_name_are_refused(folder):
    text = FILE.read_text()
    (folder / "first.py").write_text(text)
    (folder / "second.py").write_text(text)
    with pytest.raises(ValueError, match=NAME):
        discover()


def test_teacher_is_the_textbooks(monte_carlo):
    rng = np.random.default_rng(0)
    phi, w = rng.uniform(-1, 1, (5, 4)), rng.uniform(-1, 1, 4)
    states, _, rewards, gamma = path = random_path(rng, 5, 3, 6)
    rule = monte_carlo(d=4, alpha=0.7)
    expected = reference.gradient_monte_carlo(phi, w, 0.7, states, rewards, gamma)
    given = PredictionFeatures(jnp.asarray(phi), jnp.zeros((5, 3))), jnp.asarray(w)
    np.testing.assert_allclose(rule.teacher(*given, as_window(*path)), expected, rtol=1e-12)


def test_its_weights_do_it(monte_carlo):
    for verdict in verify(monte_carlo, sizes=2, cases_per_size=5, largest=6, longest=8):
        assert verdict.holds
        assert verdict.rule == NAME


def test_every_command_knows_it(monte_carlo, tmp_path, capsys, monkeypatch):
    few = functools.partial(verify, cases_per_size=2, largest=3, longest=4)
    monkeypatch.setattr(cli.verify, "verify", few)
    assert cli.main(["verify", "--rules", NAME, "--sizes", "1"]) == 0
    assert capsys.readouterr().out.count(NAME) == 2
    out = tmp_path / "run"
    size = ["--d", "2", "--n-states", "3", "--n-actions", "2", "--mdps", "2", "--windows", "2"]
    assert cli.main(["train", NAME, "--out", str(out), *size, "--alpha", "0.3"]) == 0
    assert load(out).rule == monte_carlo(d=2, alpha=0.3)
    assert load(out).P.shape == (6, 6)
    brief = ["--n-mdps=2", "--steps=2", "--every=1", "--trajectories=2", "--length=2"]
    assert cli.main(["evaluate", str(out), *brief]) == 0
    base = {"rule": {"name": NAME, "d": 2}, "family": {"n_states": 3, "n_actions": 2}}
    tables = sweep(base | {"training": {"mdps": 2, "windows": 2}}, tmp_path / "sweep")
    assert np.isfinite(tables.table["final_loss"]).all()
