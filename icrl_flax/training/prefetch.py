"""Work done one item ahead, in a thread beside the caller's."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

import jax.numpy as jnp

from icrl_flax import _ambient

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    settings: Callable[[], AbstractContextManager] | None = None,
) -> Generator[Result]:
    """`map(function, items)`, each result made while the caller works on the one before.

    The first is begun at once, before the caller asks for it. JAX orders what one
    thread asks of a device, so two programs run at the same time only if two
    threads start them.

    Args:
        function: called in order, never twice at a time; it must wait for its own result.
        items: what to call it with.
        settings: what the thread works under, for JAX keeps its settings for each thread
            apart; the library's own, and 64 bits as the caller has them, if not given.
    """
    x64 = jnp.result_type(float) == jnp.float64
    settings = (lambda: _ambient.settled(x64)) if settings is None else settings
    pool, rest = ThreadPoolExecutor(1), iter(items)

    def call(item: Item) -> Result:
        with settings():
            return function(item)

    def begin() -> Future[Result] | None:
        for item in rest:
            return pool.submit(call, item)
        return None

    def results(present: Future[Result] | None) -> Generator[Result]:
        with pool:
            while present is not None:
                following = begin()
                yield present.result()
                present = following

    return results(begin())
