// Algorithm 1 for SARSA, in the page: MDPs, windows, the teacher, the block's loss and its
// gradient, Adam. Data and forward pass are play/icrl.js's. Also the work of a Web Worker, as text.

(function learning() {
  "use strict";

  const node = typeof module !== "undefined" && module.exports;
  const I = node ? require("../play/icrl.js") : globalThis.Icrl;

  /** The paper's settings (section 4) for a block of this size; S·A = d in the paper. */
  const PAPER = {
    S: 9, A: 4, d: 36, gamma: 0.5, n: 20, windows: 50, epsilon: 0.1, alpha: 0.2,
    mdps: 10000, rate: 1e-3, decay: 0.99, decayEvery: 10, gain: 0.1, seed: 0,
  };

  /**
   * ½‖w + V̄21 Σ̂ P12 w̃ − target‖² of one window, and its derivatives with respect to P12 and
   * V̄21. `x` are n tokens, row after row. Written into `into`, which holds { P12, V21 }.
   */
  function lossAndGradient({ d, P12, V21 }, x, w, target, into) {
    const p = 2 * d + 1, columns = d + 1, n = x.length / p;
    const direction = new Float64Array(p), mean = new Float64Array(p), error = new Float64Array(d), back = new Float64Array(p);
    for (let i = 0; i < p; i++) {
      let sum = P12[i * columns];
      for (let j = 0; j < d; j++) sum += P12[i * columns + 1 + j] * w[j];
      direction[i] = sum; // P12 w̃
    }
    for (let t = 0; t < n; t++) {
      let score = 0;
      for (let i = 0; i < p; i++) score += x[t * p + i] * direction[i];
      score /= n;
      for (let i = 0; i < p; i++) mean[i] += score * x[t * p + i]; // Σ̂ P12 w̃
    }
    let loss = 0;
    for (let k = 0; k < d; k++) {
      let answer = w[k];
      for (let i = 0; i < p; i++) answer += V21[k * p + i] * mean[i];
      error[k] = answer - target[k];
      loss += 0.5 * error[k] * error[k];
    }
    for (let k = 0; k < d; k++) {
      for (let i = 0; i < p; i++) into.V21[k * p + i] = error[k] * mean[i];
    }
    const pulled = direction; // from here on V̄21ᵀ e
    for (let i = 0; i < p; i++) {
      let sum = 0;
      for (let k = 0; k < d; k++) sum += V21[k * p + i] * error[k];
      pulled[i] = sum;
    }
    for (let t = 0; t < n; t++) {
      let score = 0;
      for (let i = 0; i < p; i++) score += x[t * p + i] * pulled[i];
      score /= n;
      for (let i = 0; i < p; i++) back[i] += score * x[t * p + i]; // Σ̂ V̄21ᵀ e
    }
    for (let i = 0; i < p; i++) {
      into.P12[i * columns] = back[i];
      for (let j = 0; j < d; j++) into.P12[i * columns + 1 + j] = back[i] * w[j];
    }
    return loss;
  }

  /** The same, returned: for tests. */
  function gradient(theta, x, w, target) {
    const into = { P12: new Float64Array(theta.P12.length), V21: new Float64Array(theta.V21.length) };
    const loss = lossAndGradient(theta, x, w, target, into);
    return { loss, ...into };
  }

  /** Adam as Optax has it, on arrays of one length, in place. */
  function adam({ b1 = 0.9, b2 = 0.999, eps = 1e-8 } = {}) {
    const states = new Map();
    let count = 0;
    return {
      next() { count += 1; },
      step(name, values, slopes, rate) {
        if (!states.has(name)) states.set(name, [new Float64Array(values.length), new Float64Array(values.length)]);
        const [mean, square] = states.get(name), one = 1 / (1 - b1 ** count), two = 1 / (1 - b2 ** count);
        for (let k = 0; k < values.length; k++) {
          const g = slopes[k];
          mean[k] = b1 * mean[k] + (1 - b1) * g;
          square[k] = b2 * square[k] + (1 - b2) * g * g;
          values[k] -= (rate * one * mean[k]) / (Math.sqrt(two * square[k]) + eps);
        }
      },
    };
  }

  /** Updates on given windows, one after the other: for tests. Returns the last weights. */
  function fit(theta, examples, rate) {
    const own = { d: theta.d, P12: theta.P12.slice(), V21: theta.V21.slice() }, optimizer = adam(), losses = [];
    const into = { P12: new Float64Array(own.P12.length), V21: new Float64Array(own.V21.length) };
    for (const { x, w, target } of examples) {
      losses.push(lossAndGradient(own, x, w, target, into));
      optimizer.next();
      for (const name of ["P12", "V21"]) optimizer.step(name, own[name], into[name], rate);
    }
    return { ...own, losses };
  }

  /** Standard normal numbers, by Box and Muller. */
  function normals(rng, length, scale) {
    return new Float64Array(length).map(() =>
      scale * Math.sqrt(-2 * Math.log1p(-rng())) * Math.cos(2 * Math.PI * rng()));
  }

  /** Xavier-normal P12 and V̄21. */
  function start({ d, gain, seed }) {
    const p = 2 * d + 1, rng = I.random(seed, 5);
    return {
      d,
      P12: normals(rng, p * (d + 1), gain * Math.sqrt(2 / (p + d + 1))),
      V21: normals(rng, d * p, gain * Math.sqrt(2 / (p + d))),
    };
  }

  /**
   * How close weights are to Theorem 3.1's. c² is the ratio of their components along the
   * theory's, with the sign of P12's; the cosine is taken after P12 / c and c V̄21.
   */
  function align({ d, P12, V21 }, alpha) {
    const star = I.construct(d, alpha, 1), inner = (a, b) => a.reduce((sum, x, k) => sum + x * b[k], 0);
    const sizeP = inner(star.P12, star.P12), sizeV = inner(star.V21, star.V21);
    const alongP = inner(P12, star.P12), alongV = inner(V21, star.V21);
    const c = Math.sign(alongP) * Math.sqrt(Math.abs(alongP / sizeP / (alongV / sizeV)));
    const length = Math.sqrt(inner(P12, P12) / (c * c) + inner(V21, V21) * c * c);
    return { c, cosine: (alongP / c + alongV * c) / (length * Math.sqrt(sizeP + sizeV)) };
  }

  /** Algorithm 1, resumable: `run(k)` makes k more updates (or fewer, at the end). */
  function trainer(changes = {}) {
    const settings = { ...PAPER, ...changes }, { d, n, windows, epsilon, alpha, gamma, S, A } = settings;
    const theta = start(settings), optimizer = adam(), total = settings.mdps * windows;
    const into = { P12: new Float64Array(theta.P12.length), V21: new Float64Array(theta.V21.length) };
    let updates = 0, world = null, agent = null;
    function once() {
      if (updates % windows === 0) {
        // Numbers of MDPs of one seed: a stretch of the generator's seeds that the page does not use.
        world = I.drawWorld(1e6 * (1 + settings.seed) + updates / windows, { S, A, d, gamma });
        agent = { w: world.w, state: world.state };
      }
      const learner = (x, w, window) => I.teacher(world.mdp, world.features, w, window, alpha);
      const turned = I.turn(world, agent, learner, I.uniforms(world.windows, 2 * (n + 1)), epsilon, n);
      const loss = lossAndGradient(theta, turned.x, turned.before, turned.w, into);
      const rate = settings.rate * settings.decay ** Math.floor(updates / (settings.decayEvery * windows));
      optimizer.next();
      for (const name of ["P12", "V21"]) optimizer.step(name, theta[name], into[name], rate);
      agent = turned; // teacher forcing: the next window follows the teacher
      updates += 1;
      return loss;
    }
    return {
      settings, total,
      get updates() { return updates; },
      /** The mean loss of these updates, and the weights after them. */
      run(count) {
        let sum = 0, made = 0;
        for (; made < count && updates < total; made++) sum += once();
        return {
          updates, loss: made ? sum / made : NaN, ...align(theta, alpha),
          P12: Float32Array.from(theta.P12), V21: Float32Array.from(theta.V21), done: updates >= total,
        };
      },
    };
  }

  /** Where reports fall: often at first, when most changes, then at equal ratios. */
  function reportsAt(total, first = 100, count = 60) {
    const ratio = (total / first) ** (1 / (count - 1));
    const at = Array.from({ length: count }, (_, k) => Math.round(first * ratio ** k));
    return [0, ...new Set(at)];
  }

  /** Train and report, giving way between slices; returns what stops it. For worker and page alike. */
  function trainInSlices(settings, report) {
    const work = trainer(settings), reports = reportsAt(work.total);
    let stopped = false, next = 1, paused = false;
    report({ ...work.run(0), total: work.total });
    function slice() {
      if (stopped || paused) return;
      const until = performance.now() + 40;
      do {
        report({ ...work.run(reports[next] - work.updates), total: work.total });
        next += 1;
      } while (next < reports.length && performance.now() < until);
      if (next < reports.length) setTimeout(slice, 0);
    }
    setTimeout(slice, 0);
    return {
      stop() { stopped = true; },
      pause(yes) { paused = yes; if (!yes) setTimeout(slice, 0); },
    };
  }

  /** What a worker runs: it has no files, so that everything is in the text. */
  function workerSource() {
    return `${I.source()}\n(${learning})();\n(${function serve() {
      let work = null;
      onmessage = ({ data }) => {
        if (data.settings) work = globalThis.IcrlLearning.trainInSlices(data.settings, (made) => postMessage(made));
        else work.pause(data.paused);
      };
    }})();`;
  }

  /** Closed loops of one block: mean share of the way from uniform (0) to oracle (1), per window. */
  function acting(theta, { S, A, d, gamma, n, epsilon, alpha }, { seeds = [1, 2, 3, 4, 5, 6], windows = 150 } = {}) {
    const mean = new Float64Array(windows + 1);
    for (const seed of seeds) {
      const world = I.drawWorld(seed, { S, A, d, gamma }), { mdp, features } = world;
      const value = (policy) => I.policyReturn(mdp, policy), known = new Map();
      const bottom = value(I.uniformPolicy(mdp)), top = value(I.greedy(I.optimalActionValues(mdp), A));
      const learner = theta ? (x, w) => I.answer(theta, x, w) : (x, w, window) => I.teacher(mdp, features, w, window, alpha);
      let agent = { w: world.w, state: world.state };
      for (let k = 0; k <= windows; k++) {
        const policy = I.greedy(I.actionValues(features, agent.w), A), key = policy.join();
        if (!known.has(key)) known.set(key, (value(policy) - bottom) / (top - bottom));
        mean[k] += known.get(key) / seeds.length;
        if (k < windows) agent = I.turn(world, agent, learner, I.uniforms(world.windows, 2 * (n + 1)), epsilon, n);
        if (!agent.w.every(Number.isFinite)) return null; // diverged
      }
    }
    return mean;
  }

  /** A recorded block: whole numbers of eight bits, times a scale. */
  function decodeBytes(base64, scale) {
    return Float64Array.from(atob(base64), (character) => {
      const byte = character.charCodeAt(0);
      return (byte < 128 ? byte : byte - 256) * scale;
    });
  }

  const Learning = {
    PAPER, gradient, fit, start, align, trainer, reportsAt, trainInSlices, workerSource, acting, decodeBytes,
    run: (settings, updates) => trainer(settings).run(updates),
  };
  if (node) module.exports = Learning;
  else globalThis.IcrlLearning = Learning;
})();
