"""Adam near the optima, on shuffled windows: its floor, and where its noise moves the scale.

Adam divides each entry's gradient by its root mean square over the windows. Near θ̄(c) that is
√D_i with D the diagonal of 𝓑S = E[JᵀJ S JᵀJ], S = E[ΔΔᵀ]. To first order in the learning rate

    dS = −η (D^{-1/2} H S + S H D^{-1/2}) + η² D^{-1/2} (𝓑S) D^{-1/2}     per update,

whose rest point is η² times a fixed matrix: the loss stands at a constant times η². The same
squares move the scale, which gradient flow conserves.
"""

from typing import NamedTuple

import numpy as np
import scipy.integrate
import scipy.interpolate
from jaxtyping import Float

from icrl_flax import _checks
from icrl_flax.theory.invariant import KINDS, Blocks, Invariants


class AdamNoise(NamedTuple):
    """What constant-rate Adam does at θ̄(c), in units of its learning rate η.

    Attributes:
        floor: L/η².
        drift: dc/dτ with τ = Σ η².
    """

    floor: float
    drift: float


def adam_noise(moments: Invariants, c: float, alpha: float) -> AdamNoise:
    """The rest point of Adam's noise at θ̄(c), c > 0, by damped iteration.

    Args:
        moments: SARSA's, over the windows.
        c: scale.
        alpha: SARSA's step size α, whose multiple V̄⋆21 is.

    Raises:
        RuntimeError: if the iteration does not settle.
    """
    _checks.positive("c", c)
    _checks.positive("alpha", alpha)
    hessian = moments.hessian_at(c)
    roots = {kind: _root(block) for kind, block in hessian.items()}
    S = {kind: np.eye(len(block)) for kind, block in hessian.items()}
    for _ in range(1000):
        noise = moments.quartic_at(c, S)
        scale = _preconditioner(moments.d, noise)
        new = {kind: _rest(*roots[kind], scale[kind], noise[kind]) for kind in KINDS}
        change = max(np.abs(S[k] - new[k]).max() / np.abs(new[k]).max() for k in KINDS)
        S = {kind: (S[kind] + new[kind]) / 2 for kind in KINDS}
        if change < 1e-9:
            break
    else:
        raise RuntimeError(f"Adam's noise at c = {c} did not settle in 1000 iterations")
    traces = [moments.dims[k] * np.trace(hessian[k] @ S[k]) for k in KINDS]
    scale = _preconditioner(moments.d, moments.quartic_at(c, S))
    d, on, off = moments.d, scale["trace"], scale["symmetric"]
    # Sums of root mean squares of the gradient's entries, over P12 and over V̄21.
    over_p = d * on[:2].sum() + d * (d - 1) * off[:2].sum() + d * scale["vector"][:3].sum() + on[4]
    over_v = d * on[2:4].sum() + d * (d - 1) * off[2:].sum() + d * scale["vector"][3]
    along = c * (d * on[0] + d * on[1] + on[4]) + alpha**2 * d * on[2] / c**3
    return AdamNoise(float(sum(traces) / 2), float((over_p - over_v) / (2 * along)))


def adam_scale(
    moments: Invariants,
    start: float,
    times: Float[np.ndarray, " T"],
    alpha: float,
    interval: tuple[float, float] = (0.1, 2.0),
) -> Float[np.ndarray, " T"]:
    """c after Σ η² = τ, from dc/dτ = `AdamNoise.drift`, and c = start at τ = 0.

    Args:
        moments: SARSA's, over the windows.
        start: c at τ = 0.
        times: τ, increasing.
        alpha: SARSA's step size.
        interval: the drift is interpolated between 25 scales of it.
    """
    _checks.interval("interval", interval)
    grid = np.geomspace(*interval, 25)
    drift = [adam_noise(moments, c, alpha).drift for c in grid]
    curve = scipy.interpolate.CubicSpline(np.log(grid), drift)
    path = scipy.integrate.solve_ivp(
        lambda _, c: curve(np.log(c)), (0, times[-1]), [start], t_eval=times, rtol=1e-8
    )
    return path.y[0]


def _root(H: Float[np.ndarray, "k k"]) -> tuple[np.ndarray, np.ndarray]:
    """H^{1/2} and its pseudo-inverse."""
    rates, vectors = np.linalg.eigh(H)
    moving = rates > 1e-10 * rates.max()
    roots, vectors = np.sqrt(rates[moving]), vectors[:, moving]
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _preconditioner(d: int, noise: Blocks) -> dict[str, np.ndarray]:
    """√D for each copy of each kind: D is the diagonal of an invariant matrix."""
    on = (np.diag(noise["trace"])[:4] + (d - 1) * np.diag(noise["diagonal"])) / d
    off = np.sqrt((np.diag(noise["symmetric"]) + np.diag(noise["antisymmetric"])) / 2)
    return {
        "trace": np.sqrt(np.append(on, noise["trace"][4, 4])),
        "vector": np.sqrt(np.diag(noise["vector"])),
        "diagonal": np.sqrt(on),
        "symmetric": off,
        "antisymmetric": off,
    }


def _rest(root, inverse, scale, noise) -> np.ndarray:
    """S of D^{-1/2}HS + SHD^{-1/2} = D^{-1/2} N D^{-1/2}, on the range of H.

    With R = H^{1/2} S H^{1/2} and K = H^{1/2} D^{-1/2} H^{1/2} it is KR + RK = a symmetric matrix.
    """
    K = root / scale @ root
    rates, vectors = np.linalg.eigh(K)
    moving = rates > 1e-10 * rates.max()
    rates, vectors = rates[moving], vectors[:, moving]
    Q = vectors.T @ (root / scale @ noise / scale @ root) @ vectors
    R = vectors @ (Q / (rates + rates[:, None])) @ vectors.T
    return inverse @ R @ inverse
