"""A block, or its teacher, in control of environments that give observations, step by step.

There is no table: each observation that a window visits is a state of its own, with a row of
features. A window ends wherever it does, and an episode that is cut short goes on in value.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _ambient, _checks
from icrl_flax._ambient import full_precision
from icrl_flax.control.closed_loop import Agent
from icrl_flax.experience.observations import ObservationFeatures
from icrl_flax.experience.window import Window
from icrl_flax.rules.base import Features, Rule
from icrl_flax.rules.control import ActionValueRule, ActorCriticFeatures, PolicyGradientRule


class LiveControl(NamedTuple):
    """What an agent made of its environments.

    Attributes:
        returns: the undiscounted return of every finished episode, a list for each environment.
        u: the parameters in the end, a row for each environment.
    """

    returns: list[Float[np.ndarray, " episodes"]]
    u: Float[np.ndarray, "envs q"]

    def last(self, episodes: int) -> Float[np.ndarray, " envs"]:
        """The mean return of the last so many episodes; NaN where there are fewer."""
        return np.array(
            [each[-episodes:].mean() if len(each) >= episodes else np.nan for each in self.returns]
        )


def rule_features(rule: Rule, psi: Float[Array | np.ndarray, "S k"], n_actions: int) -> Features:
    """The tables of a rule of control from features of states: ψ in the place of the action.

    φ(s, a) has ψ(s) in the a-th of A stretches and 0 elsewhere, so d (or an actor's m) is A·k;
    a critic's features are ψ itself.

    Args:
        rule: an `ActionValueRule`, or a `PolicyGradientRule`.
        psi: ψ, indexed `[s]`.
        n_actions: A.

    Raises:
        ValueError: if the rule is neither, or its sizes are others.
    """
    k = psi.shape[-1]
    pairs = jnp.einsum("ab,sk->sabk", jnp.eye(n_actions, dtype=psi.dtype), psi)
    pairs = pairs.reshape(psi.shape[0], n_actions, n_actions * k)
    if isinstance(rule, ActionValueRule):
        wanted, features = {"d": n_actions * k}, pairs
    elif isinstance(rule, PolicyGradientRule):
        wanted, features = (
            {"m": n_actions * k, "d": k},
            ActorCriticFeatures(pairs, jnp.asarray(psi)),
        )
    else:
        raise ValueError(f"rule must be one of control, got {rule.name()!r}")
    for name, size in wanted.items():
        if getattr(rule, name) != size:
            raise ValueError(
                f"{name} must be {size} for {k} features and {n_actions} actions, "
                f"got {getattr(rule, name)}"
            )
    return features


def live_control(
    environments: Sequence[Any],
    rule: Rule,
    agent: Agent,
    features: ObservationFeatures,
    *,
    gamma: float,
    windows: int,
    n: int = 20,
    seed: int = 0,
    watch: Callable[[int, Any], None] | None = None,
) -> LiveControl:
    """Act for a window in each environment, let the agent answer, act on its answer, and so on.

    Environments take their steps side by side, each with parameters and chance of its own. The
    first parameters are 0.

    Args:
        environments: Gymnasium's, alike but for their seeds, with discrete actions.
        rule: a rule of control: says how parameters act.
        agent: makes new parameters of a window: a `BlockAgent`, or `rule.teacher`.
        features: of observations.
        gamma: discount γ in [0, 1).
        windows: how many windows.
        n: transitions in each.
        seed: of all chance; environment k is reset with seed + k.
        watch: called with the number of each window and the parameters after it.

    Raises:
        ValueError: if a number is out of range, or the rule does not fit features and actions.
    """
    _checks.discount("gamma", gamma)
    _checks.positive_integer("windows", windows)
    _checks.positive_integer("n", n)
    _checks.seed("seed", seed)
    if not environments:
        raise ValueError("environments must be at least one, got none")
    envs = [_Life(env, seed + k) for k, env in enumerate(environments)]
    n_actions = int(environments[0].action_space.n)
    rng = np.random.default_rng([seed, 0x11FE])
    with _ambient.settled(x64=False):
        u = jnp.zeros((len(envs), rule.q), jnp.float32)
        # Called once a step, so that the rule is no argument, which each call would take apart.
        behaviour = jax.jit(lambda u, psi: _behaviour(rule, u, psi, n_actions))

        def psi(observations: list[Any]) -> np.ndarray:
            found = np.asarray(features(np.asarray(observations)), np.float32)
            return found.reshape(len(observations), -1)

        def act(now: np.ndarray) -> np.ndarray:
            table = np.cumsum(np.asarray(behaviour(u, now)), axis=1)
            chance = rng.random(len(envs))[:, None] * table[:, -1:]
            return np.minimum((chance >= table).sum(axis=1), n_actions - 1)

        now = psi([life.observation for life in envs])
        actions = act(now)
        for number in range(windows):
            # Rows 0 … n are s_0 … s_n; row n + 1 + i is where an episode was cut at step i.
            rows = np.zeros((len(envs), 2 * n + 1, now.shape[1]), np.float32)
            taken = np.zeros((len(envs), n + 1), np.int32)
            meant = np.zeros((len(envs), n), np.int32)
            rewards = np.zeros((len(envs), n), np.float32)
            ended, cut = np.zeros((2, len(envs), n), bool)
            for i in range(n):
                rows[:, i], taken[:, i] = now, actions
                steps = [life.step(int(a)) for life, a in zip(envs, actions, strict=True)]
                then = psi([step.successor for step in steps])
                rewards[:, i] = [step.reward for step in steps]
                ended[:, i] = [step.terminated for step in steps]
                cut[:, i] = [step.truncated for step in steps]
                now = (
                    psi([life.observation for life in envs])
                    if cut[:, i].any() or ended[:, i].any()
                    else then
                )
                actions = act(now)
                meant[:, i] = actions
                if cut[:, i].any():
                    rows[:, n + 1 + i] = then
                    meant[:, i] = np.where(cut[:, i], act(then), actions)
            rows[:, n], taken[:, n] = now, actions
            at = np.arange(n, dtype=np.int32)
            batch = Window(
                np.broadcast_to(np.arange(n + 1, dtype=np.int32), taken.shape),
                taken,
                rewards,
                np.full(len(envs), gamma, np.float32),
                ended,
                cut,
                np.where(cut, n + 1 + at, at + 1).astype(np.int32),
                meant,
            )
            u = _answers(rule, agent, rows, u, batch, n_actions)
            if watch is not None:
                watch(number, u)
    returns = [np.array(life.returns) for life in envs]
    return LiveControl(returns, np.asarray(u))


def _behaviour(rule: Rule, u: Array, psi: Array | np.ndarray, n_actions: int) -> Array:
    """π(a|s) of one state for each environment."""

    def one(u: Array, psi: Any) -> Array:
        return rule.behaviour(rule_features(rule, psi[None], n_actions), u)[0]

    return jax.vmap(one)(u, psi)


@eqx.filter_jit
@full_precision
def _answers(
    rule: Rule, agent: Agent, psi: Array | np.ndarray, u: Array, windows: Window, n_actions: int
) -> Array:
    """New parameters for each environment."""

    def one(psi: Any, u: Array, window: Window) -> Array:
        return agent(rule_features(rule, psi, n_actions), u, window)

    return jax.vmap(one)(psi, u, windows)


class _Step(NamedTuple):
    successor: Any
    reward: float
    terminated: bool
    truncated: bool


class _Life:
    """An environment that begins again where an episode is over."""

    def __init__(self, env: Any, seed: int) -> None:
        self.env, self.returns, self.total = env, [], 0.0
        self.observation, _ = env.reset(seed=seed)

    def step(self, action: int) -> _Step:
        successor, reward, terminated, truncated, _ = self.env.step(action)
        self.total += float(reward)
        self.observation = successor
        if terminated or truncated:
            self.returns.append(self.total)
            self.total = 0.0
            self.observation, _ = self.env.reset()
        return _Step(
            successor, float(reward), bool(terminated), bool(truncated and not terminated)
        )
