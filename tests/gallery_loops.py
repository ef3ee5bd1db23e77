"""The rules of the gallery in float64 NumPy, each a loop over transitions.

Written from the textbook definitions; nothing here uses icrl_flax. A path is
(states, actions, rewards, gamma, terminated). `terminated[i]` says that
transition i ended an episode: its successor has no value, and what comes later
belongs to another episode.
"""

import numpy as np
from reference import mixed, sarsa_policy, score, softmax_policy


def discount(i, gamma, terminated):
    """The factor on what follows transition i."""
    return 0.0 if terminated[i] else gamma


def returns(path, i):
    """G_i, summed forwards from transition i to the end of its episode or of the window."""
    _, _, rewards, gamma, terminated = path
    total, factor = 0.0, 1.0
    for j in range(i, len(rewards)):
        total += factor * rewards[j]
        factor *= discount(j, gamma, terminated)
    return total


def td(rule, features, w, path):
    states, _, rewards, gamma, terminated = path
    phi, total = features.phi[states], np.zeros_like(w)
    for i, reward in enumerate(rewards):
        delta = reward + discount(i, gamma, terminated) * (w @ phi[i + 1]) - w @ phi[i]
        total += delta * phi[i]
    return w + rule.alpha / len(rewards) * total


def with_trace(rule, phi, w, path):
    """The backward view, which the library's teachers do not take."""
    _, _, rewards, gamma, terminated = path
    trace, total = np.zeros_like(w), np.zeros_like(w)
    for i, reward in enumerate(rewards):
        if i and terminated[i - 1]:
            trace = np.zeros_like(w)
        trace = gamma * rule.lam * trace + phi[i]
        delta = reward + discount(i, gamma, terminated) * (w @ phi[i + 1]) - w @ phi[i]
        total += delta * trace
    return w + rule.alpha / len(rewards) * total


def td_lambda(rule, features, w, path):
    return with_trace(rule, features.phi[path[0]], w, path)


def sarsa_lambda(rule, features, w, path):
    return with_trace(rule, features[path[0], path[1]], w, path)


def n_step_sarsa(rule, features, w, path):
    states, actions, rewards, gamma, terminated = path
    n, total = len(rewards), np.zeros_like(w)
    for i in range(n):
        target, factor, j = 0.0, 1.0, i
        while j < min(i + rule.k, n):
            target += factor * rewards[j]
            factor *= discount(j, gamma, terminated)
            j += 1
        target += factor * (w @ features[states[j], actions[j]])
        now = features[states[i], actions[i]]
        total += (target - w @ now) * now
    return w + rule.alpha / n * total


def expected_sarsa(rule, features, w, path):
    states, actions, rewards, gamma, terminated = path
    pi, total = sarsa_policy(features, w, rule.epsilon), np.zeros_like(w)
    for i, reward in enumerate(rewards):
        value = sum(
            pi[states[i + 1], b] * (w @ features[states[i + 1], b])
            for b in range(features.shape[1])
        )
        now = features[states[i], actions[i]]
        total += (reward + discount(i, gamma, terminated) * value - w @ now) * now
    return w + rule.alpha / len(rewards) * total


def residual_gradient(rule, features, w, path):
    states, _, rewards, gamma, terminated = path
    phi, total = features.phi[states], np.zeros_like(w)
    for i, reward in enumerate(rewards):
        factor = discount(i, gamma, terminated)
        delta = reward + factor * (w @ phi[i + 1]) - w @ phi[i]
        total -= delta * (factor * phi[i + 1] - phi[i])  # δ ∇δ
    return w + rule.alpha / len(rewards) * total


def differential(rule, phi, u, path):
    rewards = path[2]
    w, average = u[:-1], u[-1]
    total, drift = np.zeros_like(w), 0.0
    for i, reward in enumerate(rewards):
        delta = reward - average + w @ phi[i + 1] - w @ phi[i]
        total += delta * phi[i]
        drift += delta
    n = len(rewards)
    return np.array([*(w + rule.alpha / n * total), average + rule.beta / n * drift])


def differential_td(rule, features, u, path):
    return differential(rule, features.phi[path[0]], u, path)


def differential_sarsa(rule, features, u, path):
    return differential(rule, features[path[0], path[1]], u, path)


def ratio(rule, features, s, a):
    """π(a|s) / b(a|s), with b = π mixed with ε-uniform."""
    logits = features.logits[..., None]
    pi = softmax_policy(logits, np.ones(1))
    return pi[s, a] / mixed(pi, rule.epsilon)[s, a]


def off_policy_td(rule, features, w, path):
    states, actions, rewards, gamma, terminated = path
    phi, total = features.phi[states], np.zeros_like(w)
    for i, reward in enumerate(rewards):
        delta = reward + discount(i, gamma, terminated) * (w @ phi[i + 1]) - w @ phi[i]
        total += ratio(rule, features, states[i], actions[i]) * delta * phi[i]
    return w + rule.alpha / len(rewards) * total


def reinforce(rule, features, u, path):
    states, actions, rewards, gamma, terminated = path
    n, m = len(rewards), rule.m
    lam, w = u[:m], u[m:]
    actor, critic, elapsed = np.zeros_like(lam), np.zeros_like(w), 0
    for i in range(n):
        elapsed = 0 if i == 0 or terminated[i - 1] else elapsed + 1
        now = features.critic[states[i]]
        delta = returns(path, i) - w @ now
        critic += delta * now
        actor += gamma**elapsed * delta * score(features.actor, lam, states[i], actions[i])
    return np.concatenate([lam + rule.alpha / n * actor, w + rule.beta / n * critic])


def gradient_td(rule, features, u, path, correction):
    states, actions, rewards, gamma, terminated = path
    n, d = len(rewards), rule.d
    w, v = u[:d], u[d:]
    phi, change_w, change_v = features.phi[states], np.zeros_like(w), np.zeros_like(v)
    for i, reward in enumerate(rewards):
        now, then = phi[i], discount(i, gamma, terminated) * phi[i + 1]
        delta = reward + w @ then - w @ now
        rho = ratio(rule, features, states[i], actions[i])
        if correction:
            change_w += rho * (delta * now - then * (now @ v))
        else:
            change_w += rho * (now - then) * (now @ v)
        change_v += rho * (delta - now @ v) * now
    return np.concatenate([w + rule.alpha / n * change_w, v + rule.beta / n * change_v])


def gtd2(rule, features, u, path):
    return gradient_td(rule, features, u, path, correction=False)


def tdc(rule, features, u, path):
    return gradient_td(rule, features, u, path, correction=True)
