"""The constructions held against their teachers on random sizes and values."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from icrl_flax import _checks
from icrl_flax._ambient import full_precision, quick_compiler, settled
from icrl_flax.attention.linear import linear_attention
from icrl_flax.attention.prompt import augment, build_prompt, readout
from icrl_flax.attention.weights import split, sum_over_heads
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule
from icrl_flax.rules.construction import construct

DTYPES = ("float64", "float32")


class Case(eqx.Module):
    """One random instance of a construction: everything but the sizes."""

    features: Features
    u: jax.Array | np.ndarray
    window: Window
    c: jax.Array | np.ndarray
    free: tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]


def random_case(rng: np.random.Generator, rule: Rule, n: int, cases: int = 1) -> Case:
    """Random instances in float64 NumPy, stacked along a leading axis.

    Features are the rule's own; u is uniform on (−1, 1), rewards and the free
    entries standard normal, γ uniform on (0, 1), |c| log-uniform between 1/10 and
    10 with either sign; states and actions are uniform, for the theorems hold on
    any sequence.

    Args:
        rng: randomness.
        rule: the rule; its sizes are used.
        n: transitions in the window.
        cases: how many instances.
    """
    n_states, n_actions = int(rng.integers(1, 10)), int(rng.integers(1, 6))
    with settled(x64=True):
        keys = jax.random.split(jax.random.key(int(rng.integers(2**32))), cases)
        sample = jax.jit(
            jax.vmap(lambda key: rule.sample_features(key, n_states, n_actions, jnp.float64)),
            compiler_options=quick_compiler(0),
        )
        features = jax.tree.map(np.asarray, sample(keys))
    size = (cases, *rule.weights_shape)
    return Case(
        features=features,
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
def relative_error(rule: Rule, case: Case, dtype: DTypeLike, layers: int = 1) -> jax.Array:
    """max |block − teacher| for one instance, both in `dtype`, relative to the largest term.

    The terms are those whose sum is the answer: u, and each transition's product of
    V̄21 x_i and x_iᵀ P12 w̃, here as sums of magnitudes. Rounding is relative to them,
    and not to the answer, which may cancel.

    Of several blocks on top of each other the last one's answer is held against so many of
    the teacher's updates, on the same window. An answer is u + b + M u; what is wrong with one
    layer's is multiplied by I + M in the next, and new terms join it.
    """
    case = jax.tree.map(
        lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, case
    )
    u, free = jnp.asarray(case.u), (jnp.asarray(case.free[0]), jnp.asarray(case.free[1]))
    P, V = construct(rule, jnp.asarray(case.c), free, dtype)
    tokens = rule.tokens(case.features, u, case.window)
    effective = split(P, V, rule.p).effective
    theta, x = jax.tree.map(jnp.abs, (effective, tokens))
    growth = jnp.ones((), u.dtype)
    if layers > 1:
        moved = sum_over_heads(
            lambda head: (tokens @ head.V21.T).T @ (tokens @ head.P12[:, 1:]), effective
        )
        change = jnp.eye(rule.q, dtype=u.dtype) + moved / tokens.shape[0]
        growth = jnp.abs(change).sum(axis=1).max()

    def layer(carry, _):
        answer, teacher, scale = carry
        w = jnp.abs(augment(teacher))
        terms = sum_over_heads(
            lambda head: (x @ (head.P12 @ w))[:, None] * (x @ head.V21.T), theta
        )
        H = linear_attention(P, V, build_prompt(tokens, answer))
        new = readout(H, rule.q), rule.teacher(case.features, teacher, case.window)
        return (*new, growth * scale + jnp.abs(teacher).max() + terms.max()), None

    start = u, u, jnp.zeros((), u.dtype)
    if layers == 1:
        (answer, teacher, scale), _ = layer(start, None)
    else:
        (answer, teacher, scale), _ = jax.lax.scan(layer, start, None, length=layers)
    return jnp.abs(answer - teacher).max() / scale


def stackable(rule: Rule, case: Case) -> jax.Array:
    """Whether tokens are the same for other parameters, so that a deeper block is the rule again.

    An actor's scores and a mean over the next action are of the policy that acted: there the
    layers above the first answer tokens that the rule itself would have written anew.
    """
    u = jnp.asarray(case.u)
    written = [rule.tokens(case.features, each, case.window) for each in (u, 1 - 2 * u)]
    return (written[0] == written[1]).all()


def _stackable(kind: type[Rule], seed: int) -> bool:
    """`stackable` on small cases of five sizes: with one action there is no policy to change."""
    found = []
    with settled(x64=True):
        for rng in np.random.default_rng(seed).spawn(5):
            rule = kind.draw(rng, 6)
            cases = random_case(rng, rule, 8, 4)
            found.append(jax.vmap(lambda case, rule=rule: stackable(rule, case))(cases).all())
    return all(map(bool, found))


def rounding(rule: Rule, n: int, dtype: DTypeLike) -> float:
    """What rounding alone keeps `relative_error` below.

    A sum of k products is computed to within k roundings, each of ½ε relative to the
    magnitudes in it. An answer takes such sums over q + 1 parameters and, twice, p
    entries of the token, and their mean over n transitions; the teacher takes the same
    in another order. Together these are 2 (2p + q + 1 + n) roundings of ½ε.
    """
    return float(jnp.finfo(dtype).eps) * (2 * rule.p + rule.q + 1 + n)


class Verdict(NamedTuple):
    """How far a rule's construction is from its teacher in one precision.

    Attributes:
        rule: the rule's name.
        dtype: "float64" or "float32".
        cases: how many random windows were compared.
        worst: |block − teacher| relative to the largest term, in the case that comes
            nearest to its bound.
        bound: what rounding alone stays below at the sizes of that case.
        layers: how many blocks on top of each other answered; 1 where the rule's tokens
            depend on the parameters.
    """

    rule: str
    dtype: str
    cases: int
    worst: float
    bound: float
    layers: int = 1

    @property
    def holds(self) -> bool:
        return self.worst <= self.bound


def verify(
    rules: type[Rule] | Sequence[type[Rule]],
    sizes: int = 2,
    cases_per_size: int = 64,
    largest: int = 40,
    longest: int = 64,
    seed: int = 0,
    layers: int = 1,
) -> Iterator[Verdict]:
    """Check that the construction is the rule, for random sizes and values.

    Args:
        rules: a rule's class, or several.
        sizes: how many combinations of sizes to draw for each; each is compiled once.
        cases_per_size: random instances for each.
        largest: largest feature dimension.
        longest: longest window.
        seed: seed of all randomness; a rule's cases do not depend on the others.
        layers: how many blocks on top of each other to hold against so many updates, of rules
            whose tokens do not depend on the parameters.

    Yields:
        For each rule one verdict for float64 and one for float32, on the same instances.

    Raises:
        ValueError: if a count is not a positive integer, or the seed is negative.
    """
    _checks.seed("seed", seed)
    counts = {
        "sizes": sizes,
        "cases_per_size": cases_per_size,
        "largest": largest,
        "longest": longest,
        "layers": layers,
    }
    for name, count in counts.items():
        _checks.positive_integer(name, count)

    def errors(
        kind: type[Rule], depth: int, rng: np.random.Generator
    ) -> list[tuple[float, float]]:
        """Worst error and bound at one draw of sizes, for each type."""
        rule, n = kind.draw(rng, largest), int(rng.integers(1, longest + 1))
        with settled(x64=True):
            cases = random_case(rng, rule, n, cases_per_size)
            check = jax.vmap(lambda case: [relative_error(rule, case, t, depth) for t in DTYPES])
            found = jax.jit(check, compiler_options=quick_compiler(0))(cases)
            # NumPy's `max`, unlike Python's, lets a NaN through to fail the bound.
            return [
                (float(np.max(each)), rounding(rule, n, dtype))
                for each, dtype in zip(found, DTYPES, strict=True)
            ]

    kinds = [rules] if isinstance(rules, type) else list(rules)
    depths = [layers if layers > 1 and _stackable(kind, seed) else 1 for kind in kinds]
    pool = ThreadPoolExecutor()  # XLA's compiler lets others work meanwhile
    try:
        futures = [
            [
                pool.submit(errors, kind, depth, rng)
                for rng in np.random.default_rng(seed).spawn(sizes)
            ]
            for kind, depth in zip(kinds, depths, strict=True)
        ]
        for kind, depth, each in zip(kinds, depths, futures, strict=True):
            by_dtype = zip(*(future.result() for future in each), strict=True)
            for dtype, found in zip(DTYPES, by_dtype, strict=True):
                worst, bound = found[int(np.argmax([error / bound for error, bound in found]))]
                yield Verdict(kind.name(), dtype, sizes * cases_per_size, worst, bound, depth)
    finally:
        pool.shutdown(cancel_futures=True)
