"""Work done one item ahead, in a thread beside the caller's."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax
import jax.numpy as jnp

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, each result made while the caller works on the one before.

    The first is begun at once, before the caller asks for it. JAX orders what one
    thread asks of a device, so two programs run at the same time only if two
    threads start them.

    Args:
        function: called in order, never twice at a time; it must wait for its own result.
        items: what to call it with.
    """
    x64 = jnp.result_type(float) == jnp.float64  # the mode belongs to the thread
    pool, rest = ThreadPoolExecutor(1), iter(items)

    def call(item: Item) -> Result:
        with jax.enable_x64(x64):
            return function(item)

    def begin() -> Future[Result] | None:
        for item in rest:
            return pool.submit(call, item)
        return None

    def results(present: Future[Result] | None) -> Iterator[Result]:
        with pool:
            while present is not None:
                following = begin()
                yield present.result()
                present = following

    return results(begin())
