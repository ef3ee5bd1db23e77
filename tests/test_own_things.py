"""Own rules and families come through one door: a call, a file, or an installed package."""

import dataclasses
import json
import shutil
import subprocess
import sys

import equinox as eqx
import numpy as np
import pytest
from own_process import COMMAND, environment

import icrl_flax as icrl
from icrl_flax import RandomMDPs, Sarsa, _registry, cli, register
from icrl_flax.mdps import ChainMDPs

RULE = '''
"""A rule and a family of one's own."""

import equinox as eqx

from icrl_flax import Effective, RandomMDPs, Sarsa


class HalfSarsa(Sarsa):
    """SARSA with half the step."""

    def teacher(self, features, u, window):
        return (u + super().teacher(features, u, window)) / 2

    def optimum(self, dtype):
        P12, V21 = super().optimum(dtype)
        return Effective(P12, V21 / 2)


class GentleMDPs(eqx.Module):
    """Random MDPs with small rewards.

    Args:
        n_states: number of states S. More is slower.
        n_actions: number of actions A.
        size: of the rewards.
    """

    n_states: int = eqx.field(static=True, default=4)
    n_actions: int = eqx.field(static=True, default=2)
    size: float = 0.5

    def sample(self, key, dtype):
        mdp = RandomMDPs(self.n_states, self.n_actions).sample(key, dtype)
        return eqx.tree_at(lambda mdp: mdp.reward, mdp, self.size * mdp.reward)
'''
SPEC = """
[rule]
name = "half-sarsa"
d = 2
[family]
name = "gentle"
n_states = 3
[training]
mdps = 2
windows = 2
[axes]
"family.size" = [0.5, 1.0]
"""
BRIEF = ["--n-mdps=2", "--steps=2", "--every=1", "--trajectories=2", "--length=2"]
TRAIN = ["train", "half-sarsa", "--d=2", "--family=gentle", "--n-states=3", "--size=0.25"]
TRAIN += ["--mdps=2", "--windows=2", "--out=run"]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test registers is gone after it."""
    for name in ("_own", "_files"):
        monkeypatch.setattr(_registry, name, dict(getattr(_registry, name)))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_things.py"
    path.write_text(RULE)
    return path


def run(*arguments, **more):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        env=environment(**more),
        text=True,
        check=False,
    )


# from the shell


def test_every_command_knows_an_imported_file(mine, tmp_path, capsys):
    (tmp_path / "spec.toml").write_text(SPEC)
    assert cli.main(["--import", str(mine), *TRAIN]) == 0
    assert cli.main(["evaluate", "run", *BRIEF, "--import=my_things.py"]) == 0
    other = ["--family", "gentle", "--n-states=5", "--out=other.csv"]
    assert cli.main(["evaluate", "run", "--import", "my_things.py", *BRIEF, *other]) == 0
    small = ["--rules", "half-sarsa", "--sizes=1"]
    assert cli.main(["verify", "--import", "my_things.py", *small]) == 0
    assert "FAILS" not in capsys.readouterr().out
    assert cli.main(["sweep", "spec.toml", "--out=swept", "--import=my_things.py"]) == 0
    assert icrl.read_sweep("swept").table["family.size"].tolist() == [0.5, 1.0]
    read = icrl.load("run")
    assert read.family == _registry.families()["gentle"](3, size=0.25)
    assert type(read.rule) is _registry.rules()["half-sarsa"]
    digest = read.record["sources"]["rule"]["sha256"]
    assert read.record["sources"]["rule"] == {"file": "my_things.py", "sha256": digest}
    assert str(tmp_path) not in json.dumps(read.record)


def test_a_process_that_does_not_know_the_file_says_so(mine):
    assert cli.main(["--import", str(mine), *TRAIN]) == 0
    done = run("evaluate", "run", *BRIEF)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: run")
    assert "half-sarsa" in line
    assert run("evaluate", "run", *BRIEF, "--import", mine).returncode == 0


def test_help_shows_the_first_sentence(mine, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--import", str(mine), "half-sarsa", "--family=gentle", "--help"])
    printed = capsys.readouterr().out
    assert "SARSA with half the step." in printed
    assert "number of states S." in printed
    assert "More is slower" not in printed
    assert "gentle" in printed


def test_options_of_one_name_are_told_apart(mine, capsys):
    """Both a family and the protocol, or the training, may have a length or a seed."""
    mine.write_text(RULE.replace("size", "length"))
    for command, other in (["evaluate"], "--steps"), (["train", "sarsa"], "--windows"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*command, "--import", str(mine), "--family", "gentle", "--help"])
        assert stopped.value.code == 0
        printed = capsys.readouterr().out
        assert ("--family.length" in printed) == (command == ["evaluate"])
        assert ("--family.n-states" in printed) == (command == ["evaluate"])
        assert f"{other} " in printed
    assert cli.main(["train", "sarsa", "--d=2", "--mdps=2", "--windows=2", "--out=run"]) == 0
    options = ["--family=gentle", "--family.length=0.5", "--length=2", *BRIEF[:-1]]
    assert cli.main(["evaluate", "run", "--import", str(mine), *options]) == 0


BAD_FILES = {
    "absent": (None, 2, "cannot read"),
    "empty": ("x = 1", 2, "defines no rule and no family"),
    "plain class": ("class M:\n    def sample(self, key, dtype): ...", 2, "defines no rule"),
    "taken name": ("from icrl_flax import Sarsa as S\nclass Sarsa(S): ...", 2, "'sarsa' is given"),
    "syntax": ("x = = 1", 1, "SyntaxError"),
    "bug": ("int('a')", 1, "invalid literal for int"),
}


@pytest.mark.parametrize(("text", "status", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_cannot_be_imported(text, status, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    arguments = ["--import", str(path), "verify"]
    if status == 2:
        assert cli.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
    else:  # a bug in somebody's file keeps its traceback
        with pytest.raises(ImportError, match=message):
            cli.main(arguments)


def test_import_without_a_file(capsys):
    assert cli.main(["verify", "--import"]) == 2
    assert capsys.readouterr().err == "error: --import must be followed by a value, got none\n"


# from Python


def test_a_file_is_imported_once_and_again_when_it_changes(mine):
    first = _registry.import_file(mine)
    assert _registry.import_file(mine) == first
    assert {kind.__name__ for kind in first} == {"HalfSarsa", "GentleMDPs"}
    assert _registry.imported_files() == (mine,)
    mine.write_text(RULE.replace("GentleMDPs", "MildMDPs"))
    _registry.import_file(mine)
    assert "mild" in _registry.families()
    assert "gentle" not in _registry.families()


def test_two_of_one_name_are_refused_and_both_are_named(mine, tmp_path):
    _registry.import_file(mine)
    other = tmp_path / "other.py"
    other.write_text(RULE)
    with pytest.raises(ValueError, match=r"'gentle' is given twice: .*my_things.py.*other.py"):
        _registry.import_file(other)


def test_register_is_a_decorator():
    @register
    @dataclasses.dataclass(frozen=True)
    class LazyMDPs:
        n_states: int = 3

        def sample(self, key, dtype):
            return RandomMDPs(self.n_states).sample(key, dtype)

    first = LazyMDPs
    assert _registry.families()["lazy"] is LazyMDPs
    assert _registry.source(LazyMDPs)["file"] == "test_own_things.py"

    @register
    class LazyMDPs(eqx.Module):  # the same cell of a notebook again
        def sample(self, key, dtype): ...

    assert _registry.families()["lazy"] is LazyMDPs
    assert LazyMDPs is not first


def test_names():
    @register
    class Td0(Sarsa):
        @classmethod
        def name(cls):
            return "my-td"

    @register
    class Walks(ChainMDPs):
        name = "walk"

    assert _registry.rules()["my-td"] is Td0
    assert _registry.families()["walk"] is Walks
    assert _registry.source(Sarsa) is None
    assert [_registry.name_of(kind) for kind in (RandomMDPs, ChainMDPs)] == ["random", "chain"]


class Plain:
    def sample(self, key, dtype): ...


@pytest.mark.parametrize("wrong", [Plain, icrl.Rule, int, Sarsa(d=2), "sarsa"])
def test_what_is_no_rule_and_no_family_is_refused(wrong, unchecked):
    with pytest.raises(ValueError, match="register takes a concrete subclass of Rule, or"):
        register(wrong)


# from a package


@pytest.fixture
def package(tmp_path):
    """An installed package with an entry point, as pip leaves it."""
    information = tmp_path / "my_package-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0")
    (information / "entry_points.txt").write_text("[icrl_flax]\nmine = my_package\n")
    return tmp_path


def test_installed_packages_are_asked(package, monkeypatch):
    (package / "my_package").mkdir()
    (package / "my_package" / "rules.py").write_text(RULE)
    (package / "my_package" / "__init__.py").write_text("from my_package.rules import *")
    path = {"PYTHONPATH": f"{environment()['PYTHONPATH']}:{package}"}
    out = package / "run"
    done = run(*TRAIN[:-1], "--out", out, **path)
    assert done.returncode == 0, done.stderr
    assert "my_package" not in sys.modules
    monkeypatch.syspath_prepend(package)
    monkeypatch.setattr(_registry, "_asked", [])
    try:
        assert icrl.load(out).rule.name() == "half-sarsa"
        assert icrl.load(out).record["sources"]["family"]["file"] == "rules.py"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
            del sys.modules[name]


def test_a_broken_package_is_named(package, monkeypatch):
    shutil.rmtree(package / "my_package", ignore_errors=True)
    (package / "my_package.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(package)
    monkeypatch.setattr(_registry, "_asked", [])
    for _ in range(2):
        with pytest.raises(ImportError, match=r"package my-package .*no_such_module"):
            _registry.rules()


def test_what_was_imported_is_pickled_by_name(mine):
    import pickle

    kind, _ = sorted(_registry.import_file(mine), key=lambda kind: kind.__name__)
    assert pickle.loads(pickle.dumps(kind(size=0.1))) == kind(size=0.1)
    np.testing.assert_equal(kind().size, 0.5)
