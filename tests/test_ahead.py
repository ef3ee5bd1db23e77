"""The next item's work, done beside the caller's."""

import threading

import jax
import jax.numpy as jnp
import pytest

from icrl_flax.training.prefetch import prefetch

SOON = 30  # seconds: never waited for in full unless something is wrong


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_it_is_a_map(count):
    assert list(prefetch(lambda k: k * k, range(count))) == [k * k for k in range(count)]


def test_the_next_result_is_made_while_this_one_is_in_use():
    started = [threading.Event() for _ in range(4)]

    def work(k):
        started[k].set()
        return k

    for k in prefetch(work, range(4)):
        if k + 1 < 4:
            assert started[k + 1].wait(SOON)
        if k + 2 < 4:  # one ahead, not more: memory stays bounded
            assert not started[k + 2].is_set()


@pytest.mark.parametrize("x64", [False, True])
def test_the_precision_is_the_callers(x64):
    with jax.enable_x64(x64):
        (dtype,) = prefetch(lambda _: jnp.zeros(1).dtype, [0])
    assert dtype == (jnp.float64 if x64 else jnp.float32)


def test_an_error_reaches_the_caller():
    results = prefetch(lambda k: 1 // k, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_it_ends_the_thread():
    before = threading.active_count()
    results = prefetch(lambda k: k, range(10))
    next(results)
    results.close()
    assert threading.active_count() == before
