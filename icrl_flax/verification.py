"""The constructions held against their teachers on random sizes and values."""

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax.attention.linear import linear_attention
from icrl_flax.attention.prompt import build_prompt, readout
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule
from icrl_flax.rules.construction import construct


class Case(eqx.Module):
    """One random instance of a construction: everything but the sizes."""

    features: Features
    u: jax.Array | np.ndarray
    window: Window
    c: jax.Array | np.ndarray
    free: tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]


def random_case(rng: np.random.Generator, rule: Rule, n: int, cases: int = 1) -> Case:
    """Random instances in float64 NumPy, stacked along a leading axis.

    Features and u are uniform on (−1, 1), rewards and the free entries standard
    normal, γ uniform on (0, 1), |c| log-uniform between 1/10 and 10 with either
    sign; states and actions are uniform, for the theorems hold on any sequence.

    Args:
        rng: randomness.
        rule: the rule; its sizes are used.
        n: transitions in the window.
        cases: how many instances.
    """
    n_states, n_actions = int(rng.integers(1, 10)), int(rng.integers(1, 6))
    shapes = jax.eval_shape(
        lambda: rule.sample_features(jax.random.key(0), n_states, n_actions, jnp.float32)
    )
    size = (cases, *rule.weights_shape)
    return Case(
        features=jax.tree.map(lambda leaf: rng.uniform(-1, 1, (cases, *leaf.shape)), shapes),
        u=rng.uniform(-1, 1, (cases, rule.q)),
        window=Window(
            states=rng.integers(0, n_states, (cases, n + 1)),
            actions=rng.integers(0, n_actions, (cases, n + 1)),
            rewards=rng.normal(size=(cases, n)),
            gamma=rng.uniform(0, 1, cases),
            terminated=np.zeros((cases, n), bool),
        ),
        c=rng.choice([-1, 1], cases) * 10 ** rng.uniform(-1, 1, cases),
        free=(rng.normal(size=size), rng.normal(size=size)),
    )


@full_precision
def relative_error(rule: Rule, case: Case, dtype: DTypeLike) -> jax.Array:
    """max |block − teacher| / max |teacher| for one instance, both in `dtype`."""
    case = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, case
    )
    u, free = jnp.asarray(case.u), (jnp.asarray(case.free[0]), jnp.asarray(case.free[1]))
    P, V = construct(rule, jnp.asarray(case.c), free, dtype)
    tokens = rule.tokens(case.features, u, case.window)
    answer = readout(linear_attention(P, V, build_prompt(tokens, u)), rule.q)
    teacher = rule.teacher(case.features, u, case.window)
    return jnp.abs(answer - teacher).max() / jnp.abs(teacher).max()


class Verdict(NamedTuple):
    """The worst relative error of one rule in one precision.

    Attributes:
        rule: the rule's name.
        dtype: "float64" or "float32".
        cases: how many random windows were compared.
        worst: the largest |block − teacher|, relative to the largest |teacher|.
        bound: what rounding alone stays below.
    """

    rule: str
    dtype: str
    cases: int
    worst: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.worst <= self.bound


BOUNDS = {"float64": 1e-12, "float32": 1e-5}
"""Relative errors that rounding alone stays below at the sizes drawn here."""


def verify(
    rule: type[Rule],
    sizes: int = 32,
    cases_per_size: int = 32,
    largest: int = 40,
    longest: int = 64,
    seed: int = 0,
) -> Iterator[Verdict]:
    """Check that the construction is the rule, for random sizes and values.

    Args:
        rule: the rule's class.
        sizes: how many combinations of sizes to draw; each is compiled once.
        cases_per_size: random instances for each.
        largest: largest feature dimension.
        longest: longest window.
        seed: seed of all randomness.

    Yields:
        One verdict for float64 and one for float32, on the same instances.

    Raises:
        ValueError: if a count is not a positive integer, or the seed is negative.
    """
    _checks.seed("seed", seed)
    counts = {
        "sizes": sizes,
        "cases_per_size": cases_per_size,
        "largest": largest,
        "longest": longest,
    }
    for name, count in counts.items():
        _checks.positive_integer(name, count)
    rng = np.random.default_rng(seed)
    worst = dict.fromkeys(BOUNDS, 0.0)
    with jax.enable_x64(True):
        for _ in range(sizes):
            member = rule.draw(rng, largest)
            instances = random_case(rng, member, int(rng.integers(1, longest + 1)), cases_per_size)
            for dtype in BOUNDS:
                check = jax.jit(
                    jax.vmap(lambda case, m=member, t=dtype: relative_error(m, case, jnp.dtype(t)))
                )
                # `max` of NumPy, unlike Python's, lets a NaN through to fail the bound.
                worst[dtype] = float(np.max([worst[dtype], *np.asarray(check(instances))]))
    for dtype, bound in BOUNDS.items():
        yield Verdict(rule.name(), dtype, sizes * cases_per_size, worst[dtype], bound)
