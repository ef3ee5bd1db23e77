"""The library's own settings of JAX, whatever the caller's are.

A result must not depend on flags that somebody set for other work. Each function
whose numbers would depend on one runs under `settled`, and so does every thread that
the library starts: JAX keeps these settings for each thread apart.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")

PRNG = {"implementation": "threefry2x32", "partitionable": True}
"""How random numbers are made: part of every record."""


@functools.cache
def quick_compiler(level: int) -> dict[str, Any]:
    """`compiler_options` for programs that do not run for long; those that this XLA knows.

    Level 0 is for one that runs once: two thirds of the time went into its optimisation. With
    level 1 a program is ready in a third of the time, and as fast as ever where loops of small
    operations are its work.
    """
    options = {"xla_backend_optimization_level": level, "xla_cpu_use_fusion_emitters": False}
    return _known(options)


@functools.cache
def loop_compiler() -> dict[str, Any]:
    """`compiler_options` for training, a long loop of small operations, on a processor.

    Without the compiler's last optimisations its programs are ready in three quarters of the
    time, and no slower. Nothing for other devices, nor where the compiler is told to optimise
    even less.
    """
    if jax.default_backend() != "cpu" or jax.config.read("jax_disable_most_optimizations"):
        return {}
    return _known({"xla_backend_optimization_level": 1, "xla_cpu_parallel_codegen_split_count": 1})


def compiled(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Equinox's `filter_jit` with `compiler_options`; for top-level calls only, says JAX."""
    # Equinox hands what it does not know on to `jax.jit`, but its annotations do not say so.
    rest: Any = {"compiler_options": options}
    return eqx.filter_jit(function, **rest)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    known = {}
    for name, value in options.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
            known[name] = value
    return known


def full_precision(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Run (and trace) `function` with matrix products in the precision of their inputs.

    On a GPU JAX may round the factors of a float32 product to ten bits of
    mantissa. Training here ends at squared errors of 1e-12, which that would hide.
    """

    @functools.wraps(function)
    def wrapped(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return wrapped


@contextlib.contextmanager
def settled(x64: bool | None = None) -> Iterator[None]:
    """Everything of JAX's state that numbers depend on, set to the library's own.

    Also a decorator, of functions that all run under it.

    A loss that is not finite is a result here, so JAX's checks for NaN are off.

    Args:
        x64: whether 64-bit numbers exist; as the caller has it, if not given.
    """
    if x64 is None:
        x64 = jnp.result_type(float) == jnp.float64
    with contextlib.ExitStack() as stack:
        for setting in (
            jax.enable_x64(x64),
            jax.default_matmul_precision("highest"),
            jax.default_prng_impl(PRNG["implementation"]),
            jax.threefry_partitionable(PRNG["partitionable"]),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.debug_key_reuse(False),
            jax.disable_jit(False),
        ):
            stack.enter_context(setting)
        yield


def key(seed: Any) -> jax.Array:
    """The key of a seed from 0 to 2⁶³ − 1, whatever the caller's settings.

    Without 64-bit numbers JAX would cut the seed, so that 2³² were 0.
    """
    with settled(x64=True):
        return jax.random.key(seed)
