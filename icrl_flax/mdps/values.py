"""Exact values of policies in a tabular MDP: linear systems and value iteration.

Products are taken in the precision of their factors, whatever the device's default is.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from icrl_flax import _checks
from icrl_flax._ambient import full_precision
from icrl_flax.mdps.tabular import TabularMDP


def _continuing(mdp: TabularMDP) -> Float[Array, "S A S"]:
    """P(s′|s,a), less the probability of successors that end the episode."""
    return mdp.transition if mdp.terminal is None else mdp.transition * ~mdp.terminal


@full_precision
def expected_rewards(mdp: TabularMDP) -> Float[Array, "S A"]:
    """E[r | s, a] = Σ_s′ P(s′|s,a) r(s,a,s′)."""
    return jnp.einsum("sat,sat->sa", mdp.transition, mdp.reward)


@full_precision
def policy_value(mdp: TabularMDP, policy: Float[Array | np.ndarray, "S A"]) -> Float[Array, " S"]:
    """v_π, the discounted return from each state, by solving (I − γP_π) v = r_π.

    Nothing is earned after an episode has ended.

    Args:
        mdp: the environment.
        policy: π(a|s), indexed `[s, a]`.

    Raises:
        ValueError: if the policy is not a table of distributions over this MDP's actions.
    """
    policy = mdp.checked_policy(policy)
    transition = jnp.einsum("sa,sat->st", policy, _continuing(mdp))
    reward = jnp.einsum("sa,sa->s", policy, expected_rewards(mdp))
    eye = jnp.eye(mdp.n_states, dtype=transition.dtype)
    return jnp.linalg.solve(eye - mdp.gamma * transition, reward)


@full_precision
def expected_return(mdp: TabularMDP, policy: Float[Array | np.ndarray, "S A"]) -> Float[Array, ""]:
    """Discounted return of a policy from s₀ ~ the initial distribution.

    Arguments and errors as for `policy_value`.
    """
    return mdp.initial @ policy_value(mdp, policy)


@full_precision
def action_values(mdp: TabularMDP, value: Float[Array | np.ndarray, " S"]) -> Float[Array, "S A"]:
    """q(s, a) = E[r + γ v(s′) | s, a]."""
    return expected_rewards(mdp) + mdp.gamma * _continuing(mdp) @ value


@full_precision
def optimal_action_values(mdp: TabularMDP, tolerance: float = 1e-6) -> Float[Array, "S A"]:
    """Q⋆ by value iteration.

    Args:
        mdp: the environment.
        tolerance: bound on the largest error of Q⋆; must be above rounding.

    Raises:
        ValueError: if the tolerance is not positive.
    """
    _checks.positive("tolerance", tolerance)

    def change_is_large(state):
        _, change = state
        # A sweep that changes v by x leaves it within γx/(1−γ) of the fixed point.
        return mdp.gamma * change > tolerance * (1 - mdp.gamma)

    def sweep(state):
        value, _ = state
        improved = action_values(mdp, value).max(axis=-1)
        return improved, jnp.abs(improved - value).max()

    start = jnp.zeros(mdp.n_states, mdp.transition.dtype)
    infinite = jnp.asarray(jnp.inf, start.dtype)
    value, _ = jax.lax.while_loop(change_is_large, sweep, (start, infinite))
    return action_values(mdp, value)


def _restarting(mdp: TabularMDP) -> Float[Array, "S A S"]:
    """P(s′|s,a) where an episode's end is a step to s₀ ~ the initial distribution."""
    if mdp.terminal is None:
        return mdp.transition
    ended = jnp.where(mdp.terminal, mdp.transition, 0).sum(axis=-1, keepdims=True)
    return _continuing(mdp) + ended * mdp.initial


@full_precision
def stationary_distribution(
    mdp: TabularMDP, policy: Float[Array | np.ndarray, "S A"]
) -> Float[Array, " S"]:
    """d_π, the share of its steps that a long life spends in each state: d_π = d_πᵀ P_π.

    An episode's end is a step like any other, to s₀ ~ the initial distribution.

    Args:
        mdp: the environment; one class of recurrent states under the policy.
        policy: π(a|s), indexed `[s, a]`.

    Raises:
        ValueError: if the policy is not a table of distributions over this MDP's actions.
    """
    policy = mdp.checked_policy(policy)
    transition = jnp.einsum("sa,sat->st", policy, _restarting(mdp))
    # dᵀ(I − P + 11ᵀ) = 1ᵀ for the one distribution d with dᵀ = dᵀP.
    eye, ones = jnp.eye(mdp.n_states, dtype=transition.dtype), jnp.ones_like(transition)
    return jnp.linalg.solve((eye - transition + ones).T, ones[0])


@full_precision
def average_reward(mdp: TabularMDP, policy: Float[Array | np.ndarray, "S A"]) -> Float[Array, ""]:
    """Reward per step in the long run, from any state: d_πᵀ r_π with d_π = d_πᵀ P_π.

    Arguments and errors as for `stationary_distribution`.
    """
    policy = mdp.checked_policy(policy)
    reward = jnp.einsum("sa,sa->s", policy, expected_rewards(mdp))
    return stationary_distribution(mdp, policy) @ reward


@full_precision
def differential_value(
    mdp: TabularMDP, policy: Float[Array | np.ndarray, "S A"]
) -> Float[Array, " S"]:
    """h_π, what a start in each state earns more than the average: h = r_π − r̄ + P_π h, d_πᵀh = 0.

    Arguments and errors as for `stationary_distribution`.
    """
    policy = mdp.checked_policy(policy)
    share = stationary_distribution(mdp, policy)
    transition = jnp.einsum("sa,sat->st", policy, _restarting(mdp))
    reward = jnp.einsum("sa,sa->s", policy, expected_rewards(mdp))
    eye = jnp.eye(mdp.n_states, dtype=transition.dtype)
    return jnp.linalg.solve(eye - transition + share, reward - share @ reward)


@full_precision
def mean_squared_value_error(
    mdp: TabularMDP,
    policy: Float[Array | np.ndarray, "S A"],
    values: Float[Array | np.ndarray, " S"],
) -> Float[Array, ""]:
    """Σ_s d_π(s) (v(s) − v_π(s))², Sutton and Barto (2018), eq. (9.1).

    Args:
        mdp: the environment; one class of recurrent states under the policy.
        policy: π(a|s), indexed `[s, a]`.
        values: the estimates v, indexed `[s]`.

    Raises:
        ValueError: if the policy is not a table of distributions over this MDP's actions, or
            there is not one finite value for each state.
    """
    _checks.shape("values", values, (mdp.n_states,))
    _checks.finite("values", values)
    error = jnp.asarray(values) - policy_value(mdp, policy)
    return stationary_distribution(mdp, policy) @ error**2
