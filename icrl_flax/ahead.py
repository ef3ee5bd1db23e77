"""Work done one item ahead, in a thread beside the caller's."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax
import jax.numpy as jnp

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map(function, items)`, each result made while the caller works on the one before.

    JAX orders what one thread asks of a device, so two programs run at the same
    time only if two threads start them.

    Args:
        function: called in order, never twice at a time; it must wait for its own result.
        items: what to call it with.
    """
    x64 = jnp.result_type(float) == jnp.float64  # the mode belongs to the thread

    def call(item: Item) -> Result:
        with jax.enable_x64(x64):
            return function(item)

    with ThreadPoolExecutor(1) as pool:
        present: Future[Result] | None = None
        for item in items:
            following = pool.submit(call, item)
            if present is not None:
                yield present.result()
            present = following
        if present is not None:
            yield present.result()
