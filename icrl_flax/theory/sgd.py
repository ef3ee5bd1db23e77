"""Stochastic gradient descent with a constant step, near the optima.

Every window's loss is least, 0, at θ̄(c), so that to first order in Δ an update multiplies:

    Δ_{k+1} = (I − η J_kᵀJ_k) Δ_k,    J_k the linear map Δ ↦ X of the k-th window.

A product of random matrices grows at different rates in different moments. With the moment
growth Λ(κ) = lim 1/k log E‖Δ_k‖^κ, SGD is stable in mean square where Λ(2) < 0, and almost surely
where the Lyapunov exponent Λ'(0) is negative; in between the highest spike of a run has a tail
whose index is the root κ of Λ.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.stats
from jaxtyping import Array, Float, Key

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.experiments.statistics import LEVEL, Interval
from icrl_flax.theory.manifold import inner, norm, project_normal
from icrl_flax.theory.population import Population
from icrl_flax.theory.spectrum import second_moments


class StepLimits(NamedTuple):
    """Learning rates that limit SGD on the windows of a population, near θ̄(c).

    In ascending order, if the windows are independent draws.

    Attributes:
        sure: 2 / max ‖J‖²: below it no update makes ‖Δ‖ larger.
        trace: 2 / λ_max of E[(JᵀJ)²] against E[JᵀJ]: below it E‖Δ‖² falls at every update.
        mean_square: below it, and only there, E‖Δ_k‖² → 0.
        descent: 2 / λ_max of the Hessian: the limit of gradient descent.
    """

    sure: float
    trace: float
    mean_square: float
    descent: float


def window_jacobians(population: Population, c: float) -> Float[np.ndarray, "N q both"]:
    """J of each window at θ̄(c), on [vec(U) ; vec(W)]: for small sizes."""
    _checks.non_zero("c", c)
    A, w, b = (np.asarray(x) for x in (population.A, population.w, population.b))
    N, q, _ = A.shape
    U = A[:, :, :, None] * w[:, None, None, :] / c
    W = c * np.eye(q)[None, :, :, None] * b[:, None, None, :]
    return np.concatenate([U.reshape(N, q, -1), W.reshape(N, q, -1)], axis=2)


def step_limits(population: Population, c: float, iterations: int = 500) -> StepLimits:
    """The four limits of a population, by dense matrices: for d up to about 6.

    The threshold in mean square is 1/ρ(𝓐⁻¹𝓑) with 𝓐S = HS + SH and 𝓑S = E[JᵀJ S JᵀJ] on the
    symmetric matrices over the normal space, by power iteration from the identity.

    Args:
        population: the windows, each as likely as another.
        c: scale of the point θ̄(c).
        iterations: at most so many of the power iteration, which ends at a relative 1e-10.
    """
    _checks.positive_integer("iterations", iterations)
    rates, vectors = np.linalg.eigh(second_moments(population).hessian(c))
    moving = rates > 1e-12 * rates[-1]
    rates = rates[moving]
    J = window_jacobians(population, c) @ vectors[:, moving]
    rows = J.reshape(-1, rates.size)
    grams = np.matmul(J, J.transpose(0, 2, 1))
    squares = rows.T @ np.matmul(grams, J).reshape(rows.shape) / len(J)
    whitened = squares / np.sqrt(rates) / np.sqrt(rates)[:, None]
    S, value = np.eye(rates.size), 0.0
    for _ in range(iterations):
        middle = np.matmul((rows @ S).reshape(J.shape), J.transpose(0, 2, 1))
        image = rows.T @ np.matmul(middle, J).reshape(rows.shape) / len(J)
        S = image / (rates + rates[:, None])
        before, value = value, float(np.trace(S))
        S = (S + S.T) / (2 * value)
        if abs(value - before) <= 1e-10 * value:
            break
    top = scipy.linalg.eigvalsh(whitened, subset_by_index=[rates.size - 1] * 2)
    return StepLimits(
        sure=float(2 / np.linalg.eigvalsh(grams)[:, -1].max()),
        trace=float(2 / top[0]),
        mean_square=1 / value,
        descent=float(2 / rates[-1]),
    )


class Growth(NamedTuple):
    """Moment growth by cloning.

    Attributes:
        rates: Λ(κ) per update for each κ.
        directions: the directions at the end, as leading axes κ and particle.
    """

    rates: Float[Array, " powers"]
    directions: Effective


def moment_growth(
    key: Key[Array, ""],
    population: Population,
    c: float,
    rate: float | Float[Array, ""],
    kappas: Float[Array, " powers"],
    particles: int = 1000,
    steps: int = 1000,
    together: int = 1,
    mirror: bool = False,
) -> Growth:
    """Λ(κ) = lim 1/k log E‖Δ_k‖^κ per update of the linearised SGD, by cloning.

    Directions move by one random window each, are weighted by the growth of ‖Δ‖^κ, and are
    drawn again in proportion to their weights. So the rare windows that make a high moment are
    held by many directions, where a plain mean over runs would wait for them. For κ = 0 it is
    the mean growth of log ‖Δ‖, the Lyapunov exponent Λ'(0). The first fifth of the steps is left
    out. The bias falls as one over the number of particles.

    Args:
        key: randomness, the same for every κ.
        population: the windows to draw from.
        c: scale of the point θ̄(c).
        rate: learning rate η.
        kappas: powers κ ≥ 0.
        particles: directions.
        steps: draws.
        together: windows of one draw, in their order: the population holds the windows of one
            MDP one after the other, so many each.
        mirror: whether each draw comes with a random signed permutation of SARSA's features, as
            if the population held all of them, like `invariants`.

    Raises:
        ValueError: if a count is not a positive integer, `together` does not divide the
            number of windows, or windows that are to be mirrored are not SARSA's.
    """
    for name, value in (("particles", particles), ("steps", steps), ("together", together)):
        _checks.positive_integer(name, value)
    _checks.positive("rate", rate)
    _checks.non_zero("c", c)
    if population.size % together:
        raise ValueError(
            f"together must divide the number of windows, {population.size}, got {together}"
        )
    if mirror:
        _check_sarsa(population)
    parts = population.A, population.w, population.b
    parts = jax.tree.map(lambda x: x.reshape(-1, together, *x.shape[1:]), parts)
    kappas = jnp.asarray(kappas, float)
    args = population.optimum, jnp.asarray(c), jnp.asarray(rate)
    rates, directions = _growth(key, parts, *args, kappas, particles, steps, mirror)
    return Growth(rates / together, directions)


@eqx.filter_jit
def _growth(key, parts, optimum, c, rate, kappas, particles, steps, mirror) -> Growth:
    shapes = [x.shape for x in optimum]
    lives = parts[0].shape[0]

    def move(delta: Effective, window) -> tuple[Effective, None]:
        A, w, b = window
        error = A @ (delta.P12 @ w) / c + c * delta.V21 @ b
        U = delta.P12 - rate / c * jnp.outer(A.T @ error, w)
        return Effective(U, delta.V21 - rate * c * jnp.outer(error, b)), None

    def draw(carry, key):
        delta, kappa = carry
        window_key, clone_key, turn_key = jax.random.split(key, 3)
        if mirror:
            delta = _turned(turn_key, delta)
        index = jax.random.randint(window_key, (particles,), 0, lives)
        windows = jax.tree.map(lambda x: x[index], parts)
        moved = jax.vmap(lambda d, w: jax.lax.scan(move, d, w)[0])(delta, windows)
        logs = jnp.log(jax.vmap(norm)(moved))
        highest = (kappa * logs).max()
        weights = jnp.exp(kappa * logs - highest)
        growth = jnp.where(kappa > 0, highest + jnp.log(weights.mean()), logs.mean())
        # Systematic resampling: one uniform number, evenly spaced marks.
        marks = (jnp.arange(particles) + jax.random.uniform(clone_key)) / particles
        ends = jnp.cumsum(weights) / weights.sum()
        chosen = jnp.minimum(jnp.searchsorted(ends, marks), particles - 1)
        lengths = jnp.exp(logs[chosen])
        moved = jax.tree.map(lambda x: x[chosen] / lengths[:, None, None], moved)
        return (moved, kappa), growth

    def one(kappa):
        start_key, key_ = jax.random.split(key)
        raw = [
            jax.random.normal(k, (particles, *s))
            for k, s in zip(jax.random.split(start_key), shapes, strict=True)
        ]
        start = jax.vmap(lambda d: project_normal(optimum, c, d))(Effective(*raw))
        lengths = jax.vmap(norm)(start)
        start = jax.tree.map(lambda x: x / lengths[:, None, None], start)
        keys = jax.random.split(key_, steps)
        (end, _), growth = jax.lax.scan(draw, (start, kappa), keys)
        return Growth(growth[steps // 5 :].mean(), end)

    return jax.lax.map(one, kappas)


def tail_index(
    kappas: Float[np.ndarray, " powers"], growth: Float[np.ndarray, " powers"]
) -> float:
    """The root κ > 0 of Λ, which is convex with Λ(0) = 0, from Λ at a few κ > 0.

    Λ(κ)/κ increases; its zero is found on the line between the two κ about it.

    Raises:
        ValueError: if Λ does not change its sign between the smallest and the largest κ.
    """
    kappas = np.asarray(kappas, float)
    slopes = np.asarray(growth, float) / kappas
    if not slopes[0] < 0 < slopes[-1]:
        raise ValueError(f"growth must go from below to above 0, got {growth}")
    after = int(np.argmax(slopes > 0))
    left, right = slopes[after - 1], slopes[after]
    return float(kappas[after - 1] + (kappas[after] - kappas[after - 1]) * left / (left - right))


class Spikes(NamedTuple):
    """Runs of SGD near the optima.

    Attributes:
        highest: largest ‖Δ_k‖/‖Δ_0‖ of each run.
        halfway, end: log ‖Δ_k‖/‖Δ_0‖ at half the updates and after all of them.
    """

    highest: Float[Array, " runs"]
    halfway: Float[Array, " runs"]
    end: Float[Array, " runs"]


def spikes(
    key: Key[Array, ""],
    population: Population,
    c: float,
    rate: float | Float[Array, ""],
    starts: Effective,
    steps: int,
    radius: float = 1e-8,
    cap: float = 1e6,
    mirror: bool = False,
) -> Spikes:
    """Runs of SGD on the loss itself, each on windows of its own.

    Not linearised: an update is a gradient step on one window's ½‖X + Y‖².

    Args:
        key: randomness.
        population: the windows to draw from.
        c: scale of the point θ̄(c).
        rate: learning rate η.
        starts: directions of Δ_0 ≠ 0, one for each run.
        steps: updates of each.
        radius: ‖Δ_0‖.
        cap: a run whose ‖Δ‖ has grown by this factor stops there.
        mirror: as for `moment_growth`.
    """
    if mirror:
        _check_sarsa(population)
    _checks.positive_integer("steps", steps)
    for name, value in (("rate", rate), ("radius", radius), ("cap", cap)):
        _checks.positive(name, value)
    _checks.non_zero("c", c)
    parts = population.sigma, population.w, population.b
    scale, eta, start, most = (jnp.asarray(x, float) for x in (c, rate, radius, cap))
    optimum = population.optimum
    return _spikes(key, parts, optimum, scale, eta, start, most, starts, steps, mirror)


@eqx.filter_jit
def _spikes(key, parts, optimum, c, rate, radius, cap, starts, steps, mirror) -> Spikes:
    V, runs = optimum.V21, starts.P12.shape[0]

    def step(delta: Effective, window) -> Effective:
        sigma, w, b = window
        moved = sigma @ (delta.P12 @ w)
        column = c * b + moved
        error = V @ moved / c + delta.V21 @ column
        U = delta.P12 - rate * jnp.outer(sigma @ ((V / c + delta.V21).T @ error), w)
        new = Effective(U, delta.V21 - rate * jnp.outer(error, column))
        going = norm(delta) < cap * radius
        return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, delta)

    def update(carry, key):
        delta, highest = carry
        window_key, turn_key = jax.random.split(key)
        index = jax.random.randint(window_key, (runs,), 0, parts[0].shape[0])
        if mirror:
            delta = _turned(turn_key, delta)
        delta = jax.vmap(step)(delta, jax.tree.map(lambda x: x[index], parts))
        return (delta, jnp.maximum(highest, jax.vmap(norm)(delta))), None

    lengths = jax.vmap(norm)(starts)
    start = jax.tree.map(lambda x: radius * x / lengths[:, None, None], starts)
    first, second = jnp.split(jax.random.split(key, steps), [steps // 2])
    half = jax.lax.scan(update, (start, jnp.full(runs, radius)), first)[0]
    delta, highest = jax.lax.scan(update, half, second)[0]
    logs = (jnp.log(jax.vmap(norm)(d) / radius) for d in (half[0], delta))
    return Spikes(jnp.minimum(highest / radius, cap), *logs)


def _check_sarsa(population: Population) -> None:
    q, p = population.optimum.V21.shape
    if p != 2 * q + 1:
        raise ValueError(f"mirror must be False but for SARSA, got p = {p} and q = {q}")


def _turned(key: Key[Array, ""], delta: Effective) -> Effective:
    """Each Δ of a batch under a signed permutation of the features of its own."""
    runs, d, _ = delta.V21.shape
    order_key, sign_key = jax.random.split(key)
    order = jnp.argsort(jax.random.uniform(order_key, (runs, d)), axis=1)
    signs = jax.random.rademacher(sign_key, (runs, d), delta.V21.dtype)
    one, last = jnp.ones((runs, 1)), jnp.full((runs, 1), 2 * d)
    rows = jnp.concatenate([order, order + d, last], axis=1)
    row_signs = jnp.concatenate([signs, signs, one], axis=1)
    columns = jnp.concatenate([0 * last, order + 1], axis=1)
    column_signs = jnp.concatenate([one, signs], axis=1)

    def turn(x, rows, columns, row_signs, column_signs):
        return x[rows][:, columns] * row_signs[:, None] * column_signs

    turn = jax.vmap(turn)
    return Effective(
        turn(delta.P12, rows, columns, row_signs, column_signs),
        turn(delta.V21, order, rows, signs, row_signs),
    )


def hill(heights: Float[np.ndarray, " runs"], count: int, cap: float = np.inf) -> Interval:
    """Hill's estimate of a tail's index from the `count` highest, with its 95 % interval.

    Heights at the cap count as higher than it: the estimate is the likeliest index of a Pareto
    tail of which they are not seen further. 2κn/κ̂ has the χ² law with 2n degrees of freedom, n
    the number of heights that are seen.

    Raises:
        ValueError: if count is not below the number of heights, or fewer than two are seen.
    """
    _checks.positive_integer("count", count)
    heights = np.sort(np.asarray(heights, float))[::-1]
    if count >= heights.size:
        raise ValueError(f"count must be below the number of heights, got {count}")
    top = np.minimum(heights[:count], cap)
    seen = int((heights[:count] < cap).sum())
    if seen < 2:
        raise ValueError(f"cap must leave at least two of the heights, got {cap}")
    index = seen / np.log(top / heights[count]).sum()
    low, high = scipy.stats.chi2.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], 2 * seen) / (2 * seen)
    return Interval(float(index), float(index * low), float(index * high))


def sgd_drift(population: Population, c: float, delta: Effective) -> Float[Array, ""]:
    """E[‖∂ℓ/∂P12‖² − ‖∂ℓ/∂V̄21‖²] at θ̄(c) + Δ: SGD's drift of ‖P12‖² − ‖V̄21‖² over η².

    Every window's loss is the same at (s P12, s⁻¹ V̄21), so its gradient has no part along
    (P12, −V̄21), and only the squares of an update change the invariant of the flow.
    """

    def each(sigma, w, b):
        V = population.optimum.V21
        moved = sigma @ (delta.P12 @ w)
        column = c * b + moved
        error = V @ moved / c + delta.V21 @ column
        back = sigma @ ((V / c + delta.V21).T @ error)
        first, second = (
            Effective(jnp.outer(back, w), jnp.zeros_like(V)),
            Effective(jnp.zeros_like(delta.P12), jnp.outer(error, column)),
        )
        return inner(first, first) - inner(second, second)

    parts = population.sigma, population.w, population.b
    return jax.vmap(each)(*parts).mean()
