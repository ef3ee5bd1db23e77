"""The Hessian of L on the manifold, its spectrum, and the linearised flow.

At θ̄(c) the error is X(Δ) up to second order, so the Hessian is the quadratic form
E‖X‖². With vec(U) before vec(W), both row by row, it is

    [ c⁻² E[AᵀA ⊗ w̃w̃ᵀ]      E[Aᵀ ⊗ w̃bᵀ] ]
    [         ·               c² I ⊗ E[bbᵀ] ]      A = V̄⋆21 Σ̂,

with exactly one zero eigenvalue, the direction of the manifold, when nothing else is
degenerate.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.manifold import project_normal
from icrl_flax.theory.population import Population


class SecondMoments(NamedTuple):
    """Everything about a population that the Hessian and Assumption 1 depend on.

    Attributes:
        uu: E[AᵀA ⊗ w̃w̃ᵀ], the form E‖A U w̃‖² in vec(U).
        uw: E[A_{ki} w̃_j b_l] at row (i, j), column (k, l): the form E⟨A U w̃, W b⟩.
        bb: E[bbᵀ]; E‖W b‖² is the form I ⊗ E[bbᵀ] in vec(W).
        ww: E[w̃w̃ᵀ].
        optimum: (P⋆12, V̄⋆21).
    """

    uu: Float[np.ndarray, "P P"]
    uw: Float[np.ndarray, "P V"]
    bb: Float[np.ndarray, "p p"]
    ww: Float[np.ndarray, "width width"]
    optimum: Effective

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of U and W."""
        (p, width), (q, _) = self.optimum.P12.shape, self.optimum.V21.shape
        return (p, width), (q, p)

    def flatten(self, delta: Effective) -> Float[np.ndarray, " both"]:
        """[vec(U) ; vec(W)]."""
        return np.concatenate([np.asarray(block).ravel() for block in delta])

    def unflatten(self, vector: Float[Array | np.ndarray, " both"]) -> Effective:
        """The inverse of `flatten`."""
        (p, width), (q, _) = self.shapes
        U, W = vector[: p * width].reshape(p, width), vector[p * width :].reshape(q, p)
        return Effective(jnp.asarray(U), jnp.asarray(W))

    def hessian(self, c: float) -> Float[np.ndarray, "both both"]:
        """The Hessian at θ̄(c), dense: 5329² entries for SARSA with d = 36."""
        _checks.non_zero("c", c)
        q = self.shapes[1][0]
        return np.block(
            [[self.uu / c**2, self.uw], [self.uw.T, c**2 * np.kron(np.eye(q), self.bb)]]
        )

    def apply(self, c: float, vector: Float[np.ndarray, " both"]) -> Float[np.ndarray, " both"]:
        """Hessian times vector, without forming the Hessian."""
        q, p = self.shapes[1]
        split = self.uu.shape[0]
        U, W = vector[:split], vector[split:]
        return np.concatenate(
            [
                self.uu @ U / c**2 + self.uw @ W,
                U @ self.uw + c**2 * (W.reshape(q, p) @ self.bb).ravel(),
            ]
        )


def second_moments(population: Population) -> SecondMoments:
    """Average the products that the Hessian needs over a population."""
    N = population.size
    q, p = population.optimum.V21.shape
    width = q + 1
    # Each pair of equal entries of the symmetric AᵀA and w̃w̃ᵀ is multiplied out once.
    rows, columns = np.triu_indices(p)
    firsts, seconds = np.triu_indices(width)
    uu, uw = np.zeros((rows.size, firsts.size)), np.zeros((q * p, width * p))
    bb, ww = np.zeros((p, p)), np.zeros((width, width))
    for first in range(0, population.size, 1000):
        part = population.take(np.arange(first, min(first + 1000, population.size)))
        A, w, b = (np.asarray(each) for each in (part.A, part.w, part.b))
        size = part.size
        AA = np.matmul(A.transpose(0, 2, 1), A)[:, rows, columns]
        uu += AA.T @ (w[:, firsts] * w[:, seconds])
        uw += A.reshape(size, -1).T @ (w[:, :, None] * b[:, None, :]).reshape(size, -1)
        bb += b.T @ b
        ww += w.T @ w
    uu = uu[pair_numbers(p)[:, None, :, None], pair_numbers(width)[None, :, None, :]]
    uu = uu.reshape(p * width, p * width)
    uw = uw.reshape(q, p, width, p).transpose(1, 2, 0, 3).reshape(p * width, q * p)
    return SecondMoments(uu / N, uw / N, bb / N, ww / N, population.optimum)


def pair_numbers(size: int) -> np.ndarray:
    """Where entry (i, j) of a symmetric matrix stands in its upper triangle, row by row."""
    numbers = np.zeros((size, size), int)
    numbers[np.triu_indices(size)] = np.arange(size * (size + 1) // 2)
    return np.maximum(numbers, numbers.T)


def smallest_eigenvalues(
    moments: SecondMoments, c: float, count: int = 6
) -> tuple[Float[np.ndarray, " count"], Float[np.ndarray, "both count"]]:
    """The smallest eigenvalues of the Hessian orthogonal to the manifold, with eigenvectors.

    The zero eigenvalue, whose eigenvector is the tangent, is moved out of the way; the
    rest is shift-and-invert Lanczos on one Cholesky factor.

    Args:
        moments: of the population.
        c: scale of the point θ̄(c).
        count: how many.

    Raises:
        numpy.linalg.LinAlgError: if another eigenvalue is zero.
    """
    H = moments.hessian(c)
    along = np.concatenate([np.ravel(moments.optimum.P12), -np.ravel(moments.optimum.V21) / c**2])
    along /= np.linalg.norm(along)
    H += np.trace(H) * np.outer(along, along)
    factor = scipy.linalg.cho_factor(H, lower=True, check_finite=False)
    solve = Products(H.shape, lambda v: scipy.linalg.cho_solve(factor, v, check_finite=False))
    if count >= H.shape[0]:
        raise ValueError(f"count must be below {H.shape[0]}, got {count}")
    inverse, vectors = scipy.sparse.linalg.eigsh(
        solve, k=count, which="LA", v0=start_vector(H.shape[0])
    )
    order = np.argsort(1 / inverse)
    values = 1 / inverse[order]
    if values[0] <= 1e-13 * np.trace(H):
        raise np.linalg.LinAlgError("the Hessian is singular across the manifold too")
    return values, vectors[:, order]


def largest_eigenvalue(
    moments: SecondMoments, c: float
) -> tuple[float, Float[np.ndarray, " both"]]:
    """The largest eigenvalue of the Hessian at θ̄(c), with its eigenvector."""
    size = moments.flatten(moments.optimum).size
    products = Products((size, size), lambda v: moments.apply(c, v))
    value, vector = scipy.sparse.linalg.eigsh(products, k=1, v0=start_vector(size))
    return float(value[0]), vector[:, 0]


class Modes(NamedTuple):
    """What the linearised flow needs to know of Δ(0).

    Attributes:
        rates: eigenvalues λ of the Hessian, or Ritz values that stand for them.
        squares: a², the square of Δ(0)'s component in each.
    """

    rates: Float[np.ndarray, " modes"]
    squares: Float[np.ndarray, " modes"]


def modes(moments: SecondMoments, c: float, delta: Effective) -> Modes:
    """Every mode, from the dense Hessian: for small sizes."""
    rates, vectors = np.linalg.eigh(moments.hessian(c))
    return _moving(rates, (vectors.T @ moments.flatten(delta)) ** 2)


def _moving(rates, squares) -> Modes:
    """Drop the direction of the manifold, whose rate is 0 up to rounding."""
    kept = rates > 1e-12 * rates.max()
    return Modes(rates[kept], squares[kept])


def lanczos(moments: SecondMoments, c: float, delta: Effective, iterations: int) -> Modes:
    """Gauss quadrature for Δᵀ f(H) Δ: modes that stand for all of the spectrum that Δ sees.

    Lanczos with full reorthogonalisation; exact for polynomials f of degree below
    2 × iterations.

    Args:
        moments: of the population.
        c: scale of the point θ̄(c).
        delta: Δ(0); its part along the manifold is left out.
        iterations: products with the Hessian.
    """
    _checks.positive_integer("iterations", iterations)
    # The direction of the manifold does not decay; a Ritz value near 0 would stand for it.
    start = moments.flatten(project_normal(moments.optimum, c, delta))
    size = np.linalg.norm(start)
    basis, diagonal, beside = [start / size], [], []
    for _ in range(min(iterations, start.size)):
        v = moments.apply(c, basis[-1])
        diagonal.append(basis[-1] @ v)
        Q = np.array(basis)
        v = v - Q.T @ (Q @ v)
        v -= Q.T @ (Q @ v)  # once more: the first pass leaves rounding errors behind
        beside.append(np.linalg.norm(v))
        if beside[-1] <= 1e-14 * abs(diagonal[0]):
            break
        basis.append(v / beside[-1])
    rates, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside[: len(diagonal) - 1])
    return _moving(rates, (size * vectors[0]) ** 2)


def linearised_loss(modes: Modes, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """½ Σ λ a² e^{−2λt}: the loss along the flow of the Hessian, from Δ(0)."""
    rates, squares = modes
    return 0.5 * np.exp(-2 * np.outer(times, rates)) @ (rates * squares)


def linearised_slope(modes: Modes, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """d log L / dt of `linearised_loss`, which tends to −2 λ_min."""
    rates, squares = modes
    decayed = np.exp(-2 * np.outer(times, rates - rates.min()))
    return -2 * (decayed @ (rates**2 * squares)) / (decayed @ (rates * squares))


def linearised(
    moments: SecondMoments,
    c: float,
    delta: Effective,
    times: Float[np.ndarray, " T"],
    iterations: int | None = None,
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """L(t) and d log L/dt of the flow of the Hessian at θ̄(c), from the normal part of Δ.

    Args:
        moments: of the population.
        c: scale of the point θ̄(c).
        delta: Δ at the first of the times.
        times: t.
        iterations: of `lanczos`; without it every mode is taken, from the dense Hessian.
    """
    normal = project_normal(moments.optimum, c, delta)
    if iterations is None:
        found = modes(moments, c, normal)
    else:
        found = lanczos(moments, c, normal, iterations)
    since = np.asarray(times) - times[0]
    return linearised_loss(found, since), linearised_slope(found, since)


class Products(scipy.sparse.linalg.LinearOperator):
    """A matrix that SciPy knows only by its products with vectors.

    Args:
        shape: of the matrix.
        apply: v ↦ Av.
        transpose: u ↦ Aᵀu, if it is needed.
    """

    def __init__(
        self, shape: tuple[int, int], apply: Callable, transpose: Callable | None = None
    ) -> None:
        super().__init__(np.dtype(float), shape)
        self._products = apply, transpose

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._products[0](x.ravel())

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        transpose = self._products[1]
        if transpose is None:
            raise ValueError("transpose must be given, got None")
        return transpose(x.ravel())


def start_vector(size: int) -> Float[np.ndarray, " size"]:
    """A fixed first vector, so that results repeat."""
    return np.random.default_rng(0).normal(size=size)


def top_singular_value(
    apply: Callable, transpose: Callable, shape: tuple[int, int], count: int = 1
) -> Float[np.ndarray, " count"]:
    """The largest singular values of a matrix given by its products, in descending order."""
    values = scipy.sparse.linalg.svds(
        Products(shape, apply, transpose),
        k=count,
        return_singular_vectors=False,
        v0=start_vector(min(shape)),
    )
    return np.sort(cast(np.ndarray, values))[::-1]  # what it returns without the vectors
