"""A third algorithm is one new file, registered nowhere: Expected SARSA."""

import functools
import pathlib
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import reference
from samples import as_window, random_path

from icrl_flax import ActorCritic, Sarsa, algorithms, cli, discover, load, verify

FILE = pathlib.Path(__file__).with_name("expected_sarsa.py")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory whose modules count as icrl_flax/algorithms/."""
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in {name for name in sys.modules if name.startswith(algorithms.__name__)} - known:
        del sys.modules[name]
        delattr(algorithms, name.rpartition(".")[2])


@pytest.fixture
def expected_sarsa(folder):
    shutil.copy(FILE, folder)
    return discover()["expected-sarsa"]


def test_the_library_has_two():
    assert discover() == {"actor-critic": ActorCritic, "sarsa": Sarsa}


def test_a_third_is_found(expected_sarsa):
    assert list(discover()) == ["actor-critic", "expected-sarsa", "sarsa"]
    assert expected_sarsa.name() == "expected-sarsa"


def test_two_of_one_name_are_refused(folder):
    text = FILE.read_text()
    (folder / "first.py").write_text(text)
    (folder / "second.py").write_text(text)
    with pytest.raises(ValueError, match="expected-sarsa"):
        discover()


def test_teacher_is_the_textbooks(expected_sarsa):
    rng = np.random.default_rng(0)
    phi, w, path = rng.uniform(-1, 1, (5, 3, 4)), rng.uniform(-1, 1, 4), random_path(rng, 5, 3, 6)
    rule = expected_sarsa(d=4, alpha=0.7, epsilon=0.3)
    given = jnp.asarray(phi), jnp.asarray(w), as_window(*path)
    expected = reference.expected_sarsa(phi, w, 0.7, 0.3, *path)
    np.testing.assert_allclose(rule.teacher(*given), expected, rtol=1e-12)
    assert np.abs(expected - reference.sarsa(phi, w, 0.7, *path)).max() > 1e-3


def test_sarsas_weights_do_it(expected_sarsa):
    for verdict in verify(expected_sarsa, sizes=2, cases_per_size=5, largest=6, longest=8):
        assert verdict.holds
        assert verdict.algorithm == "expected-sarsa"


def test_command_line(expected_sarsa, tmp_path, capsys, monkeypatch):
    few = functools.partial(verify, sizes=1, cases_per_size=2, largest=3, longest=4)
    monkeypatch.setattr(cli, "verify", few)
    assert cli.main(["verify", "expected-sarsa"]) == 0
    assert capsys.readouterr().out.count("expected-sarsa") == 2
    out = tmp_path / "run"
    size = ["--d", "2", "--n-states", "3", "--n-actions", "2", "--mdps", "2", "--windows", "2"]
    assert cli.main(["train", "expected-sarsa", "--out", str(out), *size, "--alpha", "0.3"]) == 0
    assert load(out).algorithm == expected_sarsa(d=2, alpha=0.3)
    assert load(out).P.shape == (8, 8)
