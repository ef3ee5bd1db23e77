"""An explicit solver for gradient flows whose fastest modes have died out.

A Runge–Kutta–Chebyshev method of order two with s stages is stable for steps up to
0.65 (s² − 1)/λ_max, where Tsitouras' pair with its six evaluations stops at about 3.5/λ_max.
So it gains where stability and not accuracy bounds the step: large blocks, whose fastest
modes are thousands of times faster than their slowest.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import numpy as np
from numpy.polynomial import Chebyshev as Series

_DAMPING = 2 / 13


class RungeKuttaChebyshev(diffrax.AbstractSolver):
    """The method of Sommeijer, Shampine and Verwer (1997), for autonomous equations.

    Args:
        stages: evaluations per step, at least 2.
    """

    stages: int = eqx.field(static=True, default=8)

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable] = diffrax.ThirdOrderHermitePolynomialInterpolation

    def order(self, terms: Any) -> int:
        """Two."""
        return 2

    def error_order(self, terms: Any) -> int:
        """The error estimate is of order three in the step."""
        return 3

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The slope at the start, which the first step needs."""
        return terms.vf(t0, y0, args)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The slope."""
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Any, Any, dict[str, Any], Any, diffrax.RESULTS]:
        """One step, with an error estimate from the slopes at both of its ends."""
        h, slope = terms.contr(t0, t1), solver_state
        b, w0, w1, a = _coefficients(self.stages)

        def mix(*pairs):
            return jax.tree.map(
                lambda *leaves: sum(k * leaf for (k, _), leaf in zip(pairs, leaves, strict=True)),
                *(tree for _, tree in pairs),
            )

        before, now = y0, mix((1.0, y0), (b[1] * w1 * h, slope))
        for j in range(2, self.stages + 1):
            mu, nu = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2]
            stride = 2 * b[j] * w1 / b[j - 1] * h
            here = terms.vf(t0, now, args)
            after = mix(
                (1 - mu - nu, y0),
                (mu, now),
                (nu, before),
                (stride, here),
                (-a[j - 1] * stride, slope),
            )
            before, now = now, after
        end = terms.vf(t1, now, args)
        error = mix((0.8, y0), (-0.8, now), (0.4 * h, slope), (0.4 * h, end))
        dense = {"y0": y0, "y1": now, "k0": mix((h, slope)), "k1": mix((h, end))}
        return now, error, dense, end, diffrax.RESULTS.successful


def _coefficients(stages: int) -> tuple[np.ndarray, float, float, np.ndarray]:
    """b_j, w₀, w₁ and a_j = 1 − b_j T_j(w₀)."""
    w0 = 1 + _DAMPING / stages**2
    T = [Series.basis(j) for j in range(stages + 1)]
    value, first, second = (
        np.array([float((t.deriv(k) if k else t)(w0)) for t in T]) for k in range(3)
    )
    b = np.zeros(stages + 1)
    b[2:] = second[2:] / first[2:] ** 2
    b[:2] = b[2]
    return b, w0, float(first[-1] / second[-1]), 1 - b * value
