"""Windows of experience, rolled on from where the last one ended (Algorithm 1)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from icrl_flax import _checks
from icrl_flax.experience.logged import LoggedColumns, logged_rows

Indices = Int[Array | np.ndarray, "*batch n"]
FOLLOWING = ("truncated", "successors", "next_actions")


def _if_given(convert: Callable[[str, Any], Any], name: str) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(name, value)


def _checked(check: Callable, name: str) -> Any:
    return eqx.field(converter=partial(check, name))


class Window(eqx.Module):
    """n consecutive transitions s₀, a₀, r₁, s₁, a₁, …, r_n, s_n, a_n.

    The last action a_n is recorded, because SARSA's target needs it; it is not
    taken. The next window starts in `states[-1]` and draws its own first action.
    Where transition i ended an episode, `states[i+1]` begins the next one. Where an
    episode was cut short (truncated), it does so too, but the successor of transition i,
    which still has a value, is another state: then `truncated`, `successors` and
    `next_actions` say what follows each transition.

    Args:
        states: s₀ … s_n.
        actions: a₀ … a_n.
        rewards: r₁ … r_n.
        gamma: the MDP's discount γ.
        terminated: whether each transition ended an episode: booleans, or 0 and 1.
        truncated: whether transition i + 1 belongs to another episode although
            transition i did not end its own; not given, no episode was cut short.
        successors: the state after each transition; not given, s₁ … s_n.
        next_actions: the action recorded there; not given, a₁ … a_n.

    Raises:
        ValueError: on values of another type, shapes that do not fit each other,
            negative states or actions, rewards that are not finite, or γ outside
            [0, 1); or if the last three are not given together. How many states and
            actions there are, `check` has to be told.
    """

    states: Int[Array | np.ndarray, "*batch times"] = _checked(_checks.as_integers, "states")
    actions: Int[Array | np.ndarray, "*batch times"] = _checked(_checks.as_integers, "actions")
    rewards: Float[Array | np.ndarray, "*batch n"] = _checked(_checks.as_reals, "rewards")
    gamma: Float[Array | np.ndarray, "*batch"] = _checked(_checks.as_reals, "gamma")
    terminated: Bool[Array | np.ndarray, "*batch n"] = _checked(_checks.as_booleans, "terminated")
    truncated: Bool[Array | np.ndarray, "*batch n"] | None = eqx.field(
        converter=_if_given(_checks.as_booleans, "truncated"), default=None
    )
    successors: Int[Array | np.ndarray, "*batch n"] | None = eqx.field(
        converter=_if_given(_checks.as_integers, "successors"), default=None
    )
    next_actions: Int[Array | np.ndarray, "*batch n"] | None = eqx.field(
        converter=_if_given(_checks.as_integers, "next_actions"), default=None
    )

    def __check_init__(self) -> None:
        *batch, n = self.rewards.shape or (0,)
        _checks.shape("rewards", self.rewards, (*batch, None))
        _checks.shape("states", self.states, (*batch, n + 1))
        _checks.shape("actions", self.actions, (*batch, n + 1))
        _checks.shape("gamma", self.gamma, tuple(batch))
        _checks.shape("terminated", self.terminated, (*batch, n))
        _checks.indices("states", self.states)
        _checks.indices("actions", self.actions)
        _checks.finite("rewards", self.rewards)
        _checks.discounts("gamma", self.gamma)
        following = {name: getattr(self, name) for name in FOLLOWING}
        given = [name for name, value in following.items() if value is not None]
        if given and len(given) < len(following):
            raise ValueError(f"{', '.join(FOLLOWING)} must be given together, got {given} alone")
        for name in given:
            _checks.shape(name, following[name], (*batch, n))
        for name in given[1:]:
            _checks.indices(name, following[name])

    @classmethod
    def from_arrays(
        cls,
        states: Any,
        actions: Any,
        rewards: Any,
        gamma: float,
        *,
        terminated: Any = None,
        truncated: Any = None,
        episodes: Any = None,
        next_states: Any = None,
        next_actions: Any = None,
        n_states: int | None = None,
        n_actions: int | None = None,
        need_next_action: bool = True,
    ) -> "Window":
        """One window of logged transitions, one row each, in the order in which they happened.

        A row is a transition if what follows it is known: it ended its episode, or the next
        row goes on with it, or `next_states` says it. Of another row, as the last of a log is,
        only state and action are used: they follow the row before. Rows are counted from 0.

        Args:
            states: s_i, a row's state: integers from 0.
            actions: a_i: integers from 0.
            rewards: r_{i+1}, paid for a_i in s_i.
            gamma: discount γ in [0, 1).
            terminated: whether the row ended its episode; by default none did.
            truncated: whether its episode was cut short there; by default none was.
            episodes: any number of each row's episode. Where it changes, an episode has ended,
                or was cut short.
            next_states: the state after each row; looked at where an episode was cut short,
                and compared with the next row elsewhere.
            next_actions: the action that was meant there, likewise.
            n_states: how many states there are; a larger one is refused.
            n_actions: how many actions, likewise.
            need_next_action: whether a row that was cut short is of use only if its next action
                is known, as for SARSA. Rules that predict, `ExpectedSarsa` and `ActorCritic`
                do not look at it: with False the row counts.

        Raises:
            ValueError: naming the row and what is wrong with it.
        """
        columns = LoggedColumns(
            states, actions, rewards, terminated, truncated, episodes, next_states, next_actions
        )
        _checks.discount("gamma", gamma)
        rows = logged_rows(columns, n_states, n_actions, need_next_action)
        return cls(**rows._asdict(), gamma=np.asarray(gamma, rows.rewards.dtype))

    def check(self, n_states: int, n_actions: int) -> None:
        """Refuse a window of another MDP: JAX reads the last row for an index beyond it.

        Raises:
            ValueError: if a state or an action does not exist.
        """
        _checks.indices("states", self.states, n_states)
        _checks.indices("actions", self.actions, n_actions)
        if self.successors is not None:
            _checks.indices("successors", self.successors, n_states)
            _checks.indices("next_actions", self.next_actions, n_actions)

    @property
    def before(self) -> tuple[Indices, Indices]:
        """s_i and a_i of each transition."""
        return self.states[..., :-1], self.actions[..., :-1]

    @property
    def after(self) -> tuple[Indices, Indices]:
        """The state and the action that follow each transition."""
        if self.successors is None or self.next_actions is None:
            return self.states[..., 1:], self.actions[..., 1:]
        return self.successors, self.next_actions

    @property
    def discounts(self) -> Float[Array, "*batch n"]:
        """The factor on the value of each successor: γ, or 0 where an episode ended."""
        return jnp.where(self.terminated, 0, self.gamma[..., None])

    @property
    def trace_discounts(self) -> Float[Array, "*batch n"]:
        """What ties transition i to transition i + 1: γ, or 0 where that is another episode's."""
        return (
            self.discounts if self.truncated is None else jnp.where(self.over, 0, self.discounts)
        )

    @property
    def over(self) -> Bool[Array, "*batch n"]:
        """Whether the next transition belongs to another episode."""
        ended = jnp.asarray(self.terminated)
        return ended if self.truncated is None else ended | self.truncated

    @property
    def elapsed_discounts(self) -> Float[Array, "*batch n"]:
        """γ^i of eq. (3), i counted from the start of the window or, later, of the episode."""
        i = jnp.arange(self.rewards.shape[-1])
        begins = jnp.roll(self.over, 1, axis=-1).at[..., 0].set(True)
        start = jax.lax.cummax(jnp.where(begins, i, 0), axis=self.rewards.ndim - 1)
        return jnp.asarray(self.gamma)[..., None] ** (i - start)
