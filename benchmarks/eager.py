"""Algorithms 1 and 2 as one would first write them: NumPy, one loop inside the other.

Straight from the equations, and nothing of icrl_flax: what its times are divided by.
Several lines of NumPy for each transition, one update of θ after the other, as a program
without a compiler works. Random numbers are NumPy's, so a run has its own MDPs.
"""

from typing import NamedTuple

import numpy as np


class MDP(NamedTuple):
    """P(s′|s,a) indexed `[s, a, s′]`, r(a, s′) indexed `[a, s′]`, and s₀'s distribution."""

    transition: np.ndarray
    reward: np.ndarray
    initial: np.ndarray
    gamma: float


def draw_mdp(rng, n_states=9, n_actions=4, gamma=0.5):
    """One MDP of the paper's family (§4)."""
    return MDP(
        rng.dirichlet(np.ones(n_states), (n_states, n_actions)),
        rng.uniform(-1, 1, (n_actions, n_states)),
        rng.dirichlet(np.ones(n_states)),
        gamma,
    )


def choose(rng, probabilities):
    """An index with the given probabilities."""
    return int(np.searchsorted(np.cumsum(probabilities), rng.random() * probabilities.sum()))


def rollout(rng, mdp, behaviour, state, n):
    """n transitions from a state: states and actions 0 … n, and n rewards."""
    states, actions, rewards = [state], [choose(rng, behaviour[state])], []
    for _ in range(n):
        s, a = states[-1], actions[-1]
        successor = choose(rng, mdp.transition[s, a])
        rewards.append(mdp.reward[a, successor])
        states.append(successor)
        actions.append(choose(rng, behaviour[successor]))
    return states, actions, rewards


class Sarsa:
    """Eqs. (2) and (4): ε-greedy behaviour on q_w."""

    def __init__(self, d=36, alpha=0.2, epsilon=0.1):
        self.d, self.alpha, self.epsilon = d, alpha, epsilon
        self.p, self.q = 2 * d + 1, d

    def draw_features(self, rng, mdp):
        n_states, n_actions = mdp.transition.shape[:2]
        return rng.uniform(-1, 1, (n_states, n_actions, self.d))

    def behaviour(self, phi, w):
        n_states, n_actions = phi.shape[:2]
        policy = np.full((n_states, n_actions), self.epsilon / n_actions)
        for s in range(n_states):
            policy[s, np.argmax(phi[s] @ w)] += 1 - self.epsilon
        return policy

    def tokens(self, phi, w, window, gamma):
        states, actions, rewards = window
        rows = []
        for i, reward in enumerate(rewards):
            now, then = phi[states[i], actions[i]], phi[states[i + 1], actions[i + 1]]
            rows.append(np.concatenate([now, gamma * then, [reward]]))
        return np.array(rows)

    def teacher(self, phi, w, window, gamma):
        states, actions, rewards = window
        total = np.zeros_like(w)
        for i, reward in enumerate(rewards):
            now, then = phi[states[i], actions[i]], phi[states[i + 1], actions[i + 1]]
            total += (reward + gamma * w @ then - w @ now) * now
        return w + self.alpha / len(rewards) * total


class ActorCritic:
    """Eqs. (3) and (13): softmax behaviour mixed with ε-uniform; u = [λ ; w]."""

    def __init__(self, m=36, d=9, alpha=0.2, beta=0.8, epsilon=0.1):
        self.m, self.d, self.alpha, self.beta, self.epsilon = m, d, alpha, beta, epsilon
        self.p, self.q = 2 * d + m + 1, d + m

    def draw_features(self, rng, mdp):
        n_states, n_actions = mdp.transition.shape[:2]
        return (
            rng.uniform(-1, 1, (n_states, n_actions, self.m)),
            rng.uniform(-1, 1, (n_states, self.d)),
        )

    def policy(self, phi, lam, s):
        weights = np.exp(phi[s] @ lam - np.max(phi[s] @ lam))
        return weights / weights.sum()

    def behaviour(self, features, u):
        phi, _ = features
        rows = [self.policy(phi, u[: self.m], s) for s in range(len(phi))]
        return (1 - self.epsilon) * np.array(rows) + self.epsilon / phi.shape[1]

    def score(self, phi, lam, s, a):
        return phi[s, a] - self.policy(phi, lam, s) @ phi[s]

    def tokens(self, features, u, window, gamma):
        (phi, psi), lam = features, u[: self.m]
        states, actions, rewards = window
        rows = []
        for i, reward in enumerate(rewards):
            g = gamma**i * self.score(phi, lam, states[i], actions[i])
            rows.append(np.concatenate([psi[states[i]], gamma * psi[states[i + 1]], [reward], g]))
        return np.array(rows)

    def teacher(self, features, u, window, gamma):
        (phi, psi), lam, w = features, u[: self.m], u[self.m :]
        states, actions, rewards = window
        actor, critic = np.zeros_like(lam), np.zeros_like(w)
        for i, reward in enumerate(rewards):
            delta = reward + gamma * w @ psi[states[i + 1]] - w @ psi[states[i]]
            critic += delta * psi[states[i]]
            actor += gamma**i * delta * self.score(phi, lam, states[i], actions[i])
        n = len(rewards)
        return np.concatenate([lam + self.alpha / n * actor, w + self.beta / n * critic])


RULES = {"sarsa": Sarsa, "actor-critic": ActorCritic}


def draw_theta(rng, p, q, gain=0.1):
    """P12 and V̄21, Xavier-normal (§4)."""
    scales = [gain * np.sqrt(2 / (rows + columns)) for rows, columns in ((p, q + 1), (q, p))]
    return scales[0] * rng.normal(size=(p, q + 1)), scales[1] * rng.normal(size=(q, p))


def loss_and_gradients(theta, tokens, u, target):
    """½‖u + V̄21 Σ̂ P12 w̃ − target‖² (Lemma C.1), and its gradients by P12 and V̄21."""
    P12, V21 = theta
    w = np.concatenate([[1.0], u])
    sigma = tokens.T @ tokens / len(tokens)
    h = sigma @ (P12 @ w)
    error = u + V21 @ h - target
    return error @ error / 2, (np.outer(sigma @ (V21.T @ error), w), np.outer(error, h))


class Adam:
    """Adam (Kingma and Ba, Algorithm 1); its rate falls by `decay` every `every` updates."""

    def __init__(self, theta, rate=1e-3, decay=0.99, every=500):
        self.rate, self.decay, self.every, self.t = rate, decay, every, 0
        self.first = [np.zeros_like(block) for block in theta]
        self.second = [np.zeros_like(block) for block in theta]

    def step(self, theta, gradients):
        rate = self.rate * self.decay ** (self.t // self.every)
        self.t += 1
        new = []
        for k, (block, gradient) in enumerate(zip(theta, gradients, strict=True)):
            self.first[k] = 0.9 * self.first[k] + 0.1 * gradient
            self.second[k] = 0.999 * self.second[k] + 0.001 * gradient**2
            first = self.first[k] / (1 - 0.9**self.t)
            second = self.second[k] / (1 - 0.999**self.t)
            new.append(block - rate * first / (np.sqrt(second) + 1e-8))
        return tuple(new)


def examples(rng, rule, windows=50, n=20):
    """(tokens, u, target) of each window in the life of one MDP under its teacher."""
    mdp = draw_mdp(rng)
    features = rule.draw_features(rng, mdp)
    u = rng.uniform(-1, 1, rule.q)
    state = choose(rng, mdp.initial)
    for _ in range(windows):
        window = rollout(rng, mdp, rule.behaviour(features, u), state, n)
        target = rule.teacher(features, u, window, mdp.gamma)
        yield rule.tokens(features, u, window, mdp.gamma), u, target
        u, state = target, window[0][-1]


def learn(theta, adam, data):
    """One update for each example: the last θ, and the losses."""
    losses = []
    for tokens, u, target in data:
        loss, gradients = loss_and_gradients(theta, tokens, u, target)
        losses.append(loss)
        theta = adam.step(theta, gradients)
    return theta, np.array(losses)
