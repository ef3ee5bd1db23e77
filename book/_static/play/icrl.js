// The arithmetic of the interactive page: the paper's random MDPs, its prompt, its block and
// its teacher, over plain arrays of doubles. Matrices are row-major, with their sizes beside
// them. A classic script, so that the page opens from a disk; Node loads it as a module.

(function arithmetic() {
  "use strict";

  // --- randomness -------------------------------------------------------------------------

  /** A generator of uniforms on [0, 1): the small fast counting generator sfc32. */
  function random(seed, stream = 0) {
    let a = seed >>> 0, b = stream >>> 0, c = 0x9e3779b9, counter = 1;
    function next() {
      const out = (a + b + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + out) | 0;
      return out >>> 0;
    }
    for (let k = 0; k < 20; k++) next(); // until seed and stream have reached every bit
    // 53 bits, as many as a double holds.
    return () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  }

  /** `length` uniforms on [low, high). */
  function uniforms(rng, length, low = 0, high = 1) {
    return new Float64Array(length).map(() => low + (high - low) * rng());
  }

  /** One draw from Dirichlet(1, …, 1): normalised exponentials. */
  function flatDirichlet(rng, length) {
    const draws = uniforms(rng, length).map((u) => -Math.log1p(-u));
    const total = draws.reduce((sum, x) => sum + x, 0);
    return draws.map((x) => x / total);
  }

  /** The index at which the cumulative weights exceed `uniform`; never one of weight 0. */
  function drawIndex(uniform, weights, offset, length) {
    let total = 0;
    for (let k = 0; k < length; k++) total += weights[offset + k];
    const target = uniform * total;
    let cumulative = 0, last = 0;
    for (let k = 0; k < length; k++) {
      if (weights[offset + k] <= 0) continue;
      cumulative += weights[offset + k];
      last = k;
      if (target < cumulative) return k;
    }
    return last;
  }

  // --- MDPs and their features (paper, section 4) ------------------------------------------

  /**
   * A member of the paper's family. Initial distribution and every P(·|s,a) are flat
   * Dirichlet; there is one reward for each pair (a, s′), uniform on (−1, 1).
   * Returns { S, A, gamma, initial [s], transition [s, a, s′], reward [a, s′] }.
   */
  function randomMdp(rng, { S = 9, A = 4, gamma = 0.5 } = {}) {
    const initial = flatDirichlet(rng, S);
    const transition = new Float64Array(S * A * S);
    for (let row = 0; row < S * A; row++) transition.set(flatDirichlet(rng, S), row * S);
    return { S, A, gamma, initial, transition, reward: uniforms(rng, A * S, -1, 1) };
  }

  /** φ(s, a) ∈ R^d for each pair, entries uniform on (−1, 1): indexed [s, a, feature]. */
  function randomFeatures(rng, S, A, d) {
    return uniforms(rng, S * A * d, -1, 1);
  }

  // --- policies ------------------------------------------------------------------------------

  /** q_w(s, a) = wᵀφ(s, a): indexed [s, a]. */
  function actionValues(features, w) {
    const d = w.length;
    return new Float64Array(features.length / d).map((_, row) => {
      let sum = 0;
      for (let k = 0; k < d; k++) sum += features[row * d + k] * w[k];
      return sum;
    });
  }

  /** π(a|s) that takes an action of highest value; ties share alike. */
  function greedy(values, A) {
    const policy = new Float64Array(values.length);
    for (let row = 0; row < values.length; row += A) {
      const best = Math.max(...values.subarray(row, row + A));
      let ties = 0;
      for (let a = 0; a < A; a++) ties += values[row + a] === best;
      for (let a = 0; a < A; a++) policy[row + a] = values[row + a] === best ? 1 / ties : 0;
    }
    return policy;
  }

  /** With probability ε a uniform action, otherwise the policy's. */
  function explore(policy, A, epsilon) {
    return policy.map((probability) => (1 - epsilon) * probability + epsilon / A);
  }

  /** Every action with the same probability. */
  function uniformPolicy(mdp) {
    return new Float64Array(mdp.S * mdp.A).fill(1 / mdp.A);
  }

  /**
   * Follow a policy for n transitions. `draws` holds 2(n + 1) uniforms: two agents given the
   * same ones see the same window while they act alike.
   * Returns { states (n + 1), actions (n + 1), rewards (n) }; the last action is recorded,
   * because SARSA's target needs it, and not taken.
   */
  function rollout(draws, mdp, policy, state, n) {
    const { S, A } = mdp;
    const states = new Int32Array(n + 1), actions = new Int32Array(n + 1);
    const rewards = new Float64Array(n);
    for (let i = 0; ; i++) {
      const action = drawIndex(draws[2 * i], policy, state * A, A);
      states[i] = state;
      actions[i] = action;
      if (i === n) return { states, actions, rewards };
      state = drawIndex(draws[2 * i + 1], mdp.transition, (state * A + action) * S, S);
      rewards[i] = mdp.reward[action * S + state];
    }
  }

  // --- the prompt and the block (eqs. 1 and 4) ---------------------------------------------

  /** x_i = [φ_i ; γφ⁺_i ; r_{i+1}], one row per transition: n × p with p = 2d + 1. */
  function tokens(mdp, features, { states, actions, rewards }) {
    const n = rewards.length, d = features.length / (mdp.S * mdp.A), p = 2 * d + 1;
    const phi = (i) => (states[i] * mdp.A + actions[i]) * d;
    const x = new Float64Array(n * p);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < d; k++) {
        x[i * p + k] = features[phi(i) + k];
        x[i * p + d + k] = mdp.gamma * features[phi(i + 1) + k];
      }
      x[i * p + 2 * d] = rewards[i];
    }
    return x;
  }

  /** H: the tokens as columns, then one column [0 ; 1 ; w]. D × (n + 1), D = 3d + 2. */
  function prompt(x, w) {
    const d = w.length, p = 2 * d + 1, D = p + d + 1, n = x.length / p, columns = n + 1;
    const H = new Float64Array(D * columns);
    for (let i = 0; i < n; i++) for (let k = 0; k < p; k++) H[k * columns + i] = x[i * p + k];
    H[p * columns + n] = 1;
    for (let k = 0; k < d; k++) H[(p + 1 + k) * columns + n] = w[k];
    return H;
  }

  /** The product of a (rows × inner) and b (inner × columns). */
  function multiply(a, b, inner) {
    const rows = a.length / inner, columns = b.length / inner;
    const product = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < inner; k++) {
        const factor = a[i * inner + k];
        if (factor === 0) continue;
        for (let j = 0; j < columns; j++) product[i * columns + j] += factor * b[k * columns + j];
      }
    }
    return product;
  }

  function transpose(a, rows) {
    const columns = a.length / rows;
    return Float64Array.from(a, (_, k) => a[(k % rows) * columns + Math.floor(k / rows)]);
  }

  /** Eq. (1), literally: H + (1/n) (V H)(Hᵀ P H). */
  function attention({ P, V }, H) {
    const D = Math.sqrt(P.length), n = H.length / D - 1;
    const scores = multiply(transpose(H, D), multiply(P, H, D), D);
    const change = multiply(multiply(V, H, D), scores, n + 1);
    return H.map((entry, k) => entry + change[k] / n);
  }

  /** The block's answer by eq. (1): the last d entries of the last column. */
  function readout(H, d) {
    const columns = H.length / (3 * d + 2);
    return Float64Array.from({ length: d }, (_, k) => H[(2 * d + 3 + k) * columns - 1]);
  }

  /** Full P and V, zero but for the two blocks that training moves: P12 (p × (d + 1)), V̄21 (d × p). */
  function embed({ d, P12, V21 }) {
    const p = 2 * d + 1, D = p + d + 1;
    const P = new Float64Array(D * D), V = new Float64Array(D * D);
    for (let i = 0; i < p; i++) {
      for (let j = 0; j <= d; j++) P[i * D + p + j] = P12[i * (d + 1) + j];
    }
    for (let i = 0; i < d; i++) for (let j = 0; j < p; j++) V[(p + 1 + i) * D + j] = V21[i * p + j];
    return { P, V };
  }

  /** Theorem 3.1 (eqs. 5 and 9): (c P⋆12, V̄⋆21 / c), with which the block is SARSA. */
  function construct(d, alpha, c) {
    const p = 2 * d + 1;
    const P12 = new Float64Array(p * (d + 1)), V21 = new Float64Array(d * p);
    for (let k = 0; k < d; k++) {
      P12[k * (d + 1) + 1 + k] = -c;
      P12[(d + k) * (d + 1) + 1 + k] = c;
      V21[k * p + k] = alpha / c;
    }
    P12[2 * d * (d + 1)] = c;
    return { d, P12, V21 };
  }

  /** What the last column's attention gives each token: x_iᵀ P12 w̃; with P⋆12, the TD error. */
  function scores({ d, P12 }, x, w) {
    const p = 2 * d + 1, direction = new Float64Array(p);
    for (let i = 0; i < p; i++) {
      direction[i] = P12[i * (d + 1)];
      for (let j = 0; j < d; j++) direction[i] += P12[i * (d + 1) + 1 + j] * w[j];
    }
    return multiply(x, direction, p);
  }

  /** The block's answer by Lemma C.1, where P22 = V̄22 = 0: w + V̄21 Σ̂ P12 w̃. */
  function answer(block, x, w) {
    const p = 2 * block.d + 1, s = scores(block, x, w), n = s.length;
    const change = multiply(block.V21, multiply(s, x, n), p);
    return w.map((entry, k) => entry + change[k] / n);
  }

  // --- the teacher (eq. 2) -------------------------------------------------------------------

  /** δ_i = r_{i+1} + γ q_w(s_{i+1}, a_{i+1}) − q_w(s_i, a_i). */
  function tdErrors(mdp, features, w, { states, actions, rewards }) {
    const q = actionValues(features, w), value = (i) => q[states[i] * mdp.A + actions[i]];
    return rewards.map((reward, i) => reward + mdp.gamma * value(i + 1) - value(i));
  }

  /** w + (α/n) Σ δ_i φ_i, as a textbook writes it: neither prompt nor tokens. */
  function teacher(mdp, features, w, window, alpha) {
    const d = w.length, delta = tdErrors(mdp, features, w, window), next = Float64Array.from(w);
    delta.forEach((error, i) => {
      const row = (window.states[i] * mdp.A + window.actions[i]) * d;
      for (let k = 0; k < d; k++) next[k] += (alpha / delta.length) * error * features[row + k];
    });
    return next;
  }

  // --- exact values --------------------------------------------------------------------------

  /** E[r | s, a] + γ E[v(s′) | s, a]: indexed [s, a]. */
  function lookAhead({ S, A, gamma, transition, reward }, v) {
    return new Float64Array(S * A).map((_, row) => {
      let sum = 0;
      for (let t = 0; t < S; t++) {
        sum += transition[row * S + t] * (reward[(row % A) * S + t] + gamma * v[t]);
      }
      return sum;
    });
  }

  /** Q⋆ by value iteration, off by at most `tolerance`. */
  function optimalActionValues(mdp, tolerance = 1e-12) {
    const { S, A, gamma } = mdp;
    let v = new Float64Array(S), change = Infinity;
    while (gamma * change > tolerance * (1 - gamma)) {
      const q = lookAhead(mdp, v);
      const improved = v.map((_, s) => Math.max(...q.subarray(s * A, (s + 1) * A)));
      change = Math.max(...improved.map((value, s) => Math.abs(value - v[s])));
      v = improved;
    }
    return lookAhead(mdp, v);
  }

  /** v_π by solving (I − γP_π) v = r_π with Gaussian elimination. */
  function policyValue(mdp, policy) {
    const { S, A, gamma, transition } = mdp;
    const rewards = lookAhead({ ...mdp, gamma: 0 }, new Float64Array(S));
    const M = Array.from({ length: S }, (_, s) => {
      const row = new Float64Array(S + 1); // the last entry is the right-hand side
      row[s] = 1;
      for (let a = 0; a < A; a++) {
        const probability = policy[s * A + a];
        row[S] += probability * rewards[s * A + a];
        for (let t = 0; t < S; t++) row[t] -= gamma * probability * transition[(s * A + a) * S + t];
      }
      return row;
    });
    // No pivoting: rows of I − γP_π are diagonally dominant.
    for (let k = 0; k < S; k++) {
      for (let i = k + 1; i < S; i++) {
        const factor = M[i][k] / M[k][k];
        for (let j = k; j <= S; j++) M[i][j] -= factor * M[k][j];
      }
    }
    const v = new Float64Array(S);
    for (let k = S - 1; k >= 0; k--) {
      v[k] = M[k][S];
      for (let j = k + 1; j < S; j++) v[k] -= M[k][j] * v[j];
      v[k] /= M[k][k];
    }
    return v;
  }

  /** The discounted return of a policy from s₀ ~ the initial distribution. */
  function policyReturn(mdp, policy) {
    return policyValue(mdp, policy).reduce((sum, value, s) => sum + mdp.initial[s] * value, 0);
  }

  // --- the closed loop (Figure 3) ------------------------------------------------------------

  /** Streams of one seed, so that no setting changes what another one draws. */
  const STREAM = { mdp: 0, features: 1, parameters: 2, state: 3, windows: 4 };

  /** An MDP with features, first parameters and state, as Algorithm 1 begins. */
  function drawWorld(seed, { S = 9, A = 4, d = 36, gamma = 0.5 } = {}) {
    const mdp = randomMdp(random(seed, STREAM.mdp), { S, A, gamma });
    return {
      mdp,
      features: randomFeatures(random(seed, STREAM.features), S, A, d),
      w: uniforms(random(seed, STREAM.parameters), d, -1, 1),
      state: drawIndex(random(seed, STREAM.state)(), mdp.initial, 0, S),
      windows: random(seed, STREAM.windows),
    };
  }

  /**
   * One turn of one agent: act ε-greedily for a window, let the learner answer, keep the answer.
   * `agent` is { w, state }; the learner maps (x, w, window) to new parameters. No reset: the
   * window starts where the last one ended.
   */
  function turn({ mdp, features }, agent, learner, draws, epsilon, n) {
    const policy = greedy(actionValues(features, agent.w), mdp.A);
    const behaviour = explore(policy, mdp.A, epsilon);
    const window = rollout(draws, mdp, behaviour, agent.state, n);
    const x = tokens(mdp, features, window);
    return { w: learner(x, agent.w, window), state: window.states[n], window, x, before: agent.w };
  }

  /** Little-endian float32 in base64, as numbers. */
  function decode(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
  }

  const Icrl = {
    random, uniforms, flatDirichlet, drawIndex, randomMdp, randomFeatures,
    actionValues, greedy, explore, uniformPolicy, rollout,
    tokens, prompt, attention, readout, embed, construct, scores, answer,
    tdErrors, teacher, lookAhead, optimalActionValues, policyValue, policyReturn,
    drawWorld, turn, decode,
    source: () => `(${arithmetic})();`, // for a worker, which may read no file of a disk
  };
  if (typeof module !== "undefined" && module.exports) module.exports = Icrl;
  else globalThis.Icrl = Icrl;
})();
