"""How close trained weights are to the theory's, up to the symmetries of the loss.

The loss is the same at (c P12, c⁻¹ V̄21) for every c ≠ 0, of either sign, so a
trained block is compared with the construction after undoing its own c.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from icrl_flax.prompt import Effective


class Alignment(NamedTuple):
    """Trained blocks beside the theory's.

    Attributes:
        c: signed scale; the trained blocks are near θ̄(c) = (c P⋆12, c⁻¹ V̄⋆21).
        aligned: the trained blocks with c undone.
        cosine: between `aligned` and (P⋆12, V̄⋆21), as one long vector.
        off_pattern: largest |entry| of `aligned` where the theory has a zero,
            relative to the largest where it has none; the worse of the two blocks.
    """

    c: Float[Array, ""]
    aligned: Effective
    cosine: Float[Array, ""]
    off_pattern: Float[Array, ""]


def align(trained: Effective, optimum: Effective) -> Alignment:
    """Undo the scale and sign of trained blocks and compare them with the theory's.

    c² is the ratio of the two blocks' components along the theory's, and c has
    the sign of P12's.

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
    along_p, along_v = (
        jnp.vdot(t, o) / jnp.vdot(o, o) for t, o in zip(trained, optimum, strict=True)
    )
    c = jnp.sign(along_p) * jnp.sqrt(jnp.abs(along_p / along_v))
    aligned = Effective(trained.P12 / c, trained.V21 * c)
    a, o = (jnp.concatenate([x.ravel() for x in pair]) for pair in (aligned, optimum))
    off_pattern = jnp.stack(
        [
            jnp.where(o == 0, jnp.abs(a), 0).max() / jnp.where(o != 0, jnp.abs(a), 0).max()
            for a, o in zip(aligned, optimum, strict=True)
        ]
    ).max()
    cosine = jnp.vdot(a, o) / (jnp.linalg.norm(a) * jnp.linalg.norm(o))
    return Alignment(c, aligned, cosine, off_pattern)
