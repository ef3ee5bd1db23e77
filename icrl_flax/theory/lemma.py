"""Lemma C.2, step by step: both sides of each of its inequalities at given points.

At θ̄(c) + Δ with Δ = (U, W) the error is X + Y, X = c⁻¹ A U w̃ + c W b linear and
Y = W Σ̂ U w̃ quadratic in Δ. Norms of errors are those of L², over the population.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from icrl_flax.attention.weights import Effective
from icrl_flax.theory.basin import largest_quadratic
from icrl_flax.theory.guarantee import Guarantee
from icrl_flax.theory.manifold import inner, norm, project_normal, tangent
from icrl_flax.theory.population import Population
from icrl_flax.theory.spectrum import SecondMoments, largest_eigenvalue, smallest_eigenvalues

_SMALL = 1000  # parameters up to which dense generalised eigenvalue problems are solved


class Measured(NamedTuple):
    """What the steps of Lemma C.2 compare, at many points.

    Attributes:
        c: scale of the point θ̄(c).
        U, W: ‖U‖² and ‖W‖², Frobenius.
        from_U, from_W: ‖c⁻¹ A U w̃‖² and ‖c W b‖², the two parts of X.
        X, Y, XY: ‖X‖², ‖Y‖² and ⟨X, Y⟩.
        loss: L = ½‖X + Y‖².
        slope: ‖∇L‖².
        along: ⟨∇L, Δ⟩.
    """

    c: Float[Array | np.ndarray, " points"]
    U: Float[Array | np.ndarray, " points"]
    W: Float[Array | np.ndarray, " points"]
    from_U: Float[Array | np.ndarray, " points"]
    from_W: Float[Array | np.ndarray, " points"]
    X: Float[Array | np.ndarray, " points"]
    Y: Float[Array | np.ndarray, " points"]
    XY: Float[Array | np.ndarray, " points"]
    loss: Float[Array | np.ndarray, " points"]
    slope: Float[Array | np.ndarray, " points"]
    along: Float[Array | np.ndarray, " points"]

    @property
    def square(self) -> Float[Array | np.ndarray, " points"]:
        """‖Δ‖²."""
        return self.U + self.W


def measure(population: Population, c: Float[Array, " points"], delta: Effective) -> Measured:
    """Measure all that the lemma compares, at many points θ̄(c) + Δ.

    The gradient is written out, by hand, so that it shares the products with the rest.

    Args:
        population: the windows.
        c: one scale for each point, not 0.
        delta: Δ, one per point on the leading axis.
    """
    return Measured(*map(np.asarray, _measure(population, jnp.asarray(c), delta)))


@eqx.filter_jit
def _measure(population: Population, c: Float[Array, " points"], delta: Effective) -> Measured:
    x, w, b, N = population.tokens, population.w, population.b, population.size
    V = population.optimum.V21

    def through(v):  # Σ̂ v
        scores = jnp.einsum("Nnp,Np->Nn", x, v)
        return jnp.einsum("Nn,Nnp->Np", scores, x) / x.shape[1]

    def mean(first, second):
        return (first * second).sum(1).mean()

    def one(point):
        c, (U, W) = point
        moved = through(w @ U.T)
        from_U, from_W, Y = moved @ V.T / c, c * b @ W.T, moved @ W.T
        X = from_U + from_W
        error = X + Y
        slope = Effective(through(error @ (V / c + W)).T @ w / N, error.T @ (c * b + moved) / N)
        return Measured(
            c=c,
            U=(U**2).sum(),
            W=(W**2).sum(),
            from_U=mean(from_U, from_U),
            from_W=mean(from_W, from_W),
            X=mean(X, X),
            Y=mean(Y, Y),
            XY=mean(X, Y),
            loss=mean(error, error) / 2,
            slope=inner(slope, slope),
            along=inner(slope, Effective(U, W)),
        )

    return jax.lax.map(one, (c, delta))


def slack(measured: Measured, g: Guarantee) -> dict[str, Float[Array | np.ndarray, " points"]]:
    """Larger side over smaller side of every inequality of the lemma's proof.

    A number below 1 is a violation. The name of an inequality begins with its step; the last
    two are those of the sharper constant, `Guarantee.mu_sharp`.

    Args:
        measured: at points of the tube.
        g: the constants, on that tube.
    """
    m, k, size = measured, g.constants, measured.square
    root = np.sqrt(g.M0) + g.C_Q * g.r
    floor = g.m0 - 3 * g.C_Q * np.sqrt(g.m0) * g.r
    straight = np.sqrt(2 * m.loss) * (np.sqrt(m.X) - 2 * np.sqrt(m.Y))
    return {
        "2: ‖X‖² ≥ (1−ρ)(a² + b′²)": m.X / ((1 - k.rho) * (m.from_U + m.from_W)),
        "2: ‖AUw̃‖² ≥ κ_A ‖U‖²": m.from_U * m.c**2 / (k.kappa_a * m.U),
        "2: ‖Wb‖² ≥ κ_q ‖W‖²": m.from_W / (k.kappa_q * m.c**2 * m.W),
        "2: ‖X‖ ≥ √m₀ ‖Δ‖": np.sqrt(m.X / (g.m0 * size)),
        "3: ‖X‖ ≤ √M₀ ‖Δ‖": np.sqrt(g.M0 * size / m.X),
        "3: ‖Y‖ ≤ C_Q ‖Δ‖²": g.C_Q * size / np.sqrt(m.Y),
        "4: L ≤ ½(√M₀ + C_Q r)² ‖Δ‖²": root**2 * size / 2 / m.loss,
        "5: ⟨∇L, Δ⟩ ≥ (…) ‖Δ‖²": m.along / (floor * size),
        "6: ‖∇L‖ ‖Δ‖ ≥ ⟨∇L, Δ⟩": np.sqrt(m.slope * size) / m.along,
        "6: PL, ½‖∇L‖² ≥ μ_r L": m.slope / (2 * g.mu * m.loss),
        "ours: ⟨∇L, Δ⟩ ≥ ‖X+Y‖(‖X‖ − 2‖Y‖)": m.along / straight,
        "ours: PL, ½‖∇L‖² ≥ μ′ L": m.slope / (2 * g.mu_sharp * m.loss),
    }


def hostile_directions(
    population: Population, moments: SecondMoments, scales: tuple[float, ...], middle: float
) -> list[tuple[float, Effective]]:
    """Scales and directions Δ of N_c, ‖Δ‖ = 1, that are hard on the lemma.

    At each scale the top eigenvector of the Hessian, which makes ‖X‖ large, and a Δ that makes
    ‖Y‖ large; the smallest eigenvector, which makes ‖X‖ small; and the eigenvector that makes
    ‖X‖² smallest against the sum of its two parts. Blocks with a thousand parameters or more
    have the smallest eigenvector at the middle scale only, and not the last kind.

    Args:
        population: the windows.
        moments: their second moments.
        scales: the scales c, not 0.
        middle: the scale for which a large block has its smallest eigenvector.
    """
    optimum, found = population.optimum, []
    flat = moments.flatten(optimum).size
    _, quadratic = largest_quadratic(population, starts=1, rounds=6)
    for c in scales:
        each = [moments.unflatten(largest_eigenvalue(moments, c)[1]), quadratic]
        if flat < _SMALL or c == middle:
            each.append(moments.unflatten(smallest_eigenvalues(moments, c, 1)[1][:, 0]))
        if flat < _SMALL:
            H, half = moments.hessian(c), moments.uu.shape[0]
            parts = scipy.linalg.block_diag(H[:half, :half], H[half:, half:])
            N_c = scipy.linalg.null_space(moments.flatten(tangent(optimum, c))[None])
            _, vectors = scipy.linalg.eigh(N_c.T @ H @ N_c, N_c.T @ parts @ N_c)
            each.append(moments.unflatten(N_c @ vectors[:, 0]))
        for direction in each:
            normal = project_normal(optimum, c, direction)
            size = norm(normal)
            unit = Effective(normal.P12 / size, normal.V21 / size)
            found.append((c, unit))
    return found


def along_rays(
    rays: list[tuple[float, Effective]], lengths: tuple[float, ...]
) -> tuple[Float[Array, " points"], Effective]:
    """The scales and the Δ of every ray at every length, as `measure` takes them.

    Args:
        rays: scales and directions with ‖Δ‖ = 1.
        lengths: of Δ, with a sign.
    """
    c = jnp.asarray([c for c, _ in rays for _ in lengths])
    deltas = [jax.tree.map(lambda x, s=s: s * x, unit) for _, unit in rays for s in lengths]
    return c, jax.tree.map(lambda *leaves: jnp.stack(leaves), *deltas)


def cancelling_pair(moments: SecondMoments) -> tuple[float, int, Effective]:
    """ρ of item (5), and a pair (U, W) that has the correlation −ρ.

    One of U and W is orthogonal to its optimum, so that the pair is not in any N_c, but in the
    closure of the union of their rays. Dense, for small blocks; `richness` has ρ for large ones.

    Returns:
        ρ, which of the two is orthogonal (0 or 1), and the pair, whose other block has a
        non-negative product with its optimum.
    """
    q = moments.shapes[1][0]
    factors = np.linalg.cholesky(moments.uu), np.kron(np.eye(q), np.linalg.cholesky(moments.bb))
    M = scipy.linalg.solve_triangular(factors[0], moments.uw, lower=True)
    M = scipy.linalg.solve_triangular(factors[1], M.T, lower=True).T
    found = []
    for side, star in enumerate(moments.optimum):
        axis = scipy.linalg.solve_triangular(factors[side], np.ravel(star), lower=True)
        axis /= np.linalg.norm(axis)
        off = np.eye(axis.size) - np.outer(axis, axis)
        u, s, vt = np.linalg.svd(off @ M if side == 0 else M @ off)
        U = scipy.linalg.solve_triangular(factors[0].T, u[:, 0])
        W = -scipy.linalg.solve_triangular(factors[1].T, vt[0])
        found.append((float(s[0]), side, moments.unflatten(np.concatenate([U, W]))))
    rho, side, pair = max(found, key=lambda each: each[0])
    other = float(jnp.vdot(pair[1 - side], moments.optimum[1 - side]))
    if other < 0:
        pair = Effective(-pair.P12, -pair.V21)
    return rho, side, pair
