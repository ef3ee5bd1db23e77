"""A sample of z = (Σ̂, R, b, w̃) and the loss L on it (eq. 6).

At θ̄(c) + Δ with Δ = (U, W) the block's error is X + Y, where

    X = c⁻¹ V̄⋆21 Σ̂ U w̃ + c W b      Y = W Σ̂ U w̃:

X is linear in Δ, Y quadratic. Written so, the error has no cancellation in it: it
keeps its relative accuracy however close θ is to the optimum.
"""

import functools
from collections.abc import Callable, Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from icrl_flax import _ambient, _checks
from icrl_flax.attention.weights import Effective, draw_effective, first_keys
from icrl_flax.control.closed_loop import interact
from icrl_flax.control.tasks import draw_task
from icrl_flax.experience.window import Window
from icrl_flax.mdps.families import MDPFamily
from icrl_flax.rules.base import Rule

_CHUNK = 500  # MDPs lived at once: their windows take some tens of MB


class Population(eqx.Module):
    """N equally likely windows: a distribution for which every expectation is a mean.

    Args:
        tokens: the windows, x_iᵀ in rows.
        u: the parameters before each window's update.
        optimum: (P⋆12, V̄⋆21) of the rule that made them.
    """

    tokens: Float[Array, "N n p"]
    u: Float[Array, "N q"]
    optimum: Effective

    @property
    def size(self) -> int:
        """The number N of windows."""
        return self.tokens.shape[0]

    @property
    def w(self) -> Float[Array, "N width"]:
        """w̃ = [1 ; u]."""
        return jnp.concatenate([jnp.ones((self.size, 1), self.u.dtype), self.u], axis=1)

    @property
    def sigma(self) -> Float[Array, "N p p"]:
        """Σ̂ = (1/n) Σ x_i x_iᵀ."""
        return jnp.einsum("Nni,Nnj->Nij", self.tokens, self.tokens) / self.tokens.shape[1]

    @property
    def A(self) -> Float[Array, "N q p"]:
        """V̄⋆21 Σ̂: for SARSA, αR with R = (1/n) Σ φ_i x_iᵀ."""
        rows = jnp.einsum("qp,Nnp->Nnq", self.optimum.V21, self.tokens)
        return jnp.einsum("Nnq,Nnp->Nqp", rows, self.tokens) / self.tokens.shape[1]

    @property
    def b(self) -> Float[Array, "N p"]:
        """(1/n) Σ x_i δ_i = Σ̂ P⋆12 w̃, for SARSA and actor-critic the δ_i of eqs. (2), (3)."""
        return through(self.tokens, self.w @ self.optimum.P12.T)

    def terms(
        self, c: float | Float[Array, ""], delta: Effective
    ) -> tuple[Float[Array, "N q"], Float[Array, "N q"]]:
        """X and Y: the linear and the quadratic part of the error at θ̄(c) + Δ.

        Args:
            c: scale of the point θ̄(c), not 0.
            delta: Δ = (U, W).
        """
        U, W = delta
        w = self.w
        moved = through(self.tokens, w @ U.T)
        still = through(self.tokens, w @ self.optimum.P12.T)
        return moved @ self.optimum.V21.T / c + c * still @ W.T, moved @ W.T

    def loss(self, c: float | Float[Array, ""], delta: Effective) -> Float[Array, ""]:
        """L(θ̄(c) + Δ) = ½ E‖X + Y‖², eq. (6)."""
        X, Y = self.terms(c, delta)
        return ((X + Y) ** 2).sum(1).mean() / 2

    def gradient(self, c: float | Float[Array, ""], delta: Effective) -> Effective:
        """∇L at θ̄(c) + Δ, written out: a sixth faster than automatic differentiation."""
        (U, W), w = delta, self.w
        moved, rows = through(self.tokens, w @ U.T), self.optimum.V21 / c + W
        still = c * through(self.tokens, w @ self.optimum.P12.T)
        error = moved @ rows.T + still @ W.T
        P_slope = through(self.tokens, error @ rows).T @ w
        V_slope = error.T @ (still + moved)
        return Effective(P_slope / self.size, V_slope / self.size)

    def take(self, indices: Int[Array | np.ndarray, " k"]) -> "Population":
        """The population of the windows with the given indices, repeats allowed."""
        return Population(self.tokens[indices], self.u[indices], self.optimum)


def through(tokens: Float[Array, "N n p"], directions: Float[Array, "N p"]) -> Float[Array, "N p"]:
    """Σ̂ v for each window's own v, without forming Σ̂."""
    scalars = jnp.einsum("Nnp,Np->Nn", tokens, directions)
    return jnp.einsum("Nn,Nnp->Np", scalars, tokens) / tokens.shape[1]


def offset(theta: Effective, optimum: Effective, c: float | Float[Array, ""]) -> Effective:
    """Δ with θ = θ̄(c) + Δ."""
    return Effective(theta.P12 - c * optimum.P12, theta.V21 - optimum.V21 / c)


def point(optimum: Effective, c: float | Float[Array, ""], delta: Effective) -> Effective:
    """θ̄(c) + Δ, which `offset` takes apart; Δ may be a batch."""
    return Effective(c * optimum.P12 + delta.P12, optimum.V21 / c + delta.V21)


def xavier_starts(rule: Rule, seeds: Iterable[int], gain: float = 0.1) -> Effective:
    """Starts as those of the paper's training, in float64: one for each seed, stacked."""
    keys = [first_keys(jax.random.key(s)) for s in seeds]
    each = [draw_effective(k, rule.p, rule.q, gain, jnp.dtype("float64")) for k in keys]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def draw_population(
    key: Key[Array, ""],
    rule: Rule,
    family: MDPFamily,
    size: int,
    windows: int = 50,
    n: int = 20,
    step: int | None = None,
) -> Population:
    """Independent windows of Algorithm 1 or 2: one from each of `size` MDPs.

    Each MDP is lived through as in training; the window is the one at a uniformly
    random step of its life, so the windows are independent and follow the training
    distribution.

    Args:
        key: randomness; MDP number k does not depend on how many are drawn.
        rule: the rule that acts and teaches.
        family: the distribution of MDPs.
        size: number N of windows.
        windows: length of a life, in windows.
        n: transitions per window.
        step: take the window at this step of each life, in [0, windows), instead of a
            random one.

    Raises:
        ValueError: if a count is not a positive integer, step is outside the life, or
            JAX's x64 mode is off.
    """
    for name, value in (("size", size), ("windows", windows), ("n", n)):
        _checks.positive_integer(name, value)
    if step is not None:
        _checks.indices("step", step, windows)
    _checks.x64("draw_population")
    at = None if step is None else jnp.asarray(step)  # one program for every step
    draw = _draw()
    chunks = [
        draw(key, jnp.arange(first, first + _CHUNK), rule, family, windows, n, at)
        for first in range(0, size, _CHUNK)
    ]
    tokens, u = (jnp.concatenate(parts)[:size] for parts in zip(*chunks, strict=True))
    return Population(tokens, u, rule.optimum(jnp.float64))


@functools.cache
def _draw() -> Callable[..., tuple[Array, Array]]:
    return _ambient.compiled(_windows, _ambient.quick_compiler(1))


def _windows(
    key: Key[Array, ""],
    mdps: Int[Array, " m"],
    rule: Rule,
    family: MDPFamily,
    windows: int,
    n: int,
    step: Int[Array, ""] | None,
) -> tuple[Float[Array, "m n p"], Float[Array, "m q"]]:
    def one(k):
        task_key, window_key, step_key = jax.random.split(jax.random.fold_in(key, k), 3)
        task = draw_task(task_key, rule, family, jnp.float64)
        u, history, _ = interact(window_key, task, rule, rule.teacher, windows, n)
        at = jax.random.randint(step_key, (), 0, windows) if step is None else step
        window: Window = jax.tree.map(lambda leaf: leaf[at], history)
        return rule.tokens(task.features, u[at], window), u[at]

    return jax.vmap(one)(mdps)
