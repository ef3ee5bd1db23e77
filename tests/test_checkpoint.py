"""A block on disk: what is written comes back, and a broken file says so."""

import dataclasses
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from icrl_flax import ActorCritic, RandomMDPs, Report, Sarsa, TrainingConfig, load, save, train
from icrl_flax.training.checkpoint import CONFIG, LOSSES, WEIGHTS, new_directory, write_atomically

RULE = ActorCritic(m=2, d=1, alpha=0.3, beta=0.4, epsilon=0.25)
FAMILY = RandomMDPs(3, 2, gamma=0.25)
TRAINING = TrainingConfig(seed=7, mdps=2, windows=3, window_length=4, learning_rate=0.01)


@pytest.fixture(scope="session")
def report():
    return train(RULE, TRAINING, FAMILY)


@pytest.fixture
def directory(tmp_path, report):
    save(tmp_path, report, RULE, FAMILY, TRAINING)
    return tmp_path


def test_files(directory):
    assert {path.name for path in directory.iterdir()} == {CONFIG, LOSSES, WEIGHTS}
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o644}


def test_round_trip_to_the_bit(directory, report):
    read = load(directory)
    for name in ("P", "V", "losses"):
        array = getattr(read, name)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, getattr(report, name))
    assert (read.rule, read.family, read.training) == (RULE, FAMILY, TRAINING)
    assert read.record["completed_mdps"] == 2
    assert read.record["device"]["platform"] == "cpu"
    assert re.match(r"\d+\.\d+", read.record["versions"]["jax"])


def test_configuration_repeats_the_run(directory):
    read = load(directory)
    again = train(read.rule, read.training, read.family)
    for name in ("P", "V", "losses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(read, name))


@pytest.mark.usefixtures("unchecked")
def test_numpy_scalars_in_the_configuration(tmp_path, report):
    """The checks let them pass, so a finished run must not be lost for them."""
    rule = dataclasses.replace(RULE, alpha=np.float32(0.5))
    training = dataclasses.replace(TRAINING, mdps=np.int64(2))
    save(tmp_path, report, rule, FAMILY, training)
    assert load(tmp_path).rule == dataclasses.replace(RULE, alpha=0.5)
    assert load(tmp_path).training == TRAINING


def test_double_precision_is_stored_in_single(tmp_path):
    rng = np.random.default_rng(0)
    rule, matrices = Sarsa(d=1), rng.normal(size=(2, 5, 5))
    losses = rng.uniform(size=6)
    save(
        tmp_path, Report(*map(jnp.asarray, matrices), losses, 2, 0.1, 0.2), rule, FAMILY, TRAINING
    )
    read = load(tmp_path)
    for array, double in zip((read.P, read.V, read.losses), (*matrices, losses), strict=True):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, double.astype(np.float32))


def edit(**changes):
    """Replaces entries of config.json."""

    def damage(directory):
        record = json.loads((directory / CONFIG).read_text())
        for section, values in changes.items():
            record[section] = {**record[section], **values} if values else values
        (directory / CONFIG).write_text(json.dumps(record))

    return damage


def overwrite(name, content):
    return lambda directory: (directory / name).write_bytes(content)


def truncate(name):
    def damage(directory):
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: len(content) // 2])

    return damage


def remove(name):
    return lambda directory: (directory / name).unlink()


def weights(**tensors):
    return lambda directory: safetensors.numpy.save_file(tensors, str(directory / WEIGHTS))


def losses(write):
    def damage(directory):
        with (directory / LOSSES).open("wb") as file:
            write(file)

    return damage


D = RULE.D
SQUARE, WRONG = np.zeros((D, D), np.float32), np.zeros((D + 1, D + 1), np.float32)
DAMAGE = {
    **{f"{name} missing": remove(name) for name in (CONFIG, LOSSES, WEIGHTS)},
    **{f"{name} truncated": truncate(name) for name in (CONFIG, LOSSES, WEIGHTS)},
    **{f"{name} empty": overwrite(name, b"") for name in (CONFIG, LOSSES, WEIGHTS)},
    **{
        f"{name} foreign": overwrite(name, b"\x89PNG\r\n" * 20)
        for name in (CONFIG, LOSSES, WEIGHTS)
    },
    "config is a list": overwrite(CONFIG, b"[]"),
    "config is empty": overwrite(CONFIG, b"{}"),
    "config without a section": edit(family=None),
    "unknown rule": edit(rule={"name": "q-learning"}),
    "unknown option": edit(training={"momentum": 1}),
    "impossible value": edit(family={"gamma": 2.0}),
    "another size in the config": edit(rule={"d": 3}),
    "another size in the weights": weights(P=WRONG, V=WRONG),
    "one matrix": weights(P=SQUARE),
    "other tensors": weights(P=SQUARE, V=SQUARE, Q=SQUARE),
    "losses pickled": losses(lambda file: np.save(file, np.array([{}]), allow_pickle=True)),
    "losses in an archive": losses(lambda file: np.savez(file, losses=np.zeros(6, np.float32))),
    "losses in a table": losses(lambda file: np.save(file, np.zeros((2, 3), np.float32))),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_reported_with_the_path(directory, damage):
    damage(directory)
    with pytest.raises(ValueError, match=re.escape(str(directory))):
        load(directory)


def test_no_directory(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_a_file_is_no_directory(directory):
    with pytest.raises(ValueError, match=re.escape(WEIGHTS)):
        load(directory / WEIGHTS)


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def break_off(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, break_off)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"


def test_new_directory(tmp_path):
    nested = tmp_path / "a" / "b"
    assert new_directory(nested) == nested
    assert new_directory(nested) == nested  # empty, and left so by the check
    (nested / "mine").write_text("kept")
    with pytest.raises(ValueError, match=r"not empty.*nothing was changed") as error:
        new_directory(nested)
    assert str(nested) in str(error.value)
    assert [path.name for path in nested.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="mine"):
        new_directory(nested / "mine")
