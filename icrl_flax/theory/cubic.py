"""The loss with all four blocks of Lemma C.1: P22 and V̄22 away from 0.

The cubic term (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃) is linear in V̄22 ⊗ P22 with the feature
w̃ ⊗ w̃ ⊗ w̃, so the loss is again an exact polynomial, over (Σ̂ ⊗ w̃, w̃ ⊗ w̃ ⊗ w̃).
"""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.rules.base import Rule
from icrl_flax.theory.moments import fold_pairs
from icrl_flax.theory.population import Population, xavier_starts


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

    @property
    def outer(self) -> Effective:
        """(P12, V̄21), which are all that the constructions use."""
        return Effective(self.P12, self.V21)

    @property
    def S(self) -> Float[Array, "*batch width width"]:
        """The symmetric part of P22, the only one that the loss sees."""
        return (self.P22 + jnp.swapaxes(self.P22, -1, -2)) / 2

    @property
    def K(self) -> Float[Array, "*batch width width"]:
        """The antisymmetric part of P22, which the gradient flow leaves alone."""
        return self.P22 - self.S

    @property
    def squares(self) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """‖S‖² and ‖V̄22‖²; the flow conserves their difference J."""
        return (self.S**2).sum((-2, -1)), (self.V22**2).sum((-2, -1))


def cubic_starts(
    rule: Rule, seeds: Iterable[int], gain: float = 0.1, p_gain: float = 1.0, v_gain: float = 1.0
) -> CubicTheta:
    """Xavier-normal blocks, one for each seed, stacked.

    Args:
        rule: its sizes are used.
        seeds: of the starts.
        gain: of P12 and V̄21, which are those of `xavier_starts`.
        p_gain: of P22.
        v_gain: of V̄22.
    """
    seeds, q = list(seeds), rule.q
    normal = jax.nn.initializers.xavier_normal()
    P22, V22 = (
        jnp.stack(
            [normal(jax.random.fold_in(jax.random.key(3 + k), s), shape, float) for s in seeds]
        )
        for k, shape in enumerate(((q + 1, q + 1), (q, q + 1)))
    )
    outer = xavier_starts(rule, seeds, 1.0)
    return CubicTheta(gain * outer.P12, gain * outer.V21, p_gain * P22, v_gain * V22)


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
