// Training restricted to the theorem's pattern: every entry of P's bands is ±a, every entry of
// V̄21's diagonal is b. The answer then depends on ab alone, and L = ½ κ (ab − α)². This is the
// plane of the conservation law, its saddle, and the paths of four optimisers.

(function () {
  "use strict";

  /** How many entries of P12 and of V̄21 the pattern has, ‖P⋆12‖² = 2d + 1 and d. */
  const sizes = (d) => [2 * d + 1, d];

  const loss = ([a, b], alpha) => 0.5 * (a * b - alpha) ** 2;

  /** ∂L/∂a and ∂L/∂b as each single entry of P's bands and V̄21's diagonal sees them. */
  function gradient([a, b], alpha, d, kappa = 1) {
    const [m, k] = sizes(d), error = kappa * (a * b - alpha);
    return [(error * b) / m, (error * a) / k];
  }

  /** G = ‖P12‖² − ‖V̄21‖², which gradient flow keeps. */
  function invariant([a, b], d) {
    const [m, k] = sizes(d);
    return m * a * a - k * b * b;
  }

  /** |c| where G has this value on the curve of optima, on which a = c and b = α/c. */
  function predictedScale(G, alpha, d) {
    const [m, k] = sizes(d), root = Math.sqrt(G * G + 4 * m * k * alpha * alpha);
    // Two forms of one root, neither with a difference of near-equals.
    return Math.sqrt(G >= 0 ? (G + root) / (2 * m) : (2 * k * alpha * alpha) / (root - G));
  }

  /** Which optimum the flow goes to, by the line through the saddle that it cannot cross: 1, −1 or 0. */
  function side([a, b], d) {
    const [m, k] = sizes(d), value = Math.sqrt(m) * a + Math.sqrt(k) * b;
    return Math.abs(value) < 1e-12 ? 0 : Math.sign(value);
  }

  /** The largest step size at which gradient descent is stable at the balanced optimum, 2/λ. */
  function largestStep(alpha, d) {
    const [m, k] = sizes(d), c = predictedScale(0, alpha, d), b = alpha / c;
    return 2 / ((b * b) / m + (c * c) / k);
  }

  const FAR = 20, DONE = 1e-20;

  /** Gradient flow by the classical Runge–Kutta rule, with steps short for the local curvature. */
  function flow(start, alpha, d, { most = 20000 } = {}) {
    const [m, k] = sizes(d), slope = (x) => gradient(x, alpha, d).map((g) => -g);
    const path = [start.slice()];
    let x = start.slice();
    for (let step = 0; step < most && loss(x, alpha) > DONE; step++) {
      const [a, b] = x, h = 0.04 / ((b * b) / m + (a * a) / k + Math.abs(a * b - alpha) / Math.sqrt(m * k));
      const at = (v, share) => x.map((value, j) => value + share * h * v[j]);
      const k1 = slope(x), k2 = slope(at(k1, 0.5)), k3 = slope(at(k2, 0.5)), k4 = slope(at(k3, 1));
      x = x.map((value, j) => value + (h / 6) * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]));
      path.push(x);
      if (Math.hypot(...x) < 1e-9) break; // the saddle, which it reaches from its line alone
    }
    return path;
  }

  /**
   * Gradient descent, x ← x − η κ ∇L. `kappas` are the windows' curvatures: all 1 for the
   * population, random ones of mean 1 for SGD on single windows.
   */
  function descend(start, alpha, d, eta, kappas) {
    const path = [start.slice()];
    let x = start.slice();
    for (const kappa of kappas) {
      const g = gradient(x, alpha, d, kappa);
      x = x.map((value, j) => value - eta * g[j]);
      path.push(x);
      if (!(Math.hypot(...x) < FAR) || loss(x, alpha) < DONE) break;
    }
    return path;
  }

  /** Adam as Optax has it; the rate falls exponentially to a thousandth over the steps. */
  function adam(start, alpha, d, rate, steps, { b1 = 0.9, b2 = 0.999, eps = 1e-8 } = {}) {
    const path = [start.slice()], mean = [0, 0], square = [0, 0];
    let x = start.slice();
    for (let t = 0; t < steps; t++) {
      const g = gradient(x, alpha, d), now = rate * 1e-3 ** (t / steps);
      x = x.map((value, j) => {
        mean[j] = b1 * mean[j] + (1 - b1) * g[j];
        square[j] = b2 * square[j] + (1 - b2) * g[j] * g[j];
        const scaled = Math.sqrt(square[j] / (1 - b2 ** (t + 1))) + eps;
        return value - (now * mean[j]) / (1 - b1 ** (t + 1)) / scaled;
      });
      path.push(x);
    }
    return path;
  }

  const Plane = { loss, gradient, invariant, predictedScale, side, largestStep, flow, descend, adam, FAR };
  if (typeof module !== "undefined" && module.exports) module.exports = Plane;
  else globalThis.IcrlPlane = Plane;
})();
