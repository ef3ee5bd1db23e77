"""Random instances for the tests, drawn with NumPy."""

import jax.numpy as jnp
import numpy as np

from icrl_flax import TabularMDP, Window


def random_path(rng, n_states, n_actions, n):
    """States, actions and rewards of any sequence, and a γ: not rolled out."""
    return (
        rng.integers(0, n_states, n + 1),
        rng.integers(0, n_actions, n + 1),
        rng.normal(size=n),
        rng.uniform(0, 1),
    )


def as_window(states, actions, rewards, gamma):
    """The same as a Window; also for traced arrays."""
    return Window(
        jnp.asarray(states),
        jnp.asarray(actions),
        jnp.asarray(rewards),
        jnp.asarray(gamma, jnp.asarray(rewards).dtype),
        jnp.zeros(np.shape(rewards), bool),
    )


def sparse_rows(rng, *shape):
    """Distributions with about half of their entries 0, the last one often among them."""
    weights = rng.uniform(0.1, 1, shape) * (rng.uniform(size=shape) < 0.5)
    weights[..., 0] += weights.sum(axis=-1) == 0
    return weights / weights.sum(axis=-1, keepdims=True)


def sparse_mdp(rng, n_states=4, n_actions=3, gamma=0.7, dtype=np.float64):
    """An MDP in which about half of all transitions are impossible."""
    return TabularMDP(
        transition=sparse_rows(rng, n_states, n_actions, n_states).astype(dtype),
        reward=rng.uniform(-1, 1, (n_states, n_actions, n_states)).astype(dtype),
        initial=sparse_rows(rng, n_states).astype(dtype),
        gamma=np.asarray(gamma, dtype),
    )
