"""The population loss of small blocks as an exact polynomial in θ.

The error is linear in the tensor T = V̄21 ⊗ P12 − V̄⋆21 ⊗ P⋆12: it is ⟨T, Σ̂ ⊗ w̃⟩ in
each of its q entries. So L is a quadratic form in T whose matrix is the second moment
of Σ̂ ⊗ w̃, and once that is formed an evaluation no longer depends on the number of
windows. The matrix has (½ p(p+1)(q+1))² entries: 637² for d = 6, but 10¹⁰ for d = 36.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.theory.population import Population

_LARGEST = 8000  # features; their second moments then take 512 MB


class Moments(eqx.Module):
    """E[ψψᵀ] for ψ = Σ̂ ⊗ w̃, with each pair of equal entries of Σ̂ taken once.

    Args:
        second: E[ψψᵀ].
        optimum: (P⋆12, V̄⋆21).
    """

    second: Float[Array, "features features"]
    optimum: Effective

    @classmethod
    def of(cls, population: Population) -> "Moments":
        """Average over a population.

        Raises:
            ValueError: if the sizes are too large for this form of the loss.
        """
        p, q = population.optimum.P12.shape[0], population.u.shape[1]
        features = p * (p + 1) // 2 * (q + 1)
        if features > _LARGEST:
            raise ValueError(
                f"population must have at most {_LARGEST} features ½ p(p+1)(q+1) for its moments, "
                f"got {features} with p = {p} and q = {q}; use Population.loss"
            )
        rows, columns = np.triu_indices(p)
        second = np.zeros((features, features))
        for first in range(0, population.size, 4000):
            part = population.take(np.arange(first, min(first + 4000, population.size)))
            sigma = np.asarray(part.sigma)[:, rows, columns]
            psi = (sigma[:, :, None] * np.asarray(part.w)[:, None, :]).reshape(part.size, -1)
            second += psi.T @ psi
        return cls(jnp.asarray(second / population.size), population.optimum)

    def _tensor(self, c, delta: Effective) -> Float[Array, "q features"]:
        """T at θ̄(c) + Δ, written without cancellation, over the pairs i ≤ j of Σ̂."""
        U, W = delta
        P, V = self.optimum
        T = (
            jnp.einsum("ka,ij->kaij", V, U) / c
            + c * jnp.einsum("ka,ij->kaij", W, P)
            + jnp.einsum("ka,ij->kaij", W, U)
        )
        return fold_pairs(T)

    def loss(self, c: float | Float[Array, ""], delta: Effective) -> Float[Array, ""]:
        """L(θ̄(c) + Δ), eq. (6)."""
        T = self._tensor(c, delta)
        return (T * (T @ self.second)).sum() / 2

    def gradient(self, c: float | Float[Array, ""], delta: Effective) -> Effective:
        """∇L at θ̄(c) + Δ, with one product by the moments."""
        U, W = delta
        P, V = self.optimum
        # By hand: the compiler's transpose of the folding scatters, which takes twice as long.
        G = unfold_pairs(self._tensor(c, delta) @ self.second, len(P))
        return Effective(
            P12=jnp.einsum("ka,kaij->ij", V / c + W, G),
            V21=jnp.einsum("ij,kaij->ka", c * P + U, G),
        )


def fold_pairs(T: Float[Array, "q p p width"]) -> Float[Array, "q features"]:
    """Add T over the two places where a symmetric matrix has one entry."""
    q, p = T.shape[:2]
    rows, columns = np.triu_indices(p)
    both = T + jnp.swapaxes(T, 1, 2)
    half = jnp.where(rows == columns, 0.5, 1.0)[None, :, None]
    return (both[:, rows, columns] * half).reshape(q, -1)


def unfold_pairs(G: Float[Array, "q features"], p: int) -> Float[Array, "q p p width"]:
    """The transpose of `fold_pairs`: each pair's entry at both of its places."""
    rows, columns = np.triu_indices(p)
    pair = np.empty((p, p), int)
    pair[rows, columns] = pair[columns, rows] = np.arange(len(rows))
    return G.reshape(len(G), len(rows), -1)[:, pair]
