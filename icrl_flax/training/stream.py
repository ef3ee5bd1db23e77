"""The training data of Algorithms 1 and 2, ahead of the optimiser.

Because the next window's behaviour follows the *teacher's* parameters, nothing
in the data depends on θ: MDPs, windows and targets can be generated for many
MDPs at once, before the chain of small updates that consumes them.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike
from jaxtyping import Array, Int, Key

from icrl_flax import _ambient
from icrl_flax.control.closed_loop import interact
from icrl_flax.control.tasks import draw_task
from icrl_flax.mdps.families import MDPFamily
from icrl_flax.rules.base import Rule
from icrl_flax.training.losses import Examples, Walks
from icrl_flax.training.walks import repeated, walks_one


def stream_one(
    key: Key[Array, ""],
    rule: Rule,
    family: MDPFamily,
    windows: int,
    n: int,
    dtype: DTypeLike = jnp.float32,
    sweeps: int = 1,
) -> Examples:
    """One MDP of `stream`, from its birth through `windows` windows under the teacher."""
    task_key, window_key = jax.random.split(key)
    task = draw_task(task_key, rule, family, dtype)
    u, history, target = interact(window_key, task, rule, repeated(rule, sweeps), windows, n)
    # Tokens are by far the largest array: written once, outside the loop.
    tokens = jax.vmap(rule.tokens, in_axes=(None, 0, 0))(task.features, u, history)
    return Examples(tokens, u, target)


def stream(
    key: Key[Array, ""],
    mdps: Int[Array, " m"],
    rule: Rule,
    family: MDPFamily,
    windows: int,
    n: int,
    dtype: DTypeLike = jnp.float32,
    *,
    sweeps: int = 1,
    objective: str = "teacher",
    prompt: str = "parameters",
    queries: int = 64,
) -> Examples | Walks:
    """The numbered MDPs' data, in order: leading axes are MDP and window.

    MDP number k gets the key `fold_in(key, k)`, so that the data does not depend
    on how many MDPs are generated together. Compiled once for each rule and size,
    however many runs and whatever their step sizes.

    Args:
        key: randomness.
        mdps: their numbers.
        rule: the rule to imitate.
        family: the distribution of MDPs.
        windows: windows per MDP.
        n: transitions per window.
        dtype: floating-point type of everything.
        sweeps: of the teacher over each window.
        objective: what the answers are, as `TrainingConfig` has it.
        prompt: what the prompt's last column holds, likewise.
        queries: values in each example, where the answers are values.

    Returns:
        Examples of parameters; of values, where there is no teacher or the prompt holds
        a query.
    """
    with _ambient.settled(jnp.dtype(dtype) == jnp.float64):
        rule, family = as_arrays((rule, family), dtype)
        how = (sweeps, objective, prompt, queries)
        return _stream(key, mdps, rule, family, windows, n, dtype, how)


def as_arrays(tree: Any, dtype: DTypeLike) -> Any:
    """Numbers that are no static field, as arrays: another one compiles nothing."""

    def convert(leaf: Any) -> Any:
        if not is_number(leaf) or isinstance(leaf, Tracer):
            return leaf
        array = np.asarray(leaf)
        return array.astype(dtype) if array.dtype.kind == "f" else array

    return jax.tree.map(convert, tree)


def is_number(leaf: Any) -> bool:
    """Whether a leaf of a run may differ from one run of a batch to the next."""
    return isinstance(leaf, (bool, int, float, np.generic, np.ndarray, jax.Array))


@eqx.filter_jit
def _stream(
    key: Key[Array, ""],
    mdps: Int[Array, " m"],
    rule: Rule,
    family: MDPFamily,
    windows: int,
    n: int,
    dtype: DTypeLike,
    how: tuple[int, str, str, int],
) -> Examples | Walks:
    keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(mdps)
    sweeps, objective, prompt, queries = how

    def one(key: Key[Array, ""]) -> Examples | Walks:
        if objective == "teacher" and prompt == "parameters":
            return stream_one(key, rule, family, windows, n, dtype, sweeps)
        return walks_one(key, rule, family, windows, n, queries, objective, sweeps, dtype)

    return jax.vmap(one)(keys)
