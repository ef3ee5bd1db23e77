"""What one update must cost: its operations and bytes, and the rates of this processor."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Work(NamedTuple):
    """Operations and bytes of one update of θ_eff by Adam in float32."""

    parameters: int
    flops: int
    bytes: int


def count(p: int, q: int, n: int = 20) -> Work:
    """Count one update: a product of r×c matrix and vector is 2rc operations.

    Forward: P12 w̃, n products x_iᵀ(·), their weighted sum, V̄21 h. Backward: V̄21ᵀ e, the
    same two passes over the tokens, and two outer products. Adam, for each parameter:
    3 operations for the first moment, 4 for the second, 7 for the step (two bias
    corrections, root, sum, quotient, rate, difference).

    Bytes, of four each: θ and both moments are read and written; P12 and V̄21 are read
    once more by the products, V̄21 a second time backwards; tokens are read once. The
    gradients need not leave the registers.

    Args:
        p: height of a token.
        q: number of parameters that the rule updates.
        n: transitions per window.
    """
    P12, V21 = p * (q + 1), q * p
    parameters = P12 + V21
    flops = 2 * P12 + 2 * V21 + 8 * n * p + 2 * V21 + parameters + 14 * parameters
    return Work(parameters, flops, 4 * (6 * parameters + P12 + 2 * V21 + n * p + 2 * q))


def best(function: Callable[[], object], seconds: float = 0.3) -> float:
    """The shortest of repeated calls, in seconds: the others were disturbed."""
    function()
    shortest, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        function()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


class Rates(NamedTuple):
    """Of one core, in float32, by NumPy: operations, and bytes within the second-level cache."""

    flops_per_second: float
    bytes_per_second: float


def rates(seconds: float = 0.3) -> Rates:
    """Measure them: a product of two 64×64 matrices, and a sum of two arrays of 128 kB."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.random((64, 64), np.float32) for _ in range(3))
    product = best(lambda: [np.matmul(a, b, out=c) for _ in range(20)], seconds) / 20
    x, y, z = (rng.random(32_768, np.float32) for _ in range(3))
    total = best(lambda: [np.add(x, y, out=z) for _ in range(20)], seconds) / 20
    return Rates(2 * 64**3 / product, 3 * x.nbytes / total)


def floor_seconds(work: Work, machine: Rates) -> float:
    """The longer of the time for the operations and the time for the bytes."""
    return max(work.flops / machine.flops_per_second, work.bytes / machine.bytes_per_second)
