"""The loss with all four blocks of Lemma C.1: P22 and V̄22 away from 0.

The cubic term (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃) is linear in V̄22 ⊗ P22 with the feature
w̃ ⊗ w̃ ⊗ w̃, so the loss is again an exact polynomial, over (Σ̂ ⊗ w̃, w̃ ⊗ w̃ ⊗ w̃).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.theory.moments import fold_pairs
from icrl_flax.theory.population import Population


class CubicTheta(NamedTuple):
    """The four blocks that the output depends on.

    Attributes:
        P12, V21: the bilinear term's; V21 stands for V̄21.
        P22, V22: the cubic term's; V22 stands for V̄22.
    """

    P12: Float[Array, "p q+1"]
    V21: Float[Array, "q p"]
    P22: Float[Array, "q+1 q+1"]
    V22: Float[Array, "q q+1"]


class CubicMoments(eqx.Module):
    """E[ψψᵀ] for ψ = (Σ̂ ⊗ w̃, w̃ ⊗ w̃ ⊗ w̃ / n); small sizes only, as `Moments`.

    Args:
        second: E[ψψᵀ].
        optimum: (P⋆12, V̄⋆21).
    """

    second: Float[Array, "features features"]
    optimum: Effective

    @classmethod
    def of(cls, population: Population) -> "CubicMoments":
        """Average over a population."""
        n, p = population.tokens.shape[1:]
        rows, columns = np.triu_indices(p)
        parts = np.zeros(())
        for first in range(0, population.size, 4000):
            part = population.take(np.arange(first, min(first + 4000, population.size)))
            sigma, w = np.asarray(part.sigma)[:, rows, columns], np.asarray(part.w)
            bilinear = (sigma[:, :, None] * w[:, None, :]).reshape(part.size, -1)
            upper = np.triu_indices(w.shape[1])
            pairs = (w[:, :, None] * w[:, None, :])[:, *upper]
            cubic = (pairs[:, :, None] * w[:, None, :]).reshape(part.size, -1) / n
            psi = np.concatenate([bilinear, cubic], axis=1)
            parts = parts + psi.T @ psi
        return cls(jnp.asarray(parts / population.size), population.optimum)

    def _tensor(self, theta: CubicTheta) -> Float[Array, "q features"]:
        P, V = self.optimum
        bilinear = jnp.einsum("ka,ij->kaij", theta.V21, theta.P12) - jnp.einsum(
            "ka,ij->kaij", V, P
        )
        cubic = jnp.einsum("kj,ai->kaij", theta.V22, theta.P22)
        return jnp.concatenate([fold_pairs(bilinear), fold_pairs(cubic)], axis=1)

    def loss(self, theta: CubicTheta) -> Float[Array, ""]:
        """L(θ) = ½ E‖TF_θ(H) − teacher‖², eq. (6) with Lemma C.1's three terms."""
        T = self._tensor(theta)
        return (T * (T @ self.second)).sum() / 2

    def gradient(self, theta: CubicTheta) -> CubicTheta:
        """∇L(θ)."""
        T, pull_back = jax.vjp(self._tensor, theta)
        return pull_back(T @ self.second)[0]
