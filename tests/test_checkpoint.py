"""A run in one file: what is written comes back, and a broken file says so."""

import dataclasses
import json
import os
import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy

from icrl_flax import (
    ActorCritic,
    Effective,
    RandomMDPs,
    Sarsa,
    TrainingConfig,
    TrainingResult,
    _files,
    load,
    save,
    train,
    train_iter,
)
from icrl_flax.attention import Matrices
from icrl_flax.mdps import ChainMDPs, DeterministicMDPs, SparseMDPs
from icrl_flax.rules import discover
from icrl_flax.training import Run, checkpoint
from icrl_flax.training.result import State

RULE = ActorCritic(m=2, d=1, alpha=0.3, beta=0.4, epsilon=0.25)
FAMILY = RandomMDPs(3, 2, gamma=0.25)
CONFIG = TrainingConfig(seed=7, mdps=2, windows=3, window_length=4, learning_rate=0.01)


@pytest.fixture(scope="session")
def result():
    return train(RULE, FAMILY, CONFIG)


@pytest.fixture
def file(tmp_path, result):
    return save(result, tmp_path / "run")


def made(rule, family, config=CONFIG):
    """A result that nobody trained, so that no rule or form of block needs to be compiled."""
    rng = np.random.default_rng(0)
    heads = () if rule.heads == 1 else (rule.heads,)
    full = config.parameters == "full"
    shapes = (
        Matrices(rule.weights_shape, rule.weights_shape)
        if full
        else Effective((*heads, rule.p, rule.q + 1), (*heads, rule.q, rule.p))
    )
    theta = type(shapes)(*(rng.normal(size=(1, *shape)).astype(config.dtype) for shape in shapes))
    losses = rng.uniform(size=6).astype(config.dtype)
    state = State(theta, (np.full((1,), 6, np.int32), theta))
    return TrainingResult((Run(rule, family, config),), False, state, losses, -1, 2, 0.5, 0.25)


def leaves(result):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(result.state)]


def assert_same(one, other):
    """Equal in every bit and type."""
    assert one.runs == other.runs
    for a, b in zip(one.runs[0], other.runs[0], strict=True):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            mine, theirs = getattr(a, field.name), getattr(b, field.name)
            assert type(mine) is type(theirs), field.name
    for a, b in zip([*leaves(one), one.losses], [*leaves(other), other.losses], strict=True):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert (one.mdps, one.diverged_at) == (other.mdps, other.diverged_at)


def test_round_trip_to_the_bit(file, result):
    read = load(file)
    assert_same(read, result)
    np.testing.assert_array_equal(read.P, result.P)
    assert read.record["completed_mdps"] == 2
    assert read.record["device"]["platform"] == "cpu"
    assert read.record["prng"] == {"implementation": "threefry2x32", "partitionable": True}
    assert re.match(r"\d+\.\d+", read.record["versions"]["jax"])
    assert re.fullmatch(r"[0-9a-f]{40}|uncommitted|unknown", read.record["commit"])


FAMILIES = [
    RandomMDPs(3, 2, gamma=0.8, reward="sparse"),
    ChainMDPs(5, 2, 0.8),
    SparseMDPs(4, 2, successors=3),
    DeterministicMDPs(3, 3),
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: type(family).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", discover())
def test_each_rule_family_and_type_comes_back(name, family, dtype, tmp_path):
    rule = discover()[name].draw(np.random.default_rng(0), 2)
    result = made(rule, family, dataclasses.replace(CONFIG, dtype=dtype))
    assert_same(load(result.save(tmp_path / "run")), result)


@pytest.mark.parametrize("attention", ["linear", "softmax"])
@pytest.mark.parametrize("parameters", ["effective", "full"])
def test_each_block_comes_back(attention, parameters, tmp_path):
    config = dataclasses.replace(CONFIG, attention=attention, parameters=parameters)
    result = made(Sarsa(d=2), RandomMDPs(2, 2), config)
    read = load(save(result, tmp_path / "run"))
    assert_same(read, result)
    assert type(read.block) is type(result.block)


def test_a_string_is_a_path_and_the_suffix_may_be_left_out(tmp_path, result):
    path = result.save(f"{tmp_path}/new/run")
    assert path == tmp_path / "new" / "run.safetensors"
    for name in (path, str(path), f"{tmp_path}/new/run", tmp_path / "new" / "run"):
        assert_same(load(name), result)


def test_any_reader_finds_the_weights(file, result):
    tensors = safetensors.numpy.load_file(file)
    np.testing.assert_array_equal(tensors["theta/P12"], result.effective.P12)
    np.testing.assert_array_equal(tensors["theta/V21"], result.effective.V21)
    np.testing.assert_array_equal(tensors["losses"], result.losses)


def test_the_record_repeats_the_run(file):
    read = load(file)
    again = train(*read.runs[0])
    assert_same(dataclasses.replace(again, record=None), dataclasses.replace(read, record=None))


def test_the_mode_of_files_follows_the_umask(tmp_path, result):
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            path = result.save(tmp_path / f"{mask}")
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_going_on_from_a_file(tmp_path):
    config = dataclasses.replace(CONFIG, mdps=6, windows=2500, window_length=2)
    chunks = list(train_iter(RULE, FAMILY, config))
    assert len(chunks) > 3
    for chunk in chunks[:-1]:
        read = load(chunk.save(tmp_path / "run"))
        *_, last = train_iter(*read.runs[0], start=read)
        for one, other in zip(leaves(last), leaves(chunks[-1]), strict=True):
            assert one.tobytes() == other.tobytes()


def test_an_optimizer_of_ones_own_goes_on_too(tmp_path):
    config = dataclasses.replace(CONFIG, mdps=4, windows=1500, window_length=2)
    chunks = list(train_iter(RULE, FAMILY, config, optimizer=optax.rmsprop(1e-3)))
    read = load(chunks[1].save(tmp_path / "run"))
    *_, last = train_iter(*read.runs[0], start=read, optimizer=optax.rmsprop(1e-3))
    np.testing.assert_array_equal(last.P, chunks[-1].P)
    with pytest.raises(ValueError, match=r"^start must have the state of the same optimizer"):
        next(train_iter(*read.runs[0], start=read, optimizer=optax.sgd(1e-3)))


# Settings of every type


def test_numbers_of_numpy_stay_numpys(tmp_path, result):
    run = result.runs[0]._replace(rule=dataclasses.replace(RULE, alpha=0.5))
    rule = run.rule
    object.__setattr__(rule, "alpha", np.float64(0.5))
    result = dataclasses.replace(result, runs=(run,))
    read = load(save(result, tmp_path / "run"))
    assert type(read.rule.alpha) is np.float64
    assert read.rule.alpha == 0.5


def test_values_and_their_types():
    values = {
        "tuple": (1, (2.5, None), [True, "x"]),
        "numpy": np.arange(3, dtype=np.int16),
        "scalar": np.float32(0.1),
        "zero-dimensional": np.array(2.0),
        "jax": jnp.arange(2.0, dtype=jnp.float64),
        "tiny": 5e-324,
        "family": ChainMDPs(5, 2, 0.1 + 0.2),
    }
    for name, value in values.items():
        tensors = {}
        code = json.loads(json.dumps(checkpoint._encode(value, name, tensors)))
        read = checkpoint._decode(code, name, tensors)
        assert type(read) is type(value), name
        assert np.asarray(read == value).all(), name
        assert getattr(read, "dtype", None) == getattr(value, "dtype", None)
        assert np.shape(read) == np.shape(value) if name != "tuple" else True


class Unregistered(ChainMDPs):
    """A family that nobody could find again."""


def test_what_cannot_be_read_back_is_refused(tmp_path, result):
    path = save(result, tmp_path / "run")
    before = path.read_bytes()
    for family in (Unregistered(3, 2), object()):
        other = dataclasses.replace(result, runs=(result.runs[0]._replace(family=family),))
        with pytest.raises(ValueError, match=r"^family cannot be read back from a file, got"):
            save(other, path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["run.safetensors"]


def test_several_runs_are_saved_one_by_one(tmp_path):
    several = train(RULE, FAMILY, [CONFIG, dataclasses.replace(CONFIG, seed=8)])
    with pytest.raises(ValueError, match=r"^result must be one run, got 2: save result\[i\]"):
        save(several, tmp_path / "run")
    assert_same(load(several[1].save(tmp_path / "run")), several[1])


# Damage


def edit(**changes):
    """Replaces entries of the record; None removes one."""

    def damage(path):
        with safetensors.safe_open(path, "numpy") as opened:
            record = json.loads(opened.metadata()["record"])
        for section, value in changes.items():
            record[section] = value
            if value is None:
                del record[section]
        tensors = safetensors.numpy.load_file(path)
        safetensors.numpy.save_file(tensors, path, {"record": json.dumps(record)})

    return damage


def field(section, name, value):
    def damage(path):
        with safetensors.safe_open(path, "numpy") as opened:
            code = json.loads(opened.metadata()["record"])[section]
        code["fields"][name] = value
        edit(**{section: code})(path)

    return damage


def tensors(**changes):
    def damage(path):
        with safetensors.safe_open(path, "numpy") as opened:
            metadata = opened.metadata()
        kept = safetensors.numpy.load_file(path) | changes
        kept = {name: tensor for name, tensor in kept.items() if tensor is not None}
        safetensors.numpy.save_file(kept, path, metadata)

    return damage


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


NAN = np.full((5, 4), np.nan, np.float32)
DAMAGE = {
    "missing": lambda path: path.unlink(),
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"\x89PNG\r\n" * 20),
    "without a record": lambda path: safetensors.numpy.save_file({"x": NAN}, path),
    "another format": edit(format=99),
    "record without a section": edit(family=None),
    "unknown rule": edit(rule={"kind": "rule q-learning", "fields": {}}),
    "unknown class": edit(family={"kind": "os:system", "fields": {}}),
    "unknown option": field("config", "momentum", 1),
    "impossible value": field("family", "gamma", 2.0),
    "another size in the record": field("rule", "d", 3),
    "another type in the record": field("config", "dtype", "float64"),
    "another PRNG": edit(prng={"implementation": "rbg", "partitionable": True}),
    "one matrix": tensors(**{"theta/P12": None}),
    "another size in the weights": tensors(**{"theta/P12": NAN[:1]}),
    "weights that are not finite": tensors(**{"theta/P12": NAN}),
    "losses in a table": tensors(losses=np.zeros((2, 3), np.float32)),
    "losses in double": tensors(losses=np.zeros(6)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_reported_with_the_path(file, damage):
    damage(file)
    with pytest.raises(ValueError, match=re.escape(str(file))):
        load(file)


def test_a_checkpoint_of_before_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is a checkpoint of an older version, .* train again"):
        load(tmp_path)


def test_a_loaded_class_is_the_librarys_or_registered():
    """A record names classes, and a foreign one must not run code."""
    assert checkpoint._find("os:system") is None
    assert checkpoint._find("icrl_flax.mdps.tabular:TabularMDP") is not None


def test_the_commit_is_that_of_the_library():
    checkpoint.commit.cache_clear()
    found = checkpoint.commit()
    package = os.path.dirname(checkpoint.__file__)
    done = subprocess.run(
        ["git", "-C", package, "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    assert found in ({done.stdout.strip(), "uncommitted"} if done.returncode == 0 else {"unknown"})


# Files


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def break_off(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _files.write_atomically(path, break_off)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    _files.write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"


def test_a_result_is_what_train_gives(result):
    assert isinstance(result, TrainingResult)
