"""The paper's equations in float64 NumPy, a loop for every sum over columns or transitions.

Nothing here uses icrl_flax: this is what the library is held against.
"""

import math

import numpy as np


def block(P, V, H):
    """H_out = H + (1/n) (V H)(Hᵀ P H), eq. (1), with n + 1 columns in H."""
    columns = H.shape[1]
    n = columns - 1
    out = np.array(H)
    for j in range(columns):
        for k in range(columns):
            attention = H[:, k] @ P @ H[:, j]
            out[:, j] += attention * (V @ H[:, k]) / n
    return out


def prompt(tokens, u):
    """Eqs. (4) and (13), entry by entry."""
    n, p = tokens.shape
    q = len(u)
    H = np.zeros((p + q + 1, n + 1))
    for i in range(n):
        for j in range(p):
            H[j, i] = tokens[i, j]
    H[p, n] = 1
    for j in range(q):
        H[p + 1 + j, n] = u[j]
    return H


def transformer(P, V, tokens, u):
    """TF_θ(H): the last q entries of the last column."""
    H = block(P, V, prompt(tokens, u))
    return H[H.shape[0] - len(u) :, H.shape[1] - 1]


def second_moment(tokens):
    """Σ̂ = (1/n) Σ x_i x_iᵀ."""
    total = np.zeros((tokens.shape[1], tokens.shape[1]))
    for x in tokens:
        total += np.outer(x, x)
    return total / len(tokens)


def lemma_c1(P, V, tokens, u):
    """The terms u, V̄21 Σ̂ P12 w̃ and (1/n) V̄22 w̃ · (w̃ᵀ P22 w̃)."""
    n, p = tokens.shape
    w = np.array([1.0, *u])
    V21, V22 = V[p + 1 :, :p], V[p + 1 :, p:]
    P12, P22 = P[:p, p:], P[p:, p:]
    return u, V21 @ second_moment(tokens) @ P12 @ w, V22 @ w * (w @ P22 @ w) / n


def gradients(P12, V21, tokens, u, target):
    """Of ½‖u + V̄21 Σ̂ P12 w̃ − target‖²: with h = Σ̂ P12 w̃, Σ̂ V̄21ᵀ e w̃ᵀ and e hᵀ."""
    w = np.array([1.0, *u])
    sigma = second_moment(tokens)
    h = sigma @ P12 @ w
    e = u + V21 @ h - target
    return np.outer(sigma @ V21.T @ e, w), np.outer(e, h)


def full_gradients(P, V, tokens, u, target):
    """The same for all of P and V: of ½‖u + V̄21 Σ̂ P12 w̃ + (1/n) V̄22 w̃ (w̃ᵀ P22 w̃) − target‖²."""
    n, p = tokens.shape
    w = np.array([1.0, *u])
    sigma = second_moment(tokens)
    V21, V22, P22 = V[p + 1 :, :p], V[p + 1 :, p:], P[p:, p:]
    e = sum(lemma_c1(P, V, tokens, u)) - target
    for_P, for_V = np.zeros_like(P), np.zeros_like(V)
    for_P[:p, p:] = np.outer(sigma @ V21.T @ e, w)
    for_P[p:, p:] = e @ V22 @ w / n * np.outer(w, w)
    for_V[p + 1 :, :p] = np.outer(e, sigma @ P[:p, p:] @ w)
    for_V[p + 1 :, p:] = w @ P22 @ w / n * np.outer(e, w)
    return for_P, for_V


def sarsa_tokens(phi, states, actions, rewards, gamma):
    """x_i = [φ_i ; γ φ⁺_i ; r_{i+1}], eq. (4)."""
    rows = []
    for i, reward in enumerate(rewards):
        now, then = phi[states[i], actions[i]], phi[states[i + 1], actions[i + 1]]
        rows.append([*now, *(gamma * then), reward])
    return np.array(rows)


def sarsa(phi, w, alpha, states, actions, rewards, gamma):
    """Eq. (2)."""
    n = len(rewards)
    total = np.zeros_like(w)
    for i in range(n):
        now, then = phi[states[i], actions[i]], phi[states[i + 1], actions[i + 1]]
        delta = rewards[i] + gamma * (w @ then) - w @ now
        total += delta * now
    return w + alpha / n * total


def expected_sarsa(phi, w, alpha, epsilon, states, actions, rewards, gamma):
    """Eq. (2) with Σ_b π(b|s_{i+1}) q_w(s_{i+1}, b) for the value of the successor."""
    n = len(rewards)
    pi = sarsa_policy(phi, w, epsilon)
    total = np.zeros_like(w)
    for i in range(n):
        successor = states[i + 1]
        value = 0.0
        for b in range(phi.shape[1]):
            value += pi[successor, b] * (w @ phi[successor, b])
        now = phi[states[i], actions[i]]
        total += (rewards[i] + gamma * value - w @ now) * now
    return w + alpha / n * total


def gradient_monte_carlo(phi, w, alpha, states, rewards, gamma):
    """w + (α/n) Σ (G_i − wᵀφ_i) φ_i, each return summed anew, to the window's end."""
    n = len(rewards)
    total = np.zeros_like(w)
    for i in range(n):
        earned = sum(gamma ** (j - i) * rewards[j] for j in range(i, n))
        total += (earned - w @ phi[states[i]]) * phi[states[i]]
    return w + alpha / n * total


def softmax_policy(phi_pi, lam):
    """π_λ(a|s) ∝ exp(λᵀφ_π(s, a))."""
    pi = np.zeros(phi_pi.shape[:2])
    for s, a in np.ndindex(pi.shape):
        pi[s, a] = math.exp(lam @ phi_pi[s, a])
    for s in range(len(pi)):
        pi[s] /= sum(pi[s])
    return pi


def score(phi_pi, lam, s, a):
    """g_λ(s, a) = φ_π(s, a) − Σ_b π_λ(b|s) φ_π(s, b)."""
    pi = softmax_policy(phi_pi, lam)
    g = np.array(phi_pi[s, a])
    for b in range(phi_pi.shape[1]):
        g -= pi[s, b] * phi_pi[s, b]
    return g


def actor_critic_tokens(phi_pi, phi_v, lam, states, actions, rewards, gamma):
    """x_i = [φ_V(s_i) ; γφ_V(s_{i+1}) ; r_{i+1} ; γ^i g_λ(s_i, a_i)], eq. (13)."""
    rows = []
    for i, reward in enumerate(rewards):
        g = gamma**i * score(phi_pi, lam, states[i], actions[i])
        rows.append([*phi_v[states[i]], *(gamma * phi_v[states[i + 1]]), reward, *g])
    return np.array(rows)


def actor_critic(phi_pi, phi_v, u, alpha, beta, states, actions, rewards, gamma):
    """Eq. (3), as [λ ; w]."""
    n, m = len(rewards), phi_pi.shape[2]
    lam, w = u[:m], u[m:]
    actor, critic = np.zeros_like(lam), np.zeros_like(w)
    for i in range(n):
        now, then = phi_v[states[i]], phi_v[states[i + 1]]
        delta = rewards[i] + gamma * (w @ then) - w @ now
        critic += delta * now
        actor += gamma**i * delta * score(phi_pi, lam, states[i], actions[i])
    return np.concatenate([lam + alpha / n * actor, w + beta / n * critic])


def mixed(pi, epsilon):
    """With probability ε a uniform action."""
    out = np.zeros_like(pi)
    for s, a in np.ndindex(pi.shape):
        out[s, a] = (1 - epsilon) * pi[s, a] + epsilon / pi.shape[1]
    return out


def greedy(values):
    """Probability 1 on the best action, shared where several are best."""
    pi = np.zeros(values.shape)
    for s, row in enumerate(values):
        best = [a for a, value in enumerate(row) if value == max(row)]
        for a in best:
            pi[s, a] = 1 / len(best)
    return pi


def sarsa_policy(phi, w, epsilon):
    """ε-greedy on q_w."""
    values = np.zeros(phi.shape[:2])
    for s, a in np.ndindex(values.shape):
        values[s, a] = w @ phi[s, a]
    return mixed(greedy(values), epsilon)


class Adam:
    """Adam (Kingma and Ba, Algorithm 1), its rate times `decay` every `every` updates."""

    def __init__(self, rate, decay, every):
        self.rate, self.decay, self.every = rate, decay, every
        self.t, self.first, self.second = 0, 0.0, 0.0

    def __call__(self, theta, gradient):
        rate = self.rate * self.decay ** (self.t // self.every)
        self.t += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first = self.first / (1 - 0.9**self.t)
        second = self.second / (1 - 0.999**self.t)
        return theta - rate * first / (np.sqrt(second) + 1e-8)


def population_loss(P12, V21, tokens, u, targets):
    """Eq. (6) with P22 = V̄22 = 0: the mean over windows of ½‖u + V̄21 Σ̂ P12 w̃ − target‖²."""
    total = 0.0
    for x, each, target in zip(tokens, u, targets, strict=True):
        w = np.array([1.0, *each])
        e = each + V21 @ second_moment(x) @ P12 @ w - target
        total += e @ e / 2
    return total / len(tokens)


def error_terms(P12, V21, c, U, W, tokens, u):
    """X = c⁻¹ V̄⋆21 Σ̂ U w̃ + c W b and Y = W Σ̂ U w̃ for one window, b = Σ̂ P⋆12 w̃."""
    w = np.array([1.0, *u])
    sigma = second_moment(tokens)
    return V21 @ sigma @ U @ w / c + c * W @ sigma @ P12 @ w, W @ sigma @ U @ w


def unit_matrices(rows, columns):
    """Matrices with a single 1, row by row."""
    for i, j in np.ndindex(rows, columns):
        unit = np.zeros((rows, columns))
        unit[i, j] = 1
        yield unit


def excitation(P12, V21, tokens, u):
    """What V̄⋆21 Σ̂ U w̃ and W b are on each window, one row per unit matrix U or W."""
    left, right = [], []
    for U in unit_matrices(*P12.shape):
        W = np.zeros(V21.shape)
        each = [error_terms(P12, V21, 1, U, W, x, z)[0] for x, z in zip(tokens, u, strict=True)]
        left.append(np.concatenate(each))
    for W in unit_matrices(*V21.shape):
        U = np.zeros(P12.shape)
        each = [error_terms(P12, V21, 1, U, W, x, z)[0] for x, z in zip(tokens, u, strict=True)]
        right.append(np.concatenate(each))
    return np.array(left), np.array(right)


def canonical_correlations(left, right):
    """Of two families of variables, one row per variable: by QR, largest first."""
    return np.linalg.svd(np.linalg.qr(left.T)[0].T @ np.linalg.qr(right.T)[0])[1]


def draw_index(uniform, probabilities):
    """The first index at which the cumulative sum exceeds the uniform number."""
    total = sum(probabilities)
    cumulative = 0.0
    for index, probability in enumerate(probabilities):
        cumulative += probability
        if probability > 0 and uniform * total < cumulative:
            return index
    raise AssertionError("a uniform number below 1 lies below the whole sum")


def rollout(uniforms, transition, reward, policy, state):
    """s₀ … s_n, a₀ … a_n and r₁ … r_n; a pair of uniform numbers for each time."""
    s = int(state)
    a = draw_index(uniforms[0][0], policy[s])
    states, actions, rewards = [s], [a], []
    for i in range(len(uniforms) - 1):
        successor = draw_index(uniforms[i][1], transition[s, a])
        rewards.append(reward[s, a, successor])
        s = successor
        a = draw_index(uniforms[i + 1][0], policy[s])
        states.append(s)
        actions.append(a)
    return np.array(states), np.array(actions), np.array(rewards)


def sarsa_life(phi, w, state, transition, reward, gamma, alpha, epsilon, uniforms):
    """Algorithm 1 in one MDP: tokens, w and target of each window, one after another."""
    for of_window in uniforms:
        policy = sarsa_policy(phi, w, epsilon)
        states, actions, rewards = rollout(of_window, transition, reward, policy, state)
        path = states, actions, rewards, gamma
        target = sarsa(phi, w, alpha, *path)
        yield sarsa_tokens(phi, *path), w, target
        w, state = target, states[-1]


def actor_critic_life(
    phi_pi, phi_v, u, state, transition, reward, gamma, alpha, beta, epsilon, uniforms
):
    """Algorithm 2 in one MDP, likewise, u = [λ ; w]."""
    m = phi_pi.shape[2]
    for of_window in uniforms:
        policy = mixed(softmax_policy(phi_pi, u[:m]), epsilon)
        states, actions, rewards = rollout(of_window, transition, reward, policy, state)
        path = states, actions, rewards, gamma
        target = actor_critic(phi_pi, phi_v, u, alpha, beta, *path)
        yield actor_critic_tokens(phi_pi, phi_v, u[:m], *path), u, target
        u, state = target, states[-1]


def block_loss(P, V, tokens, u, target):
    """½‖TF_θ(H) − target‖² of one window, through eq. (1)."""
    error = transformer(P, V, tokens, u) - target
    return error @ error / 2


def difference_quotients(function, *matrices):
    """The derivatives of a function that is quadratic in any one entry, entry by entry.

    The difference over an interval of length 2 is then exact but for rounding.
    """
    slopes = []
    for matrix in matrices:
        slope = np.zeros_like(matrix)
        for index in np.ndindex(matrix.shape):
            kept = matrix[index]
            matrix[index] = kept + 1
            above = function(*matrices)
            matrix[index] = kept - 1
            slope[index] = (above - function(*matrices)) / 2
            matrix[index] = kept
        slopes.append(slope)
    return slopes
