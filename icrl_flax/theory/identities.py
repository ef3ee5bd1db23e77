"""The identities under Lemma C.2, against the block itself: the full attention, junk and all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax.attention.decomposition import decompose
from icrl_flax.attention.linear import linear_attention
from icrl_flax.attention.prompt import augment, build_prompt, readout
from icrl_flax.attention.symmetry import rescale
from icrl_flax.attention.weights import Effective, embed, split
from icrl_flax.rules.actor_critic import ActorCritic
from icrl_flax.rules.sarsa import Sarsa
from icrl_flax.theory.population import Population
from icrl_flax.verification import Case, random_case


def identities(
    rule: Sarsa | ActorCritic, cases: int = 100, n: int = 20, seed: int = 0
) -> dict[str, float]:
    """The largest relative error of each identity, over random cases.

    Windows, features, parameters, c and Δ of size one are random, and so are the entries of P
    and V that the construction leaves free. The last two are no errors but the largest
    gradients that Proposition 3.1 says are zero, at random P and V and at the block.

    Args:
        rule: SARSA or actor-critic, whose δ_i are written out here.
        cases: how many.
        n: transitions in a window.
        seed: of the cases.

    Raises:
        ValueError: if a count is not positive or JAX's x64 mode is off.
    """
    _checks.x64("identities")
    _checks.positive_integer("cases", cases)
    rng = np.random.default_rng(seed)
    case = jax.tree.map(jnp.asarray, random_case(rng, rule, n, cases))
    shapes = [block.shape for block in rule.optimum(jnp.float64)]
    delta = Effective(*(jnp.asarray(rng.normal(size=(cases, *shape))) for shape in shapes))
    junk = tuple(jnp.asarray(rng.normal(size=(2, cases, rule.D, rule.D))))
    check = jax.jit(jax.vmap(functools.partial(_errors, rule)))
    return {key: float(value.max()) for key, value in check(case, delta, junk).items()}


def _errors(
    rule: Sarsa | ActorCritic, case: Case, delta: Effective, junk: tuple[Array, Array]
) -> dict[str, Float[Array, ""]]:
    optimum, u, c = rule.optimum(jnp.float64), jnp.asarray(case.u), jnp.asarray(case.c)
    tokens = rule.tokens(case.features, u, case.window)
    teacher = rule.teacher(case.features, u, case.window)
    one, H = Population(tokens[None], u[None], optimum), build_prompt(tokens, u)

    def answer(P, V):
        return readout(linear_attention(P, V, H), rule.q)

    def loss(P, V):
        return ((answer(P, V) - teacher) ** 2).sum() / 2

    theta = Effective(*(a + b for a, b in zip(rescale(optimum, c), delta, strict=True)))
    P, V = embed(theta, (jnp.asarray(case.free[0]), jnp.asarray(case.free[1])))
    X, Y = one.terms(c, delta)
    td_errors, rows = _from_definition(rule, case, one)
    b, through = td_errors @ tokens / tokens.shape[0], optimum.P12 @ augment(u)
    slope = jax.grad(loss, (0, 1))
    anywhere, block = (split(*slope(*each), p=rule.p) for each in (junk, (P, V)))
    inert = [anywhere.P11, anywhere.P21, anywhere.V11, anywhere.V12]
    inert += [anywhere.V21[0], anywhere.V22[0]]
    lemma_c1 = decompose(split(*junk, p=rule.p), tokens, u).total
    return {
        "X + Y = block − teacher": _apart(X[0] + Y[0], answer(P, V) - teacher),
        "A = αR, rows of Σ̂": _apart(one.A[0], rows),
        "Σ̂ P⋆ w̃ = b": _apart(one.sigma[0] @ through, b),
        "library's b": _apart(one.b[0], b),
        "Lemma C.1": _apart(lemma_c1, answer(*junk)),
        "Prop. 3.1 (i): largest gradient": jnp.stack([jnp.abs(x).max() for x in inert]).max(),
        "Prop. 3.1 (ii): largest gradient": jnp.abs(jnp.stack([block.P22, block.V22])).max(),
    }


def _from_definition(
    rule: Sarsa | ActorCritic, case: Case, one: Population
) -> tuple[Float[Array, " n"], Float[Array, "q p"]]:
    """The TD errors from values and rewards, and A from rows of Σ̂, not from the construction."""
    d, features, window, sigma = rule.d, case.features, case.window, one.sigma[0]
    w = jnp.asarray(case.u)[-d:]
    if isinstance(rule, Sarsa):
        values = features[window.states, window.actions] @ w
        rows = rule.alpha * sigma[:d]  # αR
    else:
        values = features.critic[window.states] @ w
        rows = jnp.concatenate([rule.alpha * sigma[2 * d + 1 :], rule.beta * sigma[:d]])
    return window.rewards + window.gamma * values[1:] - values[:-1], rows


def _apart(first: Array, second: Array) -> Float[Array, ""]:
    return jnp.abs(first - second).max() / jnp.abs(second).max()
