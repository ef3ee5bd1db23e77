"""A basin of attraction about each optimum, from the Hessian, two moments and the invariant.

Let θ̄(c) be the optimum at which ‖P12‖² − ‖V̄21‖² has the value that θ(0) gives it, and
Δ = θ − θ̄(c). Along the gradient flow

    −½ d‖Δ‖²/dt = E⟨X + Y, X + 2Y⟩ ≥ ‖X + Y‖ (‖X‖ − 2‖Y‖).

The invariant keeps Δ off the one direction in which X vanishes, so ‖X‖ ≥ √λ ν ‖Δ‖ with
ν² = 1 − ‖Δ‖²/(4‖θ̄‖²), and ‖Y‖ ≤ C ‖Δ‖². Where the right side is positive the distance falls.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import scipy.sparse.linalg
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _checks
from icrl_flax.attention.symmetry import rescale
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.flow import Loss, settle
from icrl_flax.theory.manifold import conserved, inner, norm, project_normal, tangent
from icrl_flax.theory.population import Population
from icrl_flax.theory.spectrum import (
    Products,
    SecondMoments,
    second_moments,
    smallest_eigenvalues,
    start_vector,
)

_CHUNK = 1000  # windows whose Σ̂ are held at once
_STEEPEST = -2.0  # the smallest weight that the search for C tries
_SCALINGS = 60  # of a normal vector, until its point lies on the sphere


class Basin(NamedTuple):
    """What the basin theorem says about one optimum.

    Attributes:
        c: scale of the optimum θ̄(c).
        size: ‖θ̄(c)‖.
        rate: λ, the smallest non-zero eigenvalue of the Hessian at θ̄(c).
        C: a number with ‖Y‖ ≤ C ‖Δ‖² for every Δ, in L².
    """

    c: float
    size: float
    rate: float
    C: float

    @property
    def radius(self) -> float:
        """R = √(λ / (4C² + λ/(4‖θ̄‖²))): flows from ‖Δ(0)‖ < R with θ̄'s invariant reach θ̄(c)."""
        return float(np.sqrt(self.rate / (4 * self.C**2 + self.rate / (4 * self.size**2))))

    def _terms(self, distance):
        """√λ ν and C ‖Δ‖, NaN where the theorem says nothing."""
        distance = np.asarray(distance, float)
        distance = np.where(distance <= self.radius * (1 + 1e-12), distance, np.nan)
        linear = np.sqrt(self.rate * (1 - distance**2 / (4 * self.size**2)))
        return linear, self.C * distance

    def pull(self, distance: float | Float[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
        """A lower bound of −d log‖Δ‖/dt at ‖Δ‖ = distance: λ at 0, 0 at R, NaN beyond."""
        linear, quadratic = self._terms(distance)
        return np.asarray((linear - quadratic) * (linear - 2 * quadratic))

    def loss_rate(self, distance: float | Float[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
        """A lower bound of −d log L/dt at ‖Δ‖ = distance: 2λ at 0, 0 at R, NaN beyond."""
        linear, quadratic = self._terms(distance)
        return np.asarray(2 * (linear - 2 * quadratic) ** 2)


def basin(
    population: Population,
    c: float,
    sharp: bool = False,
    moments: SecondMoments | None = None,
) -> Basin:
    """λ, C and the certified radius R at θ̄(c).

    λ comes from one Cholesky factor of the Hessian, C from Lanczos iterations that form no
    matrix of fourth moments: SARSA with d = 36 takes seconds.

    Args:
        population: the windows.
        c: scale of the optimum, not 0.
        sharp: with the smaller C, see `quadratic_bound`.
        moments: the population's second moments, if they have been computed already.

    Raises:
        ValueError: if c is 0 or not finite.
        numpy.linalg.LinAlgError: if the Hessian is singular across the manifold, too: then
            no ball is certified.
    """
    _checks.non_zero("c", c)
    moments = second_moments(population) if moments is None else moments
    values, _ = smallest_eigenvalues(moments, c, 1)
    size = float(norm(rescale(population.optimum, c)))
    return Basin(float(c), size, float(values[0]), quadratic_bound(population, sharp))


def quadratic_bound(population: Population, sharp: bool = False) -> float:
    """A number C with ‖Y‖ = √(E‖W Σ̂ U w̃‖²) ≤ C ‖Δ‖² for every Δ = (U, W).

    It suffices to bound E(vᵀ Σ̂ U w̃)² for unit v and U. That is ⟨T, 𝓚T⟩ at T = v ⊗ U for
    𝓚 = E[ψψᵀ] with ψ = Σ̂ ⊗ w̃, and it is also ⟨T, 𝓚'T⟩, where 𝓚' is 𝓚 with its two indices
    of v exchanged. Hence C = ½ √λ_max(𝓚), and for every real s

        C = ½ √λ_max(s 𝓚 + (1 − s) 𝓚').

    Args:
        population: the windows.
        sharp: with the best s, found by a search; otherwise s = 1.
    """
    if not sharp:
        return _bound(population, 1.0)[0]
    memory: dict[str, np.ndarray | None] = {"vector": None}

    def bound(weight: float) -> float:
        value, memory["vector"] = _bound(population, weight, memory["vector"], tolerance=1e-4)
        return value

    # Convex in s. Any s is valid, so that the search may be rough; the value may not.
    found = scipy.optimize.minimize_scalar(
        bound, bounds=(_STEEPEST, 1.0), method="bounded", options={"xatol": 0.1, "maxiter": 6}
    )
    return _bound(population, float(found.x), memory["vector"])[0]


def _bound(
    population: Population,
    weight: float,
    start: np.ndarray | None = None,
    tolerance: float = 1e-9,
) -> tuple[float, np.ndarray]:
    """½ √λ_max(s 𝓚 + (1 − s) 𝓚') for s = weight, and the eigenvector."""
    (p, width), N = population.optimum.P12.shape, population.size
    parts = [
        (np.asarray(part.sigma), np.asarray(part.w))
        for part in (
            population.take(np.arange(first, min(first + _CHUNK, N)))
            for first in range(0, N, _CHUNK)
        )
    ]

    def apply(vector: np.ndarray) -> np.ndarray:
        T = vector.reshape(p * p, width)
        total, back = np.zeros((2, p * p, width))
        for sigma, w in parts:
            flat = sigma.reshape(len(w), -1)
            seen = w @ T.T  # T contracted with w̃
            if weight != 0:
                total += weight * (flat.T @ (np.vecdot(flat, seen)[:, None] * w))
            if weight != 1:
                # (Σ̂ T(w̃)ᵀ Σ̂)ᵀ, which keeps the products' arguments in one order
                turned = (sigma @ seen.reshape(-1, p, p) @ sigma).reshape(len(w), -1)
                back += (1 - weight) * (turned.T @ w)
        total += back.reshape(p, p, width).swapaxes(0, 1).reshape(p * p, width)
        return total.ravel() / N

    size = p * p * width
    values, vectors = scipy.sparse.linalg.eigsh(
        Products((size, size), apply),
        k=1,
        which="LA",
        v0=start_vector(size) if start is None else start,
        tol=cast(int, tolerance),
    )
    return float(np.sqrt(values[0]) / 2), vectors[:, 0]


def largest_quadratic(
    population: Population, starts: int = 4, rounds: int = 40
) -> tuple[float, Effective]:
    """A Δ that makes ‖Y‖/‖Δ‖² large, and the ratio: no C may be smaller.

    Alternating maximisation over U and the one row of W that matters, from random starts.

    Args:
        population: the windows.
        starts: how many random starts.
        rounds: rounds of improvement for each.

    Returns:
        ‖Y‖/‖Δ‖², and Δ with ‖Δ‖ = 1.
    """
    _checks.positive_integer("starts", starts)
    _checks.positive_integer("rounds", rounds)
    sigma, w = np.asarray(population.sigma), np.asarray(population.w)
    (p, width), (q, _) = (block.shape for block in population.optimum)
    best, pair = 0.0, (np.zeros(p), np.zeros((p, width)))
    for seed in range(starts):
        rng = np.random.default_rng(seed)
        v, U = rng.normal(size=p), rng.normal(size=(p, width))
        value = 0.0
        for _ in range(rounds):
            left = sigma @ (v / np.linalg.norm(v))
            for _ in range(5):  # power iteration on E[Σ̂vvᵀΣ̂ ⊗ w̃w̃ᵀ]
                U = (left * ((left @ U) * w).sum(1)[:, None]).T @ w
                U /= np.linalg.norm(U)
            moved = np.einsum("Nab,Nb->Na", sigma, w @ U.T)
            values, vectors = np.linalg.eigh(moved.T @ moved / len(w))
            value, v = float(values[-1]), vectors[:, -1]
        if value > best:
            best, pair = value, (v, U)
    v, U = pair
    W = np.zeros((q, p))
    W[0] = v
    return float(np.sqrt(best) / 2), Effective(
        jnp.asarray(U / np.sqrt(2)), jnp.asarray(W / np.sqrt(2))
    )


def keep_invariant(
    optimum: Effective, c: float | Float[Array, ""], normal: Effective
) -> Effective:
    """Δ = normal + s · tangent, with the s nearest to 0 for which θ̄(c) + Δ has θ̄(c)'s invariant.

    NaN if no s does.

    Args:
        optimum: (P⋆12, V̄⋆21).
        c: scale of the point θ̄(c), not 0.
        normal: a member of N_c.
    """
    along, at = tangent(optimum, c), rescale(optimum, c)
    square, rest = conserved(along), conserved(normal)
    half = jnp.vdot(along.P12, at.P12 + normal.P12) - jnp.vdot(along.V21, at.V21 + normal.V21)
    root = jnp.copysign(jnp.sqrt(half**2 - square * rest), half)
    s = -rest / (half + root)
    return jax.tree.map(lambda n, a: n + s * a, normal, along)


def aimed(
    optimum: Effective,
    c: float | Float[Array, ""],
    key: Key[Array, ""],
    length: float | Float[Array, ""],
) -> Effective:
    """Δ with θ̄(c)'s invariant, in a random direction: if its flow arrives, then at θ̄(c).

    The normal part has Gaussian entries, scaled to a length; the part along the tangent
    (`keep_invariant`) is small beside it if the length is small beside ‖θ̄(c)‖.

    Args:
        optimum: (P⋆12, V̄⋆21).
        c: scale of the point θ̄(c), not 0.
        key: randomness.
        length: norm of the normal part.
    """
    keys = jax.random.split(key)
    raw = Effective(
        *(jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, optimum, strict=True))
    )
    normal = project_normal(optimum, c, raw)
    unit = length / norm(normal)
    return keep_invariant(optimum, c, jax.tree.map(lambda leaf: leaf * unit, normal))


def on_sphere(
    optimum: Effective,
    c: float | Float[Array, ""],
    direction: Effective,
    radius: float | Float[Array, ""],
) -> Effective:
    """Δ with ‖Δ‖ = radius and θ̄(c)'s invariant, whose normal part is along a direction's.

    Args:
        optimum: (P⋆12, V̄⋆21).
        c: scale of the point θ̄(c), not 0.
        direction: any pair of matrices that is not along the manifold.
        radius: well below 2‖θ̄(c)‖.
    """
    normal = project_normal(optimum, c, direction)
    size = norm(normal)
    normal = jax.tree.map(lambda leaf: leaf / size, normal)

    def at(length):
        return keep_invariant(optimum, c, jax.tree.map(lambda leaf: length * leaf, normal))

    length = jax.lax.fori_loop(
        0, _SCALINGS, lambda _, length: length * radius / norm(at(length)), jnp.asarray(radius)
    )
    return at(length)


def pull(loss: Loss, c: float | Float[Array, ""], delta: Effective) -> Float[Array, ""]:
    """−d log‖Δ‖/dt along the gradient flow: ⟨∇L, Δ⟩/‖Δ‖² at θ̄(c) + Δ."""
    return inner(loss.gradient(c, delta), delta) / inner(delta, delta)


def least_pull(
    loss: Loss,
    optimum: Effective,
    c: float,
    directions: Effective,
    radius: float,
    steps: int = 300,
) -> tuple[Effective, Float[Array, " runs"]]:
    """Hostile starts: on the sphere, points whose distance to θ̄(c) falls slowly, or rises.

    Adam on the direction, from each of a batch.

    Args:
        loss: L and ∇L.
        optimum: (P⋆12, V̄⋆21).
        c: scale of the point θ̄(c), not 0.
        directions: where the search starts, one per run on the leading axis.
        radius: ‖Δ‖, well below 2‖θ̄(c)‖.
        steps: of Adam.

    Returns:
        Δ on the sphere, with θ̄(c)'s invariant, and `pull` there.
    """
    _checks.non_zero("c", c)
    _checks.positive("radius", radius)
    _checks.positive_integer("steps", steps)
    return _least_pull(loss, optimum, jnp.asarray(c), directions, jnp.asarray(radius), int(steps))


@eqx.filter_jit
def _least_pull(loss, optimum, c, directions, radius, steps):
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, steps))

    def place(direction):
        return on_sphere(optimum, c, direction, radius)

    def one(direction):
        size = norm(direction)
        direction = jax.tree.map(lambda leaf: leaf / size, direction)
        # Adam's steps do not depend on the units of what it minimises, but its ε does.
        unit = jnp.abs(pull(loss, c, place(direction)))

        def cost(direction):
            return pull(loss, c, place(direction)) / unit

        def step(state, _):
            direction, memory, best, lowest = state
            value, slope = jax.value_and_grad(cost)(direction)
            better = value < lowest
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), direction, best)
            update, memory = optimizer.update(slope, memory)
            moved = optax.apply_updates(direction, update)
            return (moved, memory, best, jnp.minimum(value, lowest)), None

        state = (direction, optimizer.init(direction), direction, jnp.inf)
        (_, _, best, _), _ = jax.lax.scan(step, state, length=steps)
        delta = place(best)
        return delta, pull(loss, c, delta)

    return jax.vmap(one)(directions)


def arrivals(
    loss: Loss, optimum: Effective, basin: Basin, delta: Effective, longest: float
) -> Int[np.ndarray, " runs"]:
    """Where flows end, proved by the basin theorem: 1 at θ̄(c), −1 at −θ̄(c), 0 if not known.

    A flow is followed until its loss is so small that it lies in the ball about an optimum,
    if it is near one of the two.

    Args:
        loss: L and ∇L.
        optimum: (P⋆12, V̄⋆21).
        basin: of the optimum that all the starts share by their invariant.
        delta: Δ(0), one per run on the leading axis.
        longest: time after which a flow is given up.
    """
    runs = delta.P12.shape[0]
    settled = settle(
        loss,
        jnp.full(runs, basin.c),
        delta,
        until=basin.rate * basin.radius**2 / 8,
        longest=longest,
        rtol=1e-7,
        together=runs,
    )
    here = np.asarray(jax.vmap(norm)(settled.delta))
    mirror = jax.tree.map(lambda d, o: d + 2 * o, settled.delta, rescale(optimum, basin.c))
    there = np.asarray(jax.vmap(norm)(mirror))
    return (here < basin.radius).astype(int) - (there < basin.radius).astype(int)


def edge(
    arrives: Callable[[Float[np.ndarray, " runs"]], np.ndarray],
    low: Float[np.ndarray, " runs"],
    high: Float[np.ndarray, " runs"],
    rounds: int = 10,
) -> Float[np.ndarray, " runs"]:
    """Bisection for many rays at once: a radius next to which a property is lost.

    Args:
        arrives: whether the property holds at these radii, one for each ray.
        low: radii at which it holds.
        high: radii at which it does not.
        rounds: halvings of the intervals.

    Returns:
        Radii at which the property does not hold, each within (high − low)/2^rounds of one at
        which it does; NaN for rays on which low or high are not as they should be.
    """
    _checks.positive_integer("rounds", rounds)
    low, high = np.array(low, float), np.array(high, float)
    valid = np.asarray(arrives(low), bool) & ~np.asarray(arrives(high), bool)
    for _ in range(rounds):
        middle = (low + high) / 2
        holds = np.asarray(arrives(middle), bool)
        low, high = np.where(holds, middle, low), np.where(holds, high, middle)
    return np.where(valid, high, np.nan)
