"""What symmetry leaves of the second and fourth moments, for SARSA and random features.

If the features are independent with one symmetric law, the windows have the same law after a
change of signs and a permutation of the d features. Expectations of matrices over the
parameters then commute with this group. The parameters split into five irreducible kinds,

    trace           the traces of the four d × d blocks, and one number     5 copies
    vector          the four columns and rows with d entries                4 copies of d
    diagonal        the diagonals without their mean                        4 copies of d − 1
    symmetric       the symmetric part off the diagonal                     4 copies of d(d−1)/2
    antisymmetric   the antisymmetric part                                  4 copies of d(d−1)/2

and a symmetric matrix that commutes with the group is one small symmetric matrix for each
kind: 55 numbers, whatever d is. The four d × d blocks are U's of (φ, w), U's of (γφ⁺, w), W's
of φ and W's of γφ⁺; the four vectors are U's of (φ, 1), of (γφ⁺, 1), of (r, w), and W's of r.
"""

import itertools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.population import Population

KINDS = ("trace", "vector", "diagonal", "symmetric", "antisymmetric")
_COPIES = (5, 4, 4, 4, 4)
_POWERS = {  # of c, by which J's copies grow: −1 for U, 1 for W
    "trace": np.array([-1, -1, 1, 1, -1]),
    "vector": np.array([-1, -1, -1, 1]),
    "diagonal": np.array([-1, -1, 1, 1]),
    "symmetric": np.array([-1, -1, 1, 1]),
    "antisymmetric": np.array([-1, -1, 1, 1]),
}
_ENDS = np.cumsum([0, *(k * k for k in _COPIES)])

Blocks = dict[str, Float[np.ndarray, "k k"]]
"""A symmetric matrix that commutes with the group: one small matrix for each kind."""


class Invariants(NamedTuple):
    """E[JᵀJ] and S ↦ E[Jᵀ(J S Jᵀ)J], averaged over signs and permutations of the features.

    J is the linear map Δ ↦ X of one window at θ̄(1).

    Attributes:
        d: number of features.
        hessian: E[JᵀJ], by kind.
        quartic: the second map, on the small matrices written out one after the other.
        dims: dimension of each kind.
    """

    d: int
    hessian: Blocks
    quartic: Float[np.ndarray, "numbers numbers"]
    dims: dict[str, int]

    def hessian_at(self, c: float) -> Blocks:
        """The Hessian at θ̄(c), by kind."""
        _checks.non_zero("c", c)
        return {kind: _scaled(block, kind, c) for kind, block in self.hessian.items()}

    def quartic_at(self, c: float, S: Blocks) -> Blocks:
        """E[Jᵀ(J S Jᵀ)J] at θ̄(c)."""
        _checks.non_zero("c", c)
        flat = np.concatenate([_scaled(S[kind], kind, c).ravel() for kind in KINDS])
        image = self.quartic @ flat
        return {
            kind: _scaled(image[a:b].reshape(k, k), kind, c)
            for kind, k, a, b in zip(KINDS, _COPIES, _ENDS, _ENDS[1:], strict=False)
        }

    def eigenvalues(self, c: float) -> Float[np.ndarray, " different"]:
        """The different eigenvalues of the Hessian at θ̄(c), without the zero, ascending."""
        found = np.concatenate([np.linalg.eigvalsh(x) for x in self.hessian_at(c).values()])
        return np.sort(found)[1:]

    def mean_square_threshold(self, c: float) -> float:
        """The learning rate up to which SGD is stable in mean square; see `sgd`."""
        return 1 / self.spectral_radius(c)

    def mean_square_growth(self, c: float, rate: float) -> float:
        """log ρ(𝓣) of S ↦ E[(I − ηJᵀJ) S (I − ηJᵀJ)] on N_c: growth of E‖Δ‖² per update.

        Args:
            c: scale of the point θ̄(c).
            rate: learning rate η.
        """
        _checks.positive("rate", rate)
        H = self.hessian_at(c)
        normal = {}
        for kind, block in H.items():
            rates, vectors = np.linalg.eigh(block)
            vectors = vectors[:, rates > 1e-10 * rates.max()]
            normal[kind] = vectors @ vectors.T

        def image(flat):
            S = {
                kind: normal[kind] @ flat[a:b].reshape(k, k) @ normal[kind]
                for kind, k, a, b in zip(KINDS, _COPIES, _ENDS, _ENDS[1:], strict=False)
            }
            noise = self.quartic_at(c, S)
            moved = [S[k] - rate * (H[k] @ S[k] + S[k] @ H[k]) + rate**2 * noise[k] for k in KINDS]
            return np.concatenate([x.ravel() for x in moved])

        matrix = np.stack([image(row) for row in np.eye(_ENDS[-1])], axis=1)
        return float(np.log(np.abs(np.linalg.eigvals(matrix)).max()))

    def spectral_radius(self, c: float) -> float:
        """Spectral radius of 𝓐⁻¹𝓑: 𝓐S = HS + SH, 𝓑S = E[JᵀJ S JᵀJ]."""
        return self._top(c)[0]

    def _top(self, c: float) -> tuple[float, Blocks]:
        """The same with its eigenmatrix, of trace 1."""
        solve = {kind: _lyapunov(block) for kind, block in self.hessian_at(c).items()}
        S = {kind: np.eye(k) for kind, k in zip(KINDS, _COPIES, strict=True)}
        value = 0.0
        for _ in range(10_000):
            image = self.quartic_at(c, S)
            S = {kind: solve[kind](image[kind]) for kind in KINDS}
            before, value = value, sum(np.trace(S[kind]) * self.dims[kind] for kind in KINDS)
            S = {kind: block / value for kind, block in S.items()}
            if abs(value - before) <= 1e-13 * value:
                break
        return float(value), S

    def top_directions(self, c: float, count: int, seed: int = 0) -> Effective:
        """Gaussian Δ whose second moment is the top eigenmatrix of 𝓐⁻¹𝓑.

        At the threshold E‖Δ_k‖² of SGD stays what it is from these starts.

        Args:
            c: scale of the point θ̄(c).
            count: how many.
            seed: of the draws.
        """
        _, S = self._top(c)
        d, rng = self.d, np.random.default_rng(seed)
        roots = {kind: _square_root(S[kind]) for kind in KINDS}
        raw = rng.normal(size=(count, 4, d, d))
        flat = raw * np.eye(d)
        mean = np.einsum("Nkii->Nk", flat)[:, :, None, None] / d * np.eye(d)
        off = (raw - flat) / 2
        flipped = np.swapaxes(off, 2, 3)
        parts = {
            "diagonal": flat - mean,
            "symmetric": off + flipped,
            "antisymmetric": off - flipped,
        }
        # Off the diagonal, halves of a sum of two numbers: a unit normal along each direction.
        squares = sum(np.einsum("st,Ntij->Nsij", roots[kind], parts[kind]) for kind in parts)
        trace = rng.normal(size=(count, 5)) @ roots["trace"]
        squares = squares + trace[:, :4, None, None] / np.sqrt(d) * np.eye(d)
        vectors = np.einsum("st,Nti->Nsi", roots["vector"], rng.normal(size=(count, 4, d)))
        U, W = np.zeros((count, 2 * d + 1, d + 1)), np.zeros((count, d, 2 * d + 1))
        U[:, :d, 1:], U[:, d : 2 * d, 1:] = squares[:, 0], squares[:, 1]
        U[:, :d, 0], U[:, d : 2 * d, 0] = vectors[:, 0], vectors[:, 1]
        U[:, 2 * d, 1:], U[:, 2 * d, 0] = vectors[:, 2], trace[:, 4]
        W[:, :, :d], W[:, :, d : 2 * d] = squares[:, 2], squares[:, 3]
        W[:, :, 2 * d] = vectors[:, 3]
        return Effective(jnp.asarray(U), jnp.asarray(W))


def _square_root(S: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def _scaled(block: np.ndarray, kind: str, c: float) -> np.ndarray:
    factors = abs(c) ** _POWERS[kind].astype(float)
    return block * factors[:, None] * factors


def _lyapunov(H: Float[np.ndarray, "k k"]):
    """Q ↦ S with HS + SH = Q on the range of H."""
    rates, vectors = scipy.linalg.eigh(H)
    moving = rates > 1e-10 * rates.max()
    rates, vectors = rates[moving], vectors[:, moving]
    sums = rates[:, None] + rates
    return lambda Q: vectors @ ((vectors.T @ Q @ vectors) / sums) @ vectors.T


def invariants(population: Population, other: Population | None = None) -> Invariants:
    """Average over a population, and over signs and permutations of its features.

    Args:
        population: SARSA's windows.
        other: as many windows, each to go with one of the first: then the quartic map is
            E[J₁ᵀ(J₁ S J₂ᵀ)J₂], the part of two windows together.

    Raises:
        ValueError: if the windows are not SARSA's, with d ≥ 2.
    """
    q, p = population.optimum.V21.shape
    if p != 2 * q + 1 or q < 2:
        raise ValueError(f"population must be of SARSA with d ≥ 2, got p = {p} and q = {q}")
    dims: dict[str, int] = dict(
        zip(KINDS, (1, q, q - 1, q * (q - 1) // 2, q * (q - 1) // 2), strict=True)
    )
    firsts, seconds = (
        (each.A, each.w, each.b) for each in (population, population if other is None else other)
    )
    traces, gram = (np.asarray(x) for x in _moments(firsts, seconds))
    each = np.repeat(list(dims.values()), [k * k for k in _COPIES])
    hessian = {
        kind: traces[a:b].reshape(k, k) / dims[kind]
        for kind, k, a, b in zip(KINDS, _COPIES, _ENDS, _ENDS[1:], strict=False)
    }
    return Invariants(q, hessian, gram / each[:, None], dims)


def signed_permutations(population: Population) -> Population:
    """SARSA's windows with all 2^d d! signed permutations of their features: for small d.

    Raises:
        ValueError: if the windows are not SARSA's, or have more than 3 features.
    """
    q, p = population.optimum.V21.shape
    if p != 2 * q + 1 or q > 3:
        raise ValueError(f"population must be of SARSA with d ≤ 3, got p = {p} and q = {q}")
    x, u = population.tokens, population.u
    tokens, parameters = [], []
    for order in itertools.permutations(range(q)):
        for signs in itertools.product((1.0, -1.0), repeat=q):
            g = jnp.eye(q)[jnp.array(order)] * jnp.array(signs)
            parts = x[..., :q] @ g.T, x[..., q : 2 * q] @ g.T, x[..., 2 * q :]
            tokens.append(jnp.concatenate(parts, axis=-1))
            parameters.append(u @ g.T)
    return Population(jnp.concatenate(tokens), jnp.concatenate(parameters), population.optimum)


@eqx.filter_jit
def _moments(firsts, seconds):
    """E[tr G] and E⟨G, G⟩ for the products G of J's copies, at c = 1."""

    def one(carry, pair):
        first, second = (_copies(*window) for window in pair)
        G = jnp.concatenate(
            [
                jnp.einsum("ksm,ltm->stkl", a, b).reshape(-1, a.shape[0] * b.shape[0])
                for a, b in zip(first, second, strict=True)
            ]
        )
        q = first[0].shape[0]
        trace = jnp.einsum("akk->a", G.reshape(-1, q, q))
        return (carry[0] + trace, carry[1] + G @ G.T), None

    size = firsts[0].shape[0]
    start = jnp.zeros(_ENDS[-1]), jnp.zeros((_ENDS[-1], _ENDS[-1]))
    total, _ = jax.lax.scan(one, start, (firsts, seconds))
    return total[0] / size, total[1] / size


def _copies(
    A: Float[Array, "q p"], w: Float[Array, " width"], b: Float[Array, " p"]
) -> list[Float[Array, "q k m"]]:
    """J's rows at c = 1, split into the copies of each kind."""
    d = A.shape[0]
    eye = jnp.eye(d)
    squares = jnp.stack(
        [
            A[:, :d, None] * w[1:],
            A[:, d : 2 * d, None] * w[1:],
            eye[:, :, None] * b[:d],
            eye[:, :, None] * b[d : 2 * d],
        ],
        axis=1,
    )
    vectors = jnp.stack(
        [A[:, :d], A[:, d : 2 * d], A[:, 2 * d, None] * w[1:], eye * b[2 * d]], axis=1
    )
    diagonal = jnp.einsum("ksii->ksi", squares)
    trace = jnp.concatenate([diagonal.sum(2) / jnp.sqrt(d), (A[:, 2 * d] * w[0])[:, None]], axis=1)
    off = squares * (1 - eye)
    flipped = jnp.swapaxes(off, 2, 3)
    return [
        trace[:, :, None],
        vectors,
        diagonal - diagonal.mean(2, keepdims=True),
        ((off + flipped) / 2).reshape(d, 4, -1),
        ((off - flipped) / 2).reshape(d, 4, -1),
    ]
