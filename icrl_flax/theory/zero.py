"""Zero, where training starts: the direction in which the flow leaves it, and the orbit."""

from typing import NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.weights import Effective
from icrl_flax.theory.basin import pull
from icrl_flax.theory.flow import Loss, gradient_flow
from icrl_flax.theory.manifold import norm
from icrl_flax.theory.population import Population, offset
from icrl_flax.theory.spectrum import Products, start_vector


class Escape(NamedTuple):
    """How the flow leaves the saddle at zero.

    Attributes:
        sigma: the largest singular values of 𝓑: P ↦ E[V̄⋆21 b (Σ̂ P w̃)ᵀ], in descending order.
        pair: (u₁, v₁)/√2 with 𝓑u₁ = σ₁v₁, the direction in which the flow leaves fastest,
            with the sign for which ⟨pair, θ̄(1)⟩ > 0.
    """

    sigma: Float[np.ndarray, " count"]
    pair: Effective


def escape(population: Population, count: int = 2) -> Escape:
    """The top singular pair at the saddle at zero, by products only.

    There L = L(0) − ⟨V̄21, 𝓑(P12)⟩ + ½ E‖V̄21 Σ̂ P12 w̃‖².

    Args:
        population: the windows.
        count: how many singular values.
    """
    _checks.positive_integer("count", count)
    sigma, w = np.asarray(population.sigma), np.asarray(population.w)
    P, V = (np.asarray(block) for block in population.optimum)
    steps = np.asarray(population.b) @ V.T  # the teacher's change of u
    N = population.size

    def apply(U: np.ndarray) -> np.ndarray:
        moved = np.einsum("Nab,Nb->Na", sigma, w @ U.reshape(P.shape).T)
        return (steps.T @ moved).ravel() / N

    def transpose(W: np.ndarray) -> np.ndarray:
        moved = np.einsum("Nab,Nb->Na", sigma, steps @ W.reshape(V.shape))
        return (moved.T @ w).ravel() / N

    products = Products((V.size, P.size), apply, transpose)
    found = scipy.sparse.linalg.svds(products, k=count, v0=start_vector(min(products.shape)))
    left, values, right = cast(tuple[np.ndarray, np.ndarray, np.ndarray], found)
    top = int(np.argmax(values))
    U, W = right[top].reshape(P.shape), left[:, top].reshape(V.shape)
    sign = 1.0 if (U * P).sum() + (W * V).sum() >= 0 else -1.0
    pair = Effective(jnp.asarray(sign * U / np.sqrt(2)), jnp.asarray(sign * W / np.sqrt(2)))
    return Escape(np.sort(values)[::-1], pair)


class Orbit(NamedTuple):
    """The orbit that leaves zero along the top singular pair, at given times.

    Attributes:
        times: t, from the start on.
        loss: L(t) as a share of L(0), the loss of a block that leaves the parameters alone.
        distance: ‖θ(t) − θ̄(c)‖.
        pull: −d log‖θ − θ̄(c)‖/dt; where it is positive the distance falls.
    """

    times: Float[Array, " T"]
    loss: Float[Array, " T"]
    distance: Float[Array, " T"]
    pull: Float[Array, " T"]


def leaving_orbit(
    population: Population,
    c: float,
    times: Float[Array, " T"],
    *,
    loss: Loss | None = None,
    start: float = 1e-3,
    rtol: float = 1e-7,
) -> Orbit:
    """Follow the orbit that leaves zero along e₁, which keeps G = 0, as `escape` finds e₁.

    The flow starts at `start` · e₁; its error against the orbit is of third order in `start`.

    Args:
        population: the windows.
        c: scale of the balanced optimum, G(θ̄(c)) = 0, from which the distance counts.
        times: increasing, from 0 on.
        loss: L and ∇L of the same windows where another form of them is faster.
        start: how far along e₁ the flow starts.
        rtol: relative tolerance of a step of the solver.

    Raises:
        ValueError: if `start` or `rtol` is not positive, or JAX's x64 mode is off.
    """
    _checks.positive("start", start)
    loss = population if loss is None else loss
    away = jax.tree.map(lambda e: start * e, escape(population).pair)
    first = offset(away, population.optimum, c)
    flow = gradient_flow(loss, c, first, times, rtol=rtol)
    steps = population.b @ population.optimum.V21.T
    at_zero = (steps**2).sum(1).mean() / 2
    pulls = _pulls(loss, c, flow.delta)
    return Orbit(flow.times, flow.loss / at_zero, jax.vmap(norm)(flow.delta), pulls)


@eqx.filter_jit
def _pulls(loss: Loss, c: float, path: Effective) -> Float[Array, " T"]:
    return jax.lax.map(lambda delta: pull(loss, c, delta), path)
