"""Every wrong call, of the library and of the command line: one message with name and value.

The library raises a ValueError before tracing, and is silent under jit. The command
line exits with 2 and leaves every file as it was. What belongs to one place is tabulated
there: specifications in test_sweep.py, damaged checkpoints in test_checkpoint.py.
"""

import contextlib
import dataclasses
import errno
import functools
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from own_process import COMMAND, environment

from icrl_flax import (
    ActorCritic,
    Effective,
    LinearAttentionBlock,
    RandomMDPs,
    Sarsa,
    TabularMDP,
    TrainingConfig,
    _checks,
    align,
    cli,
    construct,
    embed,
    load,
    optimal_action_values,
    rescale,
    rollout,
    split,
    verify,
)
from icrl_flax.control import interact
from icrl_flax.experience import epsilon_mix
from icrl_flax.mdps import ChainMDPs, DeterministicMDPs, SparseMDPs, policy_value
from icrl_flax.rules import discover
from icrl_flax.training import checkpoint as checkpoint

HALF = jnp.full((3, 2), 0.5)


def mdp(**changes):
    """Three states, two actions, every successor equally likely."""
    parts = {
        "transition": np.full((3, 2, 3), 1 / 3),
        "reward": np.zeros((3, 2, 3)),
        "initial": np.array([0.2, 0.3, 0.5]),
        "gamma": 0.5,
    }
    return TabularMDP(**(parts | changes))


def with_entry(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def roll(policy=HALF, state=0, n=2):
    return rollout(jax.random.key(0), mdp(), policy, state, n)


def one_hot(d):
    return Sarsa(d=d, features="one-hot").sample_features(jax.random.key(0), 3, 2, jnp.float32)


def block(**changes):
    return LinearAttentionBlock(**({"p": 5, "q": 2, "rngs": nnx.Rngs(0)} | changes))


def rule(name, **numbers):
    return discover()[name](**numbers)


SKEWED = with_entry(np.full((3, 2, 3), 1 / 3), (1, 0, 2), 0.5)
NEGATIVE = with_entry(np.full((3, 2, 3), 1 / 3), (1, 0), [1.5, -0.5, 0])
OPTIMUM = Sarsa(d=2).optimum(jnp.float32)
D = Sarsa(d=2).D

# The call, and what its message must hold: first the argument's name, then the value.
WRONG = [
    (lambda: RandomMDPs(gamma=1), "gamma", "1.0"),
    (lambda: RandomMDPs(gamma=-0.1), "gamma", "-0.1"),
    (lambda: RandomMDPs(gamma=float("nan")), "gamma", "nan"),
    (lambda: RandomMDPs(gamma=None), "gamma", "None"),
    (lambda: RandomMDPs(n_states=0), "n_states", "0"),
    (lambda: RandomMDPs(n_actions=-2), "n_actions", "-2"),
    (lambda: RandomMDPs(n_states=2.5), "n_states", "2.5"),
    (lambda: RandomMDPs(n_actions=True), "n_actions", "True"),
    (lambda: mdp(gamma=1.0), "gamma", "1.0"),
    (lambda: mdp(gamma=np.ones(3)), "gamma", "1."),
    (lambda: mdp(transition=SKEWED), "transition", "1.16667"),
    (lambda: mdp(transition=SKEWED), "transition", "(1, 0)"),
    (lambda: mdp(transition=NEGATIVE), "transition", "-0.5"),
    (lambda: mdp(transition=NEGATIVE), "transition", "(1, 0, 1)"),
    (lambda: mdp(transition=np.full((3, 2, 2), 0.5)), "transition", "(3, 2, 2)"),
    (lambda: mdp(transition=np.full((3, 3), 1 / 3)), "transition", "(3, 3)"),
    (lambda: mdp(transition=np.zeros((3, 0, 3))), "transition", "(3, 0, 3)"),
    (lambda: mdp(transition=np.full((3, 2, 3), np.nan)), "transition", "nan"),
    (lambda: mdp(reward=with_entry(np.zeros((3, 2, 3)), (2, 1, 0), np.nan)), "reward", "nan"),
    (
        lambda: mdp(reward=with_entry(np.zeros((3, 2, 3)), (2, 1, 0), np.inf)),
        "reward",
        "(2, 1, 0)",
    ),
    (lambda: mdp(reward=np.zeros((2, 3))), "reward", "(2, 3)"),
    (lambda: mdp(initial=np.array([0.5, 0.2, 0.2])), "initial", "0.9"),
    (lambda: mdp(initial=np.array([0.5, 0.5])), "initial", "(2,)"),
    (lambda: mdp(initial=np.array([1.5, -0.5, 0.0])), "initial", "-0.5"),
    (lambda: Sarsa(d=0), "d", "0"),
    (lambda: Sarsa(d=2.0), "d", "2.0"),
    (lambda: Sarsa(alpha=0), "alpha", "0.0"),
    (lambda: Sarsa(alpha=-1.0), "alpha", "-1.0"),
    (lambda: Sarsa(alpha=float("inf")), "alpha", "inf"),
    (lambda: Sarsa(alpha="0.1"), "alpha", "'0.1'"),
    (lambda: Sarsa(epsilon=2), "epsilon", "2.0"),
    (lambda: Sarsa(epsilon=-0.1), "epsilon", "-0.1"),
    (lambda: ActorCritic(m=0), "m", "0"),
    (lambda: ActorCritic(d=-1), "d", "-1"),
    (lambda: ActorCritic(alpha=float("nan")), "alpha", "nan"),
    (lambda: ActorCritic(beta=0.0), "beta", "0.0"),
    (lambda: ActorCritic(epsilon=1.1), "epsilon", "1.1"),
    (lambda: epsilon_mix(HALF, 1.5), "epsilon", "1.5"),
    (lambda: epsilon_mix(2 * HALF, 0.1), "policy", "2"),
    (lambda: roll(n=0), "n", "0"),
    (lambda: roll(n=2.0), "n", "2.0"),
    (lambda: roll(state=3), "state", "3"),
    (lambda: roll(state=-1), "state", "-1"),
    (lambda: roll(state=0.5), "state", "float"),
    (lambda: roll(policy=jnp.full((2, 3), 1 / 3)), "policy", "(2, 3)"),
    (lambda: roll(policy=1.5 * HALF), "policy", "1.5"),
    (lambda: policy_value(mdp(), HALF[:2]), "policy", "(2, 2)"),
    (lambda: policy_value(mdp(), -HALF), "policy", "-0.5"),
    (lambda: optimal_action_values(mdp(), 0.0), "tolerance", "0.0"),
    (lambda: rescale(OPTIMUM, 0), "c", "0.0"),
    (lambda: rescale(OPTIMUM, float("nan")), "c", "nan"),
    (lambda: construct(Sarsa(d=2), c=0.0), "c", "0.0"),
    (lambda: construct(Sarsa(d=2), c=float("inf")), "c", "inf"),
    (
        lambda: construct(Sarsa(d=2), free=(jnp.zeros((D, D)), jnp.zeros((D, 3)))),
        "free",
        f"({D}, 3)",
    ),
    (lambda: embed(OPTIMUM, (jnp.zeros((2, 2)),) * 2), "free", "(2, 2)"),
    (lambda: split(jnp.zeros((5, 4)), jnp.zeros((5, 5)), 2), "P", "(5, 4)"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((4, 4)), 2), "V", "(4, 4)"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((5, 5)), 4), "p", "4"),
    (lambda: split(jnp.zeros((5, 5)), jnp.zeros((5, 5)), 0), "p", "0"),
    (lambda: align(OPTIMUM, Sarsa(d=3).optimum(jnp.float32)), "trained", "(5, 3)"),
    (lambda: block(p=0), "p", "0"),
    (lambda: block(q=1.5), "q", "1.5"),
    (lambda: block(gain=-0.1), "gain", "-0.1"),
    (lambda: block()(jnp.zeros((7, 3))), "H", "(7, 3)"),
    (lambda: block().update(jnp.zeros((4, 6)), jnp.zeros(2)), "tokens", "(4, 6)"),
    (lambda: block().update(jnp.zeros((0, 5)), jnp.zeros(2)), "tokens", "(0, 5)"),
    (lambda: block().update(jnp.zeros((4, 5)), jnp.zeros(3)), "u", "(3,)"),
    (
        lambda: LinearAttentionBlock.from_matrices(jnp.zeros((8, 7)), jnp.zeros((8, 8)), 5),
        "P",
        "(8, 7)",
    ),
    (
        lambda: LinearAttentionBlock.from_matrices(jnp.zeros((8, 8)), jnp.zeros((7, 7)), 5),
        "V",
        "(7, 7)",
    ),
    (lambda: TrainingConfig(seed=-1), "seed", "-1"),
    (lambda: TrainingConfig(seed=0.5), "seed", "0.5"),
    (lambda: TrainingConfig(seed=2**63), "seed", "9223372036854775808"),
    (lambda: TrainingConfig(mdps=0), "mdps", "0"),
    (lambda: TrainingConfig(mdps=1e4), "mdps", "10000.0"),
    (lambda: TrainingConfig(windows=-1), "windows", "-1"),
    (lambda: TrainingConfig(window_length=0), "window_length", "0"),
    (lambda: TrainingConfig(decay_every=0), "decay_every", "0"),
    (lambda: TrainingConfig(learning_rate=0.0), "learning_rate", "0.0"),
    (lambda: TrainingConfig(decay=float("nan")), "decay", "nan"),
    (lambda: TrainingConfig(gain=-1.0), "gain", "-1.0"),
    (lambda: TrainingConfig(parameters="half"), "parameters", "'half'"),
    (lambda: TrainingConfig(optimizer="momentum"), "optimizer", "'momentum'"),
    (lambda: TrainingConfig(schedule="linear"), "schedule", "'linear'"),
    (lambda: TrainingConfig(attention="cosine"), "attention", "'cosine'"),
    (lambda: TrainingConfig(floor=1.5), "floor", "1.5"),
    (lambda: TrainingConfig(inverse_temperature=0.0), "inverse_temperature", "0.0"),
    (lambda: TrainingConfig(mdps_per_update=0), "mdps_per_update", "0"),
    (lambda: TrainingConfig(mdps=10, mdps_per_update=4), "mdps", "10"),
    (lambda: RandomMDPs(concentration=0.0), "concentration", "0.0"),
    (lambda: RandomMDPs(reward="cauchy"), "reward", "'cauchy'"),
    (lambda: SparseMDPs(successors=0), "successors", "0"),
    (lambda: SparseMDPs(n_states=3, successors=4), "successors", "4"),
    (lambda: ChainMDPs(n_states=0), "n_states", "0"),
    (lambda: DeterministicMDPs(gamma=1.0), "gamma", "1.0"),
    (lambda: Sarsa(features="tiles"), "features", "'tiles'"),
    (lambda: one_hot(d=5), "d", "5"),
    (lambda: TrainingConfig(dtype="float16"), "dtype", "'float16'"),
    (lambda: next(verify(Sarsa, sizes=0)), "sizes", "0"),
    (lambda: next(verify(Sarsa, largest=2.5)), "largest", "2.5"),
    (lambda: next(verify(Sarsa, seed=-1)), "seed", "-1"),
    (lambda: interact(jax.random.key(0), None, Sarsa(), Sarsa().teacher, 0, 2), "windows", "0"),
    (lambda: rule("differential-sarsa", beta=0.0), "beta", "0.0"),
    (lambda: rule("differential-td", beta=float("inf")), "beta", "inf"),
    (lambda: rule("expected-sarsa", alpha=-1.0), "alpha", "-1.0"),
    (lambda: rule("gtd2", beta=-2.0), "beta", "-2.0"),
    (lambda: rule("n-step-sarsa", k=0), "k", "0"),
    (lambda: rule("off-policy-td", epsilon=2.0), "epsilon", "2.0"),
    (lambda: rule("reinforce", m=0), "m", "0"),
    (lambda: rule("residual-gradient", d=0), "d", "0"),
    (lambda: rule("sarsa-lambda", lam=2.0), "lam", "2.0"),
    (lambda: rule("td-lambda", lam=-0.5), "lam", "-0.5"),
    (lambda: rule("tdc", beta=float("nan")), "beta", "nan"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "name", "value"), WRONG, ids=[f"{name}={value}" for _, name, value in WRONG]
)
def test_wrong_argument(call, name, value):
    with pytest.raises(ValueError, match=rf"^(P and )?{name}\b") as error:
        call()
    message = str(error.value)
    assert value in message
    assert "\n" not in message


RIGHT = [
    lambda: RandomMDPs(n_states=1, n_actions=1, gamma=0),
    lambda: mdp(transition=np.full((3, 2, 3), 1 / 3, np.float32)),
    lambda: mdp(gamma=0.0),
    lambda: Sarsa(d=1, alpha=1e-9, epsilon=0),
    lambda: Sarsa(epsilon=1),
    lambda: roll(state=2, n=1),
    lambda: roll(state=jnp.asarray(2)),
    lambda: rescale(OPTIMUM, -1e-3),
    lambda: block(gain=0.0),
    lambda: TrainingConfig(seed=0, mdps=1, windows=1, window_length=1, decay_every=1, gain=0.0),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("call", RIGHT)
def test_limits_are_allowed(call):
    call()


TRACED = {
    "gamma": (lambda x: mdp(gamma=x).gamma, 1.5),
    "transition": (lambda x: mdp(transition=x).transition, SKEWED),
    "reward": (lambda x: mdp(reward=x).reward, np.full((3, 2, 3), np.nan)),
    "family's gamma": (lambda x: RandomMDPs(2, 2, x).sample(jax.random.key(0)).gamma, 2.0),
    "alpha": (lambda x: Sarsa(d=2, alpha=x).optimum(jnp.float64), -1.0),
    "beta": (lambda x: ActorCritic(m=1, d=1, beta=x).optimum(jnp.float64), 0.0),
    "epsilon": (lambda x: epsilon_mix(HALF, x), 2.0),
    "policy": (lambda x: epsilon_mix(x, 0.1), np.full((3, 2), 0.9)),
    "state": (lambda x: roll(state=x).rewards, 7),
    "rolled policy": (lambda x: roll(policy=x).rewards, np.full((3, 2), 0.9)),
    "c": (lambda x: rescale(OPTIMUM, x), 0.0),
    "tolerance": (lambda x: policy_value(mdp(), x), np.full((3, 2), 0.9)),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", TRACED)
def test_traced_values_pass(name):
    call, value = TRACED[name]
    with pytest.raises(ValueError, match=r"must"):
        call(value)
    jax.jit(call)(value)


@pytest.mark.usefixtures("unchecked")
def test_shapes_are_checked_even_when_traced():
    with pytest.raises(ValueError, match=r"policy must have shape \(3, 2\), got \(2, 3\)"):
        jax.jit(lambda policy: roll(policy=policy).rewards)(jnp.full((2, 3), 1 / 3))


@pytest.mark.usefixtures("unchecked")
def test_rounding_of_single_precision_is_forgiven():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(1000), 20).astype(np.float32)
    _checks.distribution("x", probabilities)
    with pytest.raises(ValueError, match=r"x must sum to 1 .* sum of 0.9999 at index \(0,\)"):
        _checks.distribution("x", 0.9999 * probabilities)


@pytest.mark.usefixtures("unchecked")
def test_names_of_the_effective_blocks():
    """What a mistake in their order looks like."""
    with pytest.raises(ValueError, match="trained"):
        align(Effective(OPTIMUM.V21, OPTIMUM.P12), OPTIMUM)


# The command line

SMALL = ["--d=2", "--n-states=3", "--n-actions=2", "--window-length=4", "--mdps=3", "--windows=2"]
BRIEF = ["--n-mdps=2", "--steps=2", "--every=1", "--trajectories=2", "--length=2"]
SPEC = """
[rule]
name = "sarsa"
d = 2
[family]
n_states = 3
n_actions = 2
[training]
mdps = 3
windows = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert cli.main(["train", "sarsa", "--out", str(out), *SMALL]) == 0
    return out


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A directory to work in, with what may go wrong in it."""
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "loss.npy").write_text("mine")
    (tmp_path / "file").write_text("mine, too")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    """Everything below a directory, temporary files too."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else os.path.islink(path)
        for path in folder.rglob("*")
    }


def train(*options, rule="sarsa", out="new"):
    return ["train", rule, "--out", out, *SMALL, *options]


def evaluate(*options, run="run"):
    return ["evaluate", run, *BRIEF, *options]


def edit(**changes):
    """A change of run/config.json, section by section."""

    def damage():
        path = pathlib.Path("run/config.json")
        record = json.loads(path.read_text())
        path.write_text(
            json.dumps(
                {key: record[key] | changes.get(key, {}) for key in ("rule", "family", "training")}
            )
        )

    return damage


def tensors(**changed):
    """A change of run/params.safetensors."""

    def damage():
        path = pathlib.Path("run/params.safetensors")
        safetensors.numpy.save_file(safetensors.numpy.load_file(path) | changed, path)

    return damage


def write(name, content):
    return lambda: pathlib.Path(name).write_bytes(content)


def spec(text):
    return write("spec.toml", (text + SPEC).encode())


def nothing():
    """Nothing is wrong with the files."""


D_OF_RUN = Sarsa(d=2).D
SQUARE = np.zeros((D_OF_RUN, D_OF_RUN), np.float32)

# What is done to the files before, the command, and what its one line must say.
REFUSED = {
    "γ = 1": (nothing, train("--gamma=1"), r"gamma must lie in \[0, 1\), got 1.0"),
    "γ < 0": (nothing, train("--gamma=-0.5"), r"gamma must lie in \[0, 1\), got -0.5"),
    "ε = 2": (nothing, train("--epsilon=2"), r"epsilon must lie in \[0, 1\], got 2.0"),
    "α = 0": (nothing, train("--alpha=0"), "alpha must be positive and finite, got 0.0"),
    "α infinite": (nothing, train("--alpha=inf"), "alpha must be positive and finite, got inf"),
    "d = 0": (nothing, train("--d=0"), "d must be an integer of at least 1, got 0"),
    "n = 0": (nothing, train("--window-length=0"), "window_length must be .*, got 0"),
    "no MDPs": (nothing, train("--mdps=0"), "mdps must be .*, got 0"),
    "no windows": (nothing, train("--windows=0"), "windows must be .*, got 0"),
    "no states": (nothing, train("--n-states=0"), "n_states must be .*, got 0"),
    "seed < 0": (
        nothing,
        train("--seed=-1"),
        r"seed must be an integer of at least 0 and below 2\*\*63, got -1",
    ),
    "rate NaN": (nothing, train("--learning-rate=nan"), "learning_rate must be .*, got nan"),
    "gain < 0": (nothing, train("--gain=-1"), "gain must be finite and not negative, got -1.0"),
    "floor > 1": (nothing, train("--floor=3"), r"floor must lie in \[0, 1\], got 3.0"),
    "MDPs left over": (nothing, train("--mdps-per-update=2"), "mdps must be a multiple .*, got 3"),
    "one-hot of another size": (
        nothing,
        train("--features=one-hot"),
        "d must be S·A = 6 for one-hot features, got 2",
    ),
    "softmax with two heads": (
        nothing,
        train("--attention=softmax", rule="gtd2"),
        "attention 'softmax' has one head, got gtd2 with 2",
    ),
    "k = 0": (nothing, train("--k=0", rule="n-step-sarsa"), "k must be .*, got 0"),
    "λ = 2": (nothing, train("--lam=2", rule="td-lambda"), "lam must lie in .*, got 2.0"),
    "out in use": (nothing, train(out="mine"), "out: mine exists and is not empty"),
    "out holds a run": (nothing, train(out="run"), "out: run exists and is not empty"),
    "out is a file": (nothing, train(out="file"), "out: cannot write to file: File exists"),
    "out below a file": (nothing, train(out="file/new"), "out: cannot write to file/new: "),
    "out in a directory of the kernel": (nothing, train(out="/proc/new"), "out: .* /proc/new: "),
    "out is a device": (nothing, train(out="/dev/full"), "out: .* /dev/full: File exists"),
    "out is a dangling link": (nothing, train(out="dangling"), "out: .*dangling: File exists"),
    "no checkpoint": (nothing, evaluate(run="none"), "none is not a checkpoint"),
    "an empty checkpoint": (nothing, evaluate(run="empty"), "empty is not a checkpoint"),
    "a file for a checkpoint": (nothing, evaluate(run="file"), "file is not a checkpoint"),
    "no held-out MDP": (nothing, evaluate("--n-mdps=0"), "n_mdps must be .*, got 0"),
    "one trajectory": (nothing, evaluate("--trajectories=1"), "trajectories must .*, got 1"),
    "table exists": (nothing, evaluate("--out=file"), "out: file exists; nothing was changed"),
    "table of this block exists": (
        write("run/evaluation.csv", b"mine"),
        evaluate(),
        "out: run/evaluation.csv exists; nothing was changed",
    ),
    "table is a dangling link": (nothing, evaluate("--out=dangling"), "out: dangling exists"),
    "table in no directory": (nothing, evaluate("--out=no/x.csv"), "out: cannot write to no: "),
    "table in a directory of the kernel": (
        nothing,
        evaluate("--out=/proc/x.csv"),
        "out: cannot write to /proc: ",
    ),
    "provenance exists": (
        write("x.provenance.json", b"mine"),
        evaluate("--out=x.csv"),
        "out: x.provenance.json exists",
    ),
    "checkpoint of another D": (edit(rule={"d": 3}), evaluate(), r"shape \(11, 11\), got"),
    "checkpoint of an unknown rule": (
        edit(rule={"name": "q-learning"}),
        evaluate(),
        "config.json is not a configuration: .*q-learning",
    ),
    "checkpoint with γ = 1": (edit(family={"gamma": 1.0}), evaluate(), "gamma must .* got 1.0"),
    "checkpoint with an unknown key": (edit(training={"momentum": 1}), evaluate(), "momentum"),
    "configuration without end": (
        write("run/config.json", b"[" * 100_000),
        evaluate(),
        "config.json is not a configuration",
    ),
    "weights NaN": (tensors(P=SQUARE + np.nan), evaluate(), r"run: P must be finite, got nan"),
    "weights in float64": (
        tensors(V=SQUARE.astype(np.float64)),
        evaluate(),
        "run: V must be float32, got float64",
    ),
    "one matrix too many": (tensors(Q=SQUARE), evaluate(), "must hold P and V of shape"),
    "weights truncated": (
        write("run/params.safetensors", b"\x40\0\0\0\0\0\0\0{"),
        evaluate(),
        "run holds a damaged file: ",
    ),
    "weights of another program": (
        write("run/params.safetensors", b"PK\3\4" + bytes(200)),
        evaluate(),
        "run holds a damaged file: ",
    ),
    "losses of another program": (
        write("run/loss.npy", b"\x93NUMPY\1\0v\0{'descr': '<f4'"),
        evaluate(),
        "run holds a damaged file: ",
    ),
    "verify what is unknown": (nothing, ["verify", "q-learning"], "rules .* 'q-learning'"),
    "verify with seed < 0": (nothing, ["verify", "--seed=-1"], "seed must be .*, got -1"),
    "no grid file": (nothing, ["sweep", "none.toml", "--out=new"], "none.toml"),
    "a directory for a grid file": (nothing, ["sweep", "empty", "--out=new"], "empty"),
    "a malformed grid file": (
        spec("seeds = = 3"),
        ["sweep", "spec.toml", "--out=new"],
        "spec.toml is not a TOML file: ",
    ),
    "an unknown key in a grid file": (
        spec("sedes = 3"),
        ["sweep", "spec.toml", "--out=new"],
        "spec.toml: sedes is unknown, got 3",
    ),
    "no workers": (
        nothing,
        ["sweep", "spec.toml", "--out=new", "--workers=0"],
        "workers must be an integer of at least 1, got 0",
    ),
    "sweep into what is there": (
        nothing,
        ["sweep", "spec.toml", "--out=mine"],
        "out: mine exists and is not empty",
    ),
    "sweep into a checkpoint": (
        nothing,
        ["sweep", "spec.toml", "--out=run"],
        "out: run exists and is not empty",
    ),
    "sweep into a file": (nothing, ["sweep", "spec.toml", "--out=file"], "out: .* to file: "),
    "sweep into a directory of the kernel": (
        nothing,
        ["sweep", "spec.toml", "--out=/proc/new"],
        "out: cannot write to /proc/new: ",
    ),
}


@pytest.mark.parametrize(("damage", "arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_the_command_line(damage, arguments, message, place, capsys):
    damage()
    before = contents(place)
    assert cli.main(arguments) == 2
    printed, errors = capsys.readouterr()
    (line,) = errors.splitlines()
    assert re.match(f"error: .*{message}", line), line
    assert printed == ""
    assert contents(place) == before


# What the parser refuses takes several lines: the message stands in a frame, with a hint.
USAGE = {
    "nothing": ([], "train"),
    "no rule": (["train"], "sarsa"),
    "no out": (["train", "sarsa"], "--out"),
    "unknown command": (["test"], "test"),
    "unknown rule": (train(rule="q-learning"), "q-learning"),
    "unknown option": (train("--momentum=1"), "--momentum"),
    "unknown dtype": (train("--dtype=float16"), "float16"),
    "a word for a number": (train("--mdps=many"), "many"),
    "a fraction for a count": (train("--mdps=2.5"), "2.5"),
    "an option of another rule": (train("--beta=0.5"), "--beta"),
    "unknown option of evaluate": (evaluate("--gamma=0.5"), "--gamma"),
    "a word for workers": (["sweep", "spec.toml", "--out=new", "--workers=all"], "all"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_refused_by_the_parser(arguments, message, place, capsys):
    before = contents(place)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    printed, errors = capsys.readouterr()
    assert message in errors
    assert "Traceback" not in errors
    assert printed == ""
    assert contents(place) == before


def test_the_tables_are_long_enough():
    assert len(WRONG) + len(REFUSED) + len(USAGE) >= 40


# Disks that are full, and directories that cannot be written, whoever asks


def failing(monkeypatch, module, name, code, after=0):
    """From its call number `after` on, a function of the system fails for want of space."""
    right, calls = getattr(module, name), [0]

    @functools.wraps(right)
    def wrong(*arguments, **options):
        calls[0] += 1
        if calls[0] > after:
            raise OSError(code, os.strerror(code))
        return right(*arguments, **options)

    monkeypatch.setattr(module, name, wrong)


COMMANDS = {
    "train": (train(), "new"),
    "evaluate": (evaluate("--out=empty/x.csv"), "empty"),
    "sweep": (["sweep", "spec.toml", "--out=new"], "new"),
}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
@pytest.mark.parametrize("command", COMMANDS)
def test_directory_that_cannot_be_written(command, code, place, monkeypatch, capsys):
    arguments, out = COMMANDS[command]
    before = contents(place / "run"), contents(place / "empty"), contents(place / "mine")
    failing(monkeypatch, tempfile, "mkstemp", code)
    assert cli.main(arguments) == 2
    printed, errors = capsys.readouterr()
    assert errors == f"error: out: cannot write to {out}: {os.strerror(code)}\n"
    assert printed == ""
    assert before == (contents(place / "run"), contents(place / "empty"), contents(place / "mine"))
    assert not any(path.is_file() for path in (place / "new").rglob("*"))


@pytest.mark.parametrize("name", ["fsync", "close"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_disk_that_is_full_after_training(name, after, place, monkeypatch, capsys):
    """One file has been written before: the probe."""
    failing(monkeypatch, os, name, errno.ENOSPC, after)
    assert cli.main(train()) == 2
    printed, errors = capsys.readouterr()
    assert errors.splitlines()[-1] == ("error: out: cannot write to new: No space left on device")
    assert "Traceback" not in errors
    assert printed == ""
    monkeypatch.undo()
    assert contents(place / "new") == {}


@contextlib.contextmanager
def room(size):
    """Limits how long any file may grow, as a full disk does, in the middle of a write.

    Only inside the block: the file that holds what pytest prints may be longer already.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_file_that_does_not_fit(place):
    """Each file of a checkpoint in turn is the one for which there is no room."""
    read = load(place / "run")
    report = checkpoint.Report(jnp.asarray(read.P), jnp.asarray(read.V), read.losses, 3, 0.0, 0.0)
    rest = read.rule, read.family, read.training
    checkpoint.save(place / "run", report, *rest)
    before = contents(place)
    sizes = sorted(path.stat().st_size for path in (place / "run").iterdir())
    assert len(set(sizes)) == 3
    other = dataclasses.replace(report, losses=report.losses + 1)
    for size in sizes:
        with room(size - 1), pytest.raises(OSError, match="File too large"):
            checkpoint.save(place / "run", other, *rest)
        assert contents(place) == before
    with room(sizes[-1] + 100):
        checkpoint.save(place / "run", other, *rest)
    np.testing.assert_array_equal(load(place / "run").losses, other.losses)


def test_standard_output_that_is_full(place):
    """Python itself would try again at its end, and exit with 120."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *train()],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error: standard output: No space left on device"
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert load(place / "new").losses.size == 6


def test_training_that_diverges(place, capsys):
    """It stops with the step, and keeps the last block that was good."""
    assert cli.main(train("--learning-rate=1e30", "--mdps=300")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"error: training stopped: the loss is (inf|nan) at update [1-5]; new", line)
    kept = load(place / "new")
    assert np.isfinite(kept.P).all()
    assert np.isfinite(kept.V).all()
    assert kept.P.any()
    assert kept.record["completed_mdps"] == 0


def test_training_whose_last_step_diverges(place, capsys):
    """No loss has seen the weights after it: of its two factors each fits, their product not."""
    huge = ["--method=sgd", "--gain=1e8", "--learning-rate=1e20"]
    assert cli.main(train(*huge, "--mdps=1", "--windows=1")) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == (
        "error: training stopped: the weights are not finite after update 0; "
        "new holds the block before it"
    )
    assert captured.out == ""
    assert np.isfinite(load(place / "new").P).all()
