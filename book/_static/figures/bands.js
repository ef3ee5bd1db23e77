// Theorem 3.1's weights with bands turned, taken out or left as they are, and what a block
// with such weights then does. The arithmetic is play/icrl.js's.

(function () {
  "use strict";

  const node = typeof module !== "undefined" && module.exports;
  const I = node ? require("../play/icrl.js") : globalThis.Icrl;

  /** What the theorem writes: each band times 1; −1 turns its sign, 0 takes it out. */
  const WHOLE = { now: 1, next: 1, reward: 1, out: 1 };

  /**
   * P12 = c [0, −now I; 0, next I; reward, 0] and V̄21 = (α out / divisor) [I, 0, 0].
   * The theorem's divisor is c.
   */
  function block(d, alpha, bands, c, divisor = c) {
    const p = 2 * d + 1, P12 = new Float64Array(p * (d + 1)), V21 = new Float64Array(d * p);
    for (let k = 0; k < d; k++) {
      P12[k * (d + 1) + 1 + k] = -c * bands.now;
      P12[(d + k) * (d + 1) + 1 + k] = c * bands.next;
      V21[k * p + k] = (alpha * bands.out) / divisor;
    }
    P12[2 * d * (d + 1)] = c * bands.reward;
    return { d, P12, V21 };
  }

  /** The three parts of a token's score: what φ, γφ⁺ and r bring in; their sum is the score. */
  function parts({ d, P12 }, token, w) {
    const direction = (row) => {
      let sum = P12[row * (d + 1)];
      for (let k = 0; k < d; k++) sum += P12[row * (d + 1) + 1 + k] * w[k];
      return sum;
    };
    const over = (from, to) => {
      let sum = 0;
      for (let row = from; row < to; row++) sum += token[row] * direction(row);
      return sum;
    };
    return { now: over(0, d), next: over(d, 2 * d), reward: over(2 * d, 2 * d + 1) };
  }

  /** The rule that such a block is: w + step · mean of (R r + γ N q⁺ − W q) φ, with step > 0. */
  function rule(bands, alpha, c, divisor = c) {
    const factor = (bands.out * c) / divisor, sign = Math.sign(factor) + 0;
    return {
      step: alpha * Math.abs(factor),
      now: sign * bands.now + 0, next: sign * bands.next + 0, reward: sign * bands.reward + 0,
    };
  }

  /** What that rule does, in a sentence or two. */
  function verdict(bands, alpha, c, divisor = c) {
    const { step, now, next, reward } = rule(bands, alpha, c, divisor);
    const same = Math.abs(step / alpha - 1) < 1e-9, number = (x) => String(Number(x.toPrecision(3))).replace("-", "−");
    if (step === 0) return "Nothing is handed on: the score is computed, but w stays as it is for ever.";
    if (now === 0 && next === 0 && reward === 0) return "Every score is 0: w stays as it is for ever.";
    const size = same ? "" : ` The step size is ${number(step)} instead of α = ${number(alpha)}, because V̄₂₁ does not undo P's c.`;
    if (now === 1 && next === 1 && reward === 1) {
      if (!same) return `Every score is a multiple of δ, and the direction is SARSA's.${size}`;
      const turned = Object.values(bands).some((factor) => factor < 0);
      return turned
        ? "Every sign is turned, in P and in V: that is the theorem with −c, and the answer is SARSA's again."
        : "The score is c·δ and V̄₂₁ divides by c: the answer is SARSA's, for every c.";
    }
    const opposite = bands.out * (c / divisor) < 0;
    if (opposite && now === -1 && next === -1 && reward === -1) {
      return `The score is right, but w is moved the opposite way: each step makes the TD error larger.${size}`;
    }
    const said = [];
    if (opposite) said.push("The step has the opposite sign, so every part counts the other way.");
    if (now === -1) said.push("The present value is added instead of subtracted: a value that is too large grows further.");
    if (now === 0) said.push("The present value is not subtracted: the score does not become 0 when w is right, so w need not come to rest.");
    const learns = now === 1; // otherwise there is no fixed point to describe
    if (next === 0) said.push(learns ? "The next value is missing: the block looks one reward ahead, as with γ = 0." : "The next value is missing.");
    if (next === -1) said.push(learns ? "The next value is subtracted: the block learns as with the discount −γ." : "The next value is subtracted.");
    if (reward === 0) {
      said.push(learns ? "The reward is not read: with nothing to learn from, values go to 0." : "The reward is not read.");
    }
    if (reward === -1) said.push(learns ? "The reward counts with the wrong sign: what is bad looks good." : "The reward counts with the wrong sign.");
    return said.join(" ") + size;
  }

  const FAR = 1e6; // an entry of w beyond this is called diverged

  /**
   * Closed loops at the paper's size: how far the greedy policy came from the uniform one (0) to
   * the oracle's (1), on average over MDPs, and the largest entry of w; or that one diverged.
   */
  function outcome(bands, alpha, c, divisor = c, { seeds = [1, 2, 3, 4, 5], windows = 300, n = 20, epsilon = 0.1, d = 36 } = {}) {
    const theta = block(d, alpha, bands, c, divisor);
    let share = 0, largest = 0;
    for (const seed of seeds) {
      const world = I.drawWorld(seed, { d }), { mdp, features } = world;
      const value = (policy) => I.policyReturn(mdp, policy);
      const bottom = value(I.uniformPolicy(mdp)), top = value(I.greedy(I.optimalActionValues(mdp), mdp.A));
      let agent = { w: world.w, state: world.state };
      for (let k = 0; k < windows; k++) {
        agent = I.turn(world, agent, (x, w) => I.answer(theta, x, w), I.uniforms(world.windows, 2 * (n + 1)), epsilon, n);
        const size = Math.max(...agent.w.map(Math.abs));
        if (!(size < FAR)) return { diverged: k + 1, seed };
      }
      largest = Math.max(largest, ...agent.w.map(Math.abs));
      share += (value(I.greedy(I.actionValues(features, agent.w), mdp.A)) - bottom) / (top - bottom) / seeds.length;
    }
    return { diverged: 0, share, largest };
  }

  /** A small window whose numbers have one decimal, for following by hand. */
  function smallWindow(seed, { d = 3, n = 4, gamma = 0.5 } = {}) {
    const round = (values) => values.map((x) => Math.round(10 * x) / 10);
    const world = I.drawWorld(seed, { S: 3, A: 2, d, gamma }), mdp = { ...world.mdp, reward: round(world.mdp.reward) };
    const features = round(world.features), w = round(world.w);
    const policy = I.uniformPolicy(mdp);
    const window = I.rollout(I.uniforms(world.windows, 2 * (n + 1)), mdp, policy, world.state, n);
    return {
      mdp, features, w, window, d, n, x: I.tokens(mdp, features, window),
      errors: I.tdErrors(mdp, features, w, window),
    };
  }

  const Bands = { WHOLE, block, parts, rule, verdict, outcome, smallWindow };
  if (node) module.exports = Bands;
  else globalThis.IcrlBands = Bands;
})();
