"""Small populations for the tests of icrl_flax.theory, made by the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import reference
from samples import random_path

from icrl_flax import ActorCritic, Effective, Sarsa
from icrl_flax.theory import Population

N_STATES, N_ACTIONS = 3, 2
RULES = {"sarsa": Sarsa(d=2, alpha=0.3), "actor-critic": ActorCritic(m=1, d=2, alpha=0.7)}


def random_population(rule, size=60, n=4, seed=0):
    """Windows of random paths, features and parameters, with what the rule makes of each."""
    rng = np.random.default_rng(seed)
    tokens, parameters, targets = [], [], []
    for _ in range(size):
        path = random_path(rng, N_STATES, N_ACTIONS, n)
        u = rng.normal(size=rule.q)
        if isinstance(rule, Sarsa):
            phi = rng.uniform(-1, 1, (N_STATES, N_ACTIONS, rule.d))
            tokens.append(reference.sarsa_tokens(phi, *path))
            targets.append(reference.sarsa(phi, u, rule.alpha, *path))
        else:
            phi_pi = rng.uniform(-1, 1, (N_STATES, N_ACTIONS, rule.m))
            phi_v = rng.uniform(-1, 1, (N_STATES, rule.d))
            lam = u[: rule.m]
            tokens.append(reference.actor_critic_tokens(phi_pi, phi_v, lam, *path))
            targets.append(reference.actor_critic(phi_pi, phi_v, u, rule.alpha, rule.beta, *path))
        parameters.append(u)
    population = Population(
        jnp.asarray(np.array(tokens)), jnp.asarray(np.array(parameters)), rule.optimum(jnp.float64)
    )
    return population, np.array(targets)


def one_hot_population(size=60, n=4, seed=0, discounts=(0.5,)):
    """SARSA on indicators of (s, a): every token is orthogonal to one vector, if γ is fixed."""
    rng = np.random.default_rng(seed)
    phi = np.eye(2)[:, None, :]  # two states, one action
    rule = Sarsa(d=2, alpha=0.3)
    tokens = []
    for k in range(size):
        states, actions, rewards, _ = random_path(rng, 2, 1, n)
        gamma = discounts[k % len(discounts)]
        tokens.append(reference.sarsa_tokens(phi, states, actions, rewards, gamma))
    u = rng.normal(size=(size, rule.q))
    return Population(jnp.asarray(np.array(tokens)), jnp.asarray(u), rule.optimum(jnp.float64))


def random_pair(optimum, seed, size=1.0):
    """Δ = (U, W) with standard normal entries, times a size."""
    rng = np.random.default_rng(seed)
    return Effective(*(jnp.asarray(size * rng.normal(size=block.shape)) for block in optimum))


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)
