"""What one update descends: half a mean squared error, of parameters or of values."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def sample_loss(predicted: Float[Array, " q"], target: Float[Array, " q"]) -> Float[Array, ""]:
    """½‖TF_θ(H) − teacher‖², whose mean over windows is L(θ), eq. (6)."""
    error = predicted - target
    return error @ error / 2


class Examples(eqx.Module):
    """What the block sees and should answer: a batch over the leading axes.

    Args:
        tokens: x_i, one row per transition.
        u: the parameters before the window's update.
        target: the teacher's parameters after it.
    """

    tokens: Float[Array, "*batch n p"]
    u: Float[Array, "*batch q"]
    target: Float[Array, "*batch q"]

    @property
    def is_batch(self) -> bool:
        """Whether there is a leading axis."""
        return self.u.ndim > 1

    def loss(self, block: Any) -> Float[Array, ""]:
        """½‖TF_θ(H) − teacher‖² of one example."""
        return sample_loss(block.update(self.tokens, self.u), self.target)


class Walks(eqx.Module):
    """A walk through an MDP, looked at through a window that moves on by one transition.

    Window k holds n transitions from the k-th on, and its query is the state in which
    transition n + k + 1 begins: as Wang et al. (arXiv:2405.13861) have it, the transition
    between the two is in no prompt. A batch over the leading axes.

    Args:
        tokens: x_i of each transition but the last ones, n + k of them.
        queries: φ of each query, k + 1 of them.
        target: what to add to the discounted value of the next query, for each but the
            last: a reward where TD(0) is the objective, or else the whole answer.
        discounts: γ, or 0 where an episode ended; 0 everywhere unless TD(0) is the objective.
    """

    tokens: Float[Array, "*batch steps p"]
    queries: Float[Array, "*batch asked d"]
    target: Float[Array, "*batch k"]
    discounts: Float[Array, "*batch k"]

    @property
    def is_batch(self) -> bool:
        """Whether there is a leading axis."""
        return self.target.ndim > 1

    def loss(self, block: Any) -> Float[Array, ""]:
        """½ of the mean squared error of the block's values.

        The value of the next query, in the target of TD(0), is not differentiated.
        """
        k = self.target.shape[0]
        n = self.tokens.shape[0] - k
        windows = self.tokens[jnp.arange(k + 1)[:, None] + jnp.arange(n)]
        values = jax.vmap(block.values)(windows, self.queries[:, None])[:, 0]
        following = jax.lax.stop_gradient(values[1:])
        errors = self.target + self.discounts * following - values[:-1]
        return errors @ errors / (2 * k)
