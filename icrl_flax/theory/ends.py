"""Where flows from any starts end, against what the conservation law says of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from icrl_flax.attention.weights import Effective
from icrl_flax.theory.flow import Loss, settle
from icrl_flax.theory.manifold import conserved, inner, nearest_scales, predicted_scale
from icrl_flax.theory.population import offset, point


class Ends(NamedTuple):
    """One number for each flow.

    Attributes:
        invariant: ‖P12‖² − ‖V̄21‖² at the start.
        predicted: |c| that the conservation law gives.
        reached: the c whose θ̄(c) is nearest to the end, with its sign.
        loss: L at the end.
        time: t at the end; the longest time allowed if L did not fall far enough.
        drift: change of the invariant, relative to the larger ‖θ‖² of both ends.
    """

    invariant: Float[np.ndarray, " runs"]
    predicted: Float[np.ndarray, " runs"]
    reached: Float[np.ndarray, " runs"]
    loss: Float[np.ndarray, " runs"]
    time: Float[np.ndarray, " runs"]
    drift: Float[np.ndarray, " runs"]


def ends(
    loss: Loss, optimum: Effective, starts: Effective, until: float, longest: float = 1e6
) -> Ends:
    """Follow the gradient flow from each start until L < until.

    Flows count Δ from θ̄(1), so that no prediction enters the integration.

    Args:
        loss: L and ∇L.
        optimum: (P⋆12, V̄⋆21).
        starts: θ(0), one per run on the leading axis.
        until: loss at which a flow may stop.
        longest: time at which it has to.

    Raises:
        ValueError: as `settle`.
        RuntimeError: as `settle`.
    """
    runs = starts.P12.shape[0]
    settled = settle(loss, jnp.ones(runs), offset(starts, optimum, 1.0), until, longest)
    end = point(optimum, 1.0, settled.delta)
    before, after = jax.vmap(conserved)(starts), jax.vmap(conserved)(end)
    size = jnp.maximum(*(jax.vmap(inner)(theta, theta) for theta in (starts, end)))
    return Ends(
        invariant=np.asarray(before),
        predicted=np.asarray(predicted_scale(optimum, before)),
        reached=nearest_scales(end, optimum),
        loss=np.asarray(settled.loss),
        time=np.asarray(settled.time),
        drift=np.asarray(jnp.abs(after - before) / size),
    )
