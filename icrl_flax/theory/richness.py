"""Assumption 1, computed: how richly the training windows excite the block.

ρ of item (5) is a matter of canonical correlations. E⟨A U w̃, W b⟩ is bilinear in U and
W, so after whitening vec(U) by E[AᵀA ⊗ w̃w̃ᵀ] and vec(W) by I ⊗ E[bbᵀ] its extremes are
the singular values of one matrix M. The top pair is (P⋆12, V̄⋆21) with value 1: moving
along the manifold. Scaling U and W by positive numbers changes no correlation, so "over
N_c" means "over the pairs for which ⟨U, P⋆12⟩ and ⟨W, V̄⋆21⟩ have the same sign", for
every c. On them the most *negative* correlation is attained at the border, where one of
the two products is 0: it is the larger of the top singular values of M with one side
projected off P⋆12 or V̄⋆21.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.control.tasks import draw_task
from icrl_flax.experience.rollout import rollout
from icrl_flax.experience.window import Window
from icrl_flax.mdps.families import MDPFamily
from icrl_flax.rules.base import Rule
from icrl_flax.rules.sarsa import Sarsa
from icrl_flax.theory.moments import Moments
from icrl_flax.theory.population import Population
from icrl_flax.theory.spectrum import (
    Products,
    SecondMoments,
    pair_numbers,
    second_moments,
    start_vector,
    top_singular_value,
)

_ZERO = 1e-12  # relative to the trace: below it, an eigenvalue is rounding
_LARGE = 500  # rows from which Lanczos beats a dense eigenvalue solver


class Richness(NamedTuple):
    """The constants of Assumption 1 for one population.

    Attributes:
        B_x: the largest ‖x_i‖² of any token. The paper's B_Σ = 2B_φ² + B_r² bounds it.
        B_w: the largest ‖w̃‖.
        kappa_w: λ_min E[w̃w̃ᵀ], item (2).
        kappa_a: λ_min E[AᵀA ⊗ w̃w̃ᵀ] with A = V̄⋆21 Σ̂: the joint excitation that the proof
            needs in place of items (2) and (3). For SARSA it is α² times that of R.
        kappa_q: λ_min E[bbᵀ], item (4).
        rho: the ρ of item (5), read as a lower bound; NaN where kappa_a or kappa_q is 0.
            A kappa below 1e-12 of its matrix's trace is rounding, and given as 0.
        sigma_2: the second largest canonical correlation, likewise.
    """

    B_x: float
    B_w: float
    kappa_w: float
    kappa_a: float
    kappa_q: float
    rho: float
    sigma_2: float


def richness(population: Population, moments: SecondMoments | None = None) -> Richness:
    """The constants of Assumption 1 on a population.

    Args:
        population: the windows.
        moments: their second moments, if they have been computed already.
    """
    moments = second_moments(population) if moments is None else moments
    kappa_a, kappa_q = _smallest(moments.uu), _smallest(moments.bb)
    rho, sigma_2 = _correlations(moments) if kappa_a > 0 and kappa_q > 0 else (float("nan"),) * 2
    return Richness(
        B_x=float((population.tokens**2).sum(-1).max()),
        B_w=float(jnp.sqrt((population.w**2).sum(-1).max())),
        kappa_w=_smallest(moments.ww),
        kappa_a=kappa_a,
        kappa_q=kappa_q,
        rho=rho,
        sigma_2=sigma_2,
    )


def _smallest(matrix: Float[np.ndarray, "k k"]) -> float:
    """The smallest eigenvalue of a positive semi-definite matrix; 0 if it is rounding."""
    low = _by_inverse(matrix) if matrix.shape[0] >= _LARGE else None
    if low is None:
        low = scipy.linalg.eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0]
    return float(low) if low > _ZERO * np.trace(matrix) else 0.0


def _by_inverse(matrix: Float[np.ndarray, "k k"]) -> float | None:
    """The same by Lanczos on the inverse, ten times faster; None if the matrix is singular."""
    try:
        factor = scipy.linalg.cho_factor(matrix, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None

    def solve(v):
        return scipy.linalg.cho_solve(factor, v, check_finite=False)

    top, _ = scipy.sparse.linalg.eigsh(
        Products(matrix.shape, solve), k=1, which="LA", v0=start_vector(matrix.shape[0])
    )
    return 1 / float(top[0])


def _correlations(moments: SecondMoments) -> tuple[float, float]:
    """One-sided ρ over N_c, and σ₂."""
    (q, p), split = moments.shapes[1], moments.uu.shape[0]
    left = np.linalg.cholesky(moments.uu)
    right = np.linalg.cholesky(moments.bb)
    whitened = scipy.linalg.solve_triangular(left, moments.uw, lower=True, check_finite=False)
    whitened = scipy.linalg.solve_triangular(
        right, whitened.reshape(-1, p).T, lower=True, check_finite=False
    )
    whitened = whitened.T.reshape(split, q * p)
    # ⟨U, P⋆⟩ and ⟨W, V⋆⟩ as products with the whitened unit vectors.
    a = scipy.linalg.solve_triangular(left, np.ravel(moments.optimum.P12), lower=True)
    b = scipy.linalg.solve_triangular(right, np.asarray(moments.optimum.V21).T, lower=True)
    a, b = a / np.linalg.norm(a), b.T.ravel() / np.linalg.norm(b)

    def top(apply, transpose, count=1):
        return top_singular_value(apply, transpose, whitened.shape, count)

    both = top(lambda v: whitened @ v, lambda u: u @ whitened, 2)
    off_p = top(lambda v: _without(a, whitened @ v), lambda u: _without(a, u) @ whitened)
    off_v = top(lambda v: whitened @ _without(b, v), lambda u: _without(b, u @ whitened))
    return float(max(off_p[0], off_v[0])), float(both[1])


def _without(direction: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return vector - (direction @ vector) * direction


def bootstrap(population: Population, replicates: int, seed: int = 0) -> Iterator[Richness]:
    """The constants on populations of the same size, drawn from this one with replacement.

    Args:
        population: independent windows.
        replicates: how many to draw.
        seed: seed of the draws.
    """
    _checks.positive_integer("replicates", replicates)
    rng = np.random.default_rng(seed)
    for _ in range(replicates):
        yield richness(population.take(rng.integers(0, population.size, population.size)))


def witness(optimum: Effective) -> Effective:
    """(U, W) of N_1 whose correlation in item (5) is +1 for every distribution of MDPs.

    A multiple of (P⋆12, k V̄⋆21) with k = ‖P⋆12‖²/‖V̄⋆21‖²; for N_c take c²k. Because
    Σ̂ P⋆12 w̃ = b, A P⋆12 w̃ = V̄⋆21 b, and W b = k V̄⋆21 b is k times the same vector.
    """
    k = jnp.vdot(optimum.P12, optimum.P12) / jnp.vdot(optimum.V21, optimum.V21)
    return Effective(optimum.P12, k * optimum.V21)


def correlation(population: Population, delta: Effective) -> Float[Array, ""]:
    """E⟨A U w̃, W b⟩ / √(E‖A U w̃‖² E‖W b‖²) with A = V̄⋆21 Σ̂, of item (5), from the windows.

    Args:
        population: the windows.
        delta: (U, W), neither of them without effect.
    """
    left = jnp.einsum("Nqp,pw,Nw->Nq", population.A, delta.P12, population.w)
    right = population.b @ delta.V21.T
    return (left * right).sum() / jnp.sqrt((left**2).sum() * (right**2).sum())


def largest_parameters(rule: Sarsa, gamma: float, windows: int) -> float:
    """A bound on ‖w̃‖ in a life of SARSA, by the triangle inequality.

    ‖w_SARSA‖ ≤ (1 + α(1 + γ) B_φ²) ‖w‖ + α B_φ B_r for each window, from ‖w‖ ≤ B_φ on, with
    B_φ = √d and B_r = 1.

    Args:
        rule: SARSA.
        gamma: discount.
        windows: of a life.
    """
    size = np.sqrt(rule.d)
    for _ in range(windows - 1):
        size *= 1 + rule.alpha * (1 + gamma) * rule.d
        size += rule.alpha * np.sqrt(rule.d)
    return float(np.sqrt(1 + size**2))


def alternating_parameters(rule: Sarsa, gamma: float, windows: int, n: int = 20) -> float:
    """‖w̃‖ at the end of one life that the paper's family may come as close to as one likes.

    Two states alternate, with features φ and −φ in a corner of the cube and no reward; w
    starts at φ, and each window multiplies it by 1 − α(1 + γ)d.

    Args:
        rule: SARSA.
        gamma: discount.
        windows: of a life.
        n: transitions per window.
    """
    corner = jnp.ones(rule.d)
    features, steps = jnp.stack([corner, -corner])[:, None], jnp.arange(n + 1)
    nothing = jnp.zeros(n)
    window = Window(steps % 2, 0 * steps, nothing, jnp.asarray(gamma), nothing.astype(bool))
    w = corner
    for _ in range(windows - 1):
        w = rule.teacher(features, w, window)
    return float(jnp.sqrt(1 + w @ w))


def kappa_r(
    key: Key[Array, ""],
    rule: Rule,
    family: MDPFamily,
    u: Float[Array, " q"],
    size: int,
    n: int = 20,
) -> Float[Array, ""]:
    """λ_min E[AᵀA | u] over fresh MDPs, features and first windows; κ_R is its least value.

    For SARSA A = αR: divide by α² for the paper's κ_R.

    Args:
        key: randomness; the same key gives the same MDPs and draws for every u.
        rule: the rule.
        family: the distribution of MDPs.
        u: the parameters that act.
        size: number of MDPs.
        n: transitions per window.
    """
    optimum = rule.optimum(u.dtype)

    def one(key):
        task_key, window_key = jax.random.split(key)
        task = draw_task(task_key, rule, family, u.dtype)
        policy = rule.behaviour(task.features, u)
        window = rollout(window_key, task.mdp, policy, task.state, n)
        tokens = rule.tokens(task.features, u, window)
        return (optimum.V21 @ tokens.T) @ tokens / n

    A = jax.vmap(one)(jax.random.split(key, size))
    return jnp.linalg.eigvalsh(jnp.einsum("Nkp,Nkr->pr", A, A) / size)[0]


def kappa_0(
    moments: Moments, starts: int = 8, rounds: int = 50, seed: int = 0
) -> tuple[float, float]:
    """Bounds of κ₀, the least E‖V Σ̂ P w̃‖² over V and P of Frobenius norm 1.

    The least value is attained by a V with one row, vᵀ. For v fixed the form is quadratic in
    P, and for P fixed in v: the upper bound is what alternate minimisation reaches. The
    lower bound is half the smallest eigenvalue of E[ψψᵀ], ψ = Σ̂ ⊗ w̃ in orthonormal
    coordinates of the symmetric Σ̂, since the symmetric part of v ⊗ P has at least half of
    the square norm of v ⊗ P.

    Args:
        moments: of the population.
        starts: random v from which the alternation begins.
        rounds: of alternation, at most.
        seed: of the starts.

    Returns:
        A lower and an upper bound; both are 0 where rounding decides.
    """
    _checks.positive_integer("starts", starts)
    _checks.positive_integer("rounds", rounds)
    p, width = moments.optimum.P12.shape
    rows, columns = np.triu_indices(p)
    second = np.asarray(moments.second).reshape(rows.size, width, rows.size, width)
    root = np.where(rows == columns, 1.0, np.sqrt(2))
    scaled = second * root[:, None, None, None] * root[None, None, :, None]
    lower = _smallest(scaled.reshape(rows.size * width, -1)) / 2
    # E[Σ̂_ab w̃_j Σ̂_ef w̃_l] at (a, b, j, e, f, l).
    pairs = pair_numbers(p)
    whole = second[pairs][:, :, :, pairs]
    rng, best = np.random.default_rng(seed), np.inf
    for _ in range(starts):
        v, value = rng.normal(size=p), np.inf
        v /= np.linalg.norm(v)
        for _ in range(rounds):
            of_P = np.einsum("a,abjefl,e->bjfl", v, whole, v, optimize=True)
            P = scipy.linalg.eigh(of_P.reshape(p * width, -1), subset_by_index=[0, 0])[1]
            P = P.reshape(p, width)
            of_v = np.einsum("bj,abjefl,fl->ae", P, whole, P, optimize=True)
            low, vectors = scipy.linalg.eigh(of_v, subset_by_index=[0, 0])
            v, before, value = vectors[:, 0], value, float(low[0])
            if value > before * (1 - 1e-6):
                break
        best = min(best, value)
    return lower, best if best > _ZERO * np.trace(scaled.reshape(rows.size * width, -1)) else 0.0
