"""The optimal manifold M = {θ̄(c) = (c P⋆12, c⁻¹ V̄⋆21)}, its tube, and the scale of a flow.

eqs. (9) and (10), and the conservation law that decides which c a flow reaches.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective


def inner(first: Effective, second: Effective) -> Float[Array, ""]:
    """⟨·,·⟩ of two pairs of matrices: the Frobenius product of both blocks, added."""
    return jnp.vdot(first.P12, second.P12) + jnp.vdot(first.V21, second.V21)


def norm(delta: Effective) -> Float[Array, ""]:
    """‖Δ‖ = √(‖U‖²_F + ‖W‖²_F)."""
    return jnp.sqrt(inner(delta, delta))


def tangent(optimum: Effective, c: float | Float[Array, ""]) -> Effective:
    """dθ̄/dc = (P⋆12, −c⁻² V̄⋆21), the direction of the manifold at θ̄(c)."""
    _checks.non_zero("c", c)
    return Effective(optimum.P12, -optimum.V21 / c**2)


def project_normal(optimum: Effective, c: float | Float[Array, ""], delta: Effective) -> Effective:
    """The part of Δ in N_c = {(U, W): ⟨U, P⋆12⟩ = c⁻² ⟨W, V̄⋆21⟩}, the normal space at θ̄(c)."""
    along = tangent(optimum, c)
    share = inner(delta, along) / inner(along, along)
    return Effective(*(d - share * a for d, a in zip(delta, along, strict=True)))


def tube_points(
    key: Key[Array, ""],
    optimum: Effective,
    interval: tuple[float, float],
    radius: float,
    count: int,
) -> tuple[Float[Array, " count"], Effective]:
    """Random points θ̄(c) + Δ of the tube T_r(I), eq. (10).

    c is log-uniform on I and the direction of Δ uniform on the sphere of N_c; ‖Δ‖/r is
    log-uniform on (10⁻³, 1), because a ball's volume has nearly all points at its rim.

    Args:
        key: randomness.
        optimum: (P⋆12, V̄⋆21).
        interval: I = [c₋, c₊] with 0 < c₋ ≤ c₊.
        radius: r > 0.
        count: how many points.

    Returns:
        The scales c, and Δ with one leading axis.
    """
    _checks.interval("interval", interval)
    _checks.positive("radius", radius)
    _checks.positive_integer("count", count)
    c_key, p_key, v_key, r_key = jax.random.split(key, 4)
    low, high = interval
    dtype = optimum.P12.dtype
    c = jnp.exp(jax.random.uniform(c_key, (count,), dtype, jnp.log(low), jnp.log(high)))
    raw = Effective(
        jax.random.normal(p_key, (count, *optimum.P12.shape), dtype),
        jax.random.normal(v_key, (count, *optimum.V21.shape), dtype),
    )
    length = radius * 10 ** jax.random.uniform(r_key, (count,), dtype, -3, 0)

    def place(c, raw, length):
        normal = project_normal(optimum, c, raw)
        size = norm(normal)
        return jax.tree.map(lambda leaf: leaf * (length / size), normal)

    return c, jax.vmap(place)(c, raw, length)


def nearest_scale(theta: Effective, optimum: Effective) -> float:
    """The c ≠ 0 whose θ̄(c) is nearest to θ.

    ‖θ − θ̄(c)‖² is stationary where ‖P⋆‖² c⁴ − ⟨P, P⋆⟩ c³ + ⟨V, V⋆⟩ c − ‖V⋆‖² = 0; the
    best real root is taken, of either sign.
    """
    pp, vv = (float(jnp.vdot(block, block)) for block in optimum)
    along_p, along_v = (
        float(jnp.vdot(block, best)) for block, best in zip(theta, optimum, strict=True)
    )
    roots = np.roots([pp, -along_p, 0, along_v, -vv])
    real = roots[np.abs(roots.imag) <= 1e-7 * np.abs(roots)].real
    cost = real**2 * pp - 2 * real * along_p + vv / real**2 - 2 * along_v / real
    return float(real[np.argmin(cost)])


def nearest_scales(theta: Effective, optimum: Effective) -> Float[np.ndarray, " batch"]:
    """`nearest_scale` of each θ of a batch."""
    pairs = zip(*map(np.asarray, theta), strict=True)
    return np.array([nearest_scale(Effective(*pair), optimum) for pair in pairs])


def conserved(theta: Effective) -> Float[Array, ""]:
    """‖P12‖²_F − ‖V̄21‖²_F, which the gradient flow of L does not change.

    L is the same at (s P12, s⁻¹ V̄21) for every s, so its gradient is orthogonal to
    (P12, −V̄21), half of which is the gradient of this quantity.
    """
    return jnp.vdot(theta.P12, theta.P12) - jnp.vdot(theta.V21, theta.V21)


def predicted_scale(
    optimum: Effective, invariant: float | Float[Array | np.ndarray, "*batch"]
) -> Float[Array, "*batch"]:
    """|c| of the point ±θ̄(c) at which the conserved quantity has the given value.

    c² is the positive root of c²‖P⋆12‖² − c⁻²‖V̄⋆21‖² = invariant.
    """
    pp, vv = (jnp.vdot(block, block) for block in optimum)
    root = jnp.sqrt(invariant**2 + 4 * pp * vv)
    # The second form avoids a difference of near-equals for negative invariants.
    square = jnp.where(invariant >= 0, (invariant + root) / (2 * pp), 2 * vv / (root - invariant))
    return jnp.sqrt(square)
