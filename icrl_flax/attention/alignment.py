"""How close trained weights are to the theory's, up to the symmetries of the loss.

The loss is the same at (c P12, c⁻¹ V̄21) for every c ≠ 0, of either sign, so a
trained block is compared with the construction after undoing its own c.

Several heads have more symmetry than a scale for each: they may mix. The block
depends on Σ_h V̄21_h ⊗ P12_h alone, which stays the same when the P12_h are
multiplied, as a column of H matrices, by any invertible H × H matrix G, and the
V̄21_h by its inverse transpose. A permutation of the heads and scales of their
own are special cases of G, and c is the case H = 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.attention.symmetry import mix
from icrl_flax.attention.weights import Effective


class Alignment(NamedTuple):
    """Trained blocks beside the theory's.

    Attributes:
        c: signed scale; the trained blocks are near θ̄(c) = (c P⋆12, c⁻¹ V̄⋆21).
            For H > 1 heads the H × H matrix G.
        aligned: the trained blocks with c undone.
        cosine: between `aligned` and (P⋆12, V̄⋆21), as one long vector.
        off_pattern: largest |entry| of `aligned` where the theory has a zero,
            relative to the largest where it has none; the worse of the two blocks.
    """

    c: Float[Array, "*heads_heads"]
    aligned: Effective
    cosine: Float[Array, ""]
    off_pattern: Float[Array, ""]


def align(trained: Effective, optimum: Effective) -> Alignment:
    """Undo the scale and sign of trained blocks and compare them with the theory's.

    c² is the ratio of the two blocks' components along the theory's, and c has
    the sign of P12's.

    For several heads G takes the place of c; see the top of this file.

    Args:
        trained: P12 and V̄21 of a block.
        optimum: P⋆12 and V̄⋆21 of the rule it was trained on.

    Raises:
        ValueError: if the blocks differ in shape.
    """
    if any(t.shape != o.shape for t, o in zip(trained, optimum, strict=True)):
        raise ValueError(
            f"trained must have the optimum's shapes {[o.shape for o in optimum]}, "
            f"got {[t.shape for t in trained]}"
        )
    undo = _undo_scale if trained.P12.ndim == 2 else _undo_mixing
    c, aligned = undo(trained, optimum)
    a, o = (jnp.concatenate([x.ravel() for x in pair]) for pair in (aligned, optimum))
    off_pattern = jnp.stack(
        [
            jnp.where(o == 0, jnp.abs(a), 0).max() / jnp.where(o != 0, jnp.abs(a), 0).max()
            for a, o in zip(aligned, optimum, strict=True)
        ]
    ).max()
    cosine = jnp.vdot(a, o) / (jnp.linalg.norm(a) * jnp.linalg.norm(o))
    return Alignment(c, aligned, cosine, off_pattern)


def _undo_scale(trained: Effective, optimum: Effective) -> tuple[Float[Array, ""], Effective]:
    """c and the blocks without it, for one head."""
    along_p, along_v = (
        jnp.vdot(t, o) / jnp.vdot(o, o) for t, o in zip(trained, optimum, strict=True)
    )
    c = jnp.sign(along_p) * jnp.sqrt(jnp.abs(along_p / along_v))
    return c, Effective(trained.P12 / c, trained.V21 * c)


def _undo_mixing(
    trained: Effective, optimum: Effective
) -> tuple[Float[Array, "heads heads"], Effective]:
    """G and the blocks without it, for several heads.

    The least-squares coefficients of the trained heads on the theory's are G for
    P12 and G⁻ᵀ for V̄21, if the blocks lie on the theory's manifold. Elsewhere the
    two disagree, by M = on_vᵀ on_p. What they disagree by is shared out evenly between
    them, and what they disagree in sign about is left in V̄21, as c does for one head:
    G = on_p |M|^(−1/2) with |M| = M sign(M), which has no eigenvalue below 0.
    """
    on_p, on_v = (
        jnp.linalg.lstsq(o.reshape(len(o), -1).T, t.reshape(len(t), -1).T)[0].T
        for t, o in zip(trained, optimum, strict=True)
    )
    M = on_v.T @ on_p
    G = on_p @ _inverse_root(M @ _sign(M))
    return G, mix(trained, jnp.linalg.inv(G))


def _inverse_root(A: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A^(−1/2) of a matrix without eigenvalues at or below 0: a block of sign [[0, A], [I, 0]]."""
    zero, eye = jnp.zeros_like(A), jnp.eye(len(A), dtype=A.dtype)
    return _sign(jnp.block([[zero, A], [eye, zero]]))[len(A) :, : len(A)]


def _sign(A: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The sign function of a matrix: each eigenvalue becomes the sign of its real part.

    By Newton's iteration X ← (μX + (μX)⁻¹) / 2 with μ = |det X|^(−1/n), since no
    decomposition into eigenvectors exists on every device. Of a singular matrix it is NaN.
    """

    def moves(state):
        X, change, count = state
        rounding = 10 * len(A) * jnp.finfo(A.dtype).eps
        return (change > rounding * jnp.linalg.norm(X)) & (count < 100)

    def newton(state):
        X, _, count = state
        X = X * jnp.exp(-jnp.linalg.slogdet(X)[1] / len(A))
        following = (X + jnp.linalg.inv(X)) / 2
        return following, jnp.linalg.norm(following - X), count + 1

    return jax.lax.while_loop(moves, newton, (A, jnp.asarray(jnp.inf, A.dtype), 0))[0]
