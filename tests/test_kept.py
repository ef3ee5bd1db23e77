"""Runs that the environment's folder keeps."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest

import icrl_flax as icrl
from icrl_flax.training import kept

SMALL = icrl.Sarsa(d=2)
TINY = icrl.RandomMDPs(n_states=2, n_actions=2)
CONFIG = icrl.TrainingConfig(mdps=4, windows=3, window_length=4)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path))
    return tmp_path


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def test_second_time_is_the_first(folder, monkeypatch):
    first = icrl.train(SMALL, TINY, CONFIG)
    assert len(files(folder)) == 1
    monkeypatch.setattr("icrl_flax.training.loop.train_iter", None)  # nothing is trained
    second = icrl.train(SMALL, TINY, CONFIG)
    assert second.runs == first.runs
    np.testing.assert_array_equal(second.losses, first.losses)
    for here, there in zip(
        jax.tree.leaves(second.theta), jax.tree.leaves(first.theta), strict=True
    ):
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize(
    "other",
    [
        (dataclasses.replace(SMALL, alpha=0.3), TINY, CONFIG),
        (SMALL, dataclasses.replace(TINY, n_states=3), CONFIG),
        (SMALL, TINY, dataclasses.replace(CONFIG, seed=1)),
        (SMALL, TINY, dataclasses.replace(CONFIG, dtype="float64")),
        (icrl.ActorCritic(m=2, d=2), TINY, CONFIG),
    ],
    ids=["alpha", "family", "seed", "dtype", "rule"],
)
def test_another_run_is_another_file(folder, other):
    icrl.train(SMALL, TINY, CONFIG)
    result = icrl.train(*other)
    assert len(files(folder)) == 2
    assert icrl.load(files(folder)[0]).runs != icrl.load(files(folder)[1]).runs
    assert result.runs == (tuple(other),)


def test_other_code_is_another_run(monkeypatch):
    name = kept.name_of(icrl.training.Run(SMALL, TINY, CONFIG))
    assert kept.name_of(icrl.training.Run(SMALL, TINY, CONFIG)) == name
    monkeypatch.setattr(kept, "_code", lambda: "edited")
    assert kept.name_of(icrl.training.Run(SMALL, TINY, CONFIG)) != name


class Elsewhere(eqx.Module):
    """A family that no file is known to define."""

    def sample(self, key, dtype):
        return TINY.sample(key, dtype)


def test_nothing_is_kept_of_what_cannot_be_told_apart(folder):
    icrl.train(SMALL, Elsewhere(), CONFIG)
    assert not files(folder)


def test_nothing_is_kept_of_an_own_optimizer_or_of_several(folder):
    icrl.train(SMALL, TINY, CONFIG, optimizer=CONFIG.make_optimizer())
    icrl.train(SMALL, TINY, [CONFIG, CONFIG])
    icrl.train(SMALL, TINY, CONFIG, devices=jax.local_devices()[:1])
    assert not files(folder)


def test_a_diverged_run_is_kept_as_one(folder):
    config = dataclasses.replace(CONFIG, optimizer="sgd", learning_rate=1e30)
    first, second = (icrl.train(SMALL, TINY, config) for _ in range(2))
    assert first.diverged
    assert second.diverged_at == first.diverged_at
    with pytest.raises(FloatingPointError):
        icrl.train(SMALL, TINY, config, throw=True)
    assert len(files(folder)) == 1
