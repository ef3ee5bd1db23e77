// Answers the test's questions with the page's own arithmetic, in Node or in a browser:
// `answerCases(Icrl, cases)` takes what Python made up and returns what the page computes.

(function () {
  "use strict";

  function answerCases(I, { worlds, blocks, alpha, c }) {
    return worlds.map((given) => {
      const { S, A, n, gamma, epsilon, state } = given;
      const array = (name) => Float64Array.from(given[name]);
      const mdp = { S, A, gamma, initial: array("initial"), transition: array("transition"), reward: array("reward") };
      const features = array("features"), w = array("w"), d = w.length;
      const policy = I.greedy(I.actionValues(features, w), A), behaviour = I.explore(policy, A, epsilon);
      const window = I.rollout(array("draws"), mdp, behaviour, state, n);
      const x = I.tokens(mdp, features, window), H = I.prompt(x, w);
      const own = Object.entries(blocks).map(([name, { P12, V21 }]) => [name, { d, P12: I.decode(P12), V21: I.decode(V21) }]);
      const all = [...(d === 36 ? own : []), ["constructed", I.construct(d, alpha, c)]];
      const best = I.optimalActionValues(mdp);
      const result = {
        values: I.actionValues(features, w), policy, behaviour,
        states: window.states, actions: window.actions, rewards: window.rewards,
        tokens: x, prompt: H, errors: I.tdErrors(mdp, features, w, window),
        teacher: I.teacher(mdp, features, w, window, alpha), best, value: I.policyValue(mdp, behaviour),
        returns: [I.greedy(best, A), I.uniformPolicy(mdp), policy, behaviour].map((p) => I.policyReturn(mdp, p)),
      };
      for (const [name, block] of all) {
        const matrices = I.embed(block);
        result[`${name} P`] = matrices.P;
        result[`${name} V`] = matrices.V;
        result[`${name} scores`] = I.scores(block, x, w);
        result[`${name} answer`] = I.answer(block, x, w);
        result[`${name} H_out`] = I.attention(matrices, H);
        result[`${name} readout`] = I.readout(I.attention(matrices, H), d);
      }
      return Object.fromEntries(Object.entries(result).map(([key, value]) => [key, Array.from(value)]));
    });
  }

  /** Closed loops on MDPs of the page's own: greedy returns, as a share of uniform to oracle. */
  function closedLoops(I, { seeds, blocks, alpha, c, windows, n, gamma, epsilon, only }) {
    const loop = (seed, learnerOf) => {
      const world = I.drawWorld(seed, { gamma }), { mdp, features } = world, learner = learnerOf(world);
      const value = (policy) => I.policyReturn(mdp, policy);
      const bottom = value(I.uniformPolicy(mdp)), top = value(I.greedy(I.optimalActionValues(mdp), mdp.A));
      const shares = [];
      let agent = { w: world.w, state: world.state };
      for (let k = 0; k <= windows; k++) {
        const policy = I.greedy(I.actionValues(features, agent.w), mdp.A);
        shares.push((value(policy) - bottom) / (top - bottom));
        agent = I.turn(world, agent, learner, I.uniforms(world.windows, 2 * (n + 1)), epsilon, n);
      }
      return shares;
    };
    const learners = {
      teacher: ({ mdp, features }) => (x, w, window) => I.teacher(mdp, features, w, window, alpha),
    };
    const constructed = I.construct(36, alpha, c);
    learners.constructed = () => (x, w) => I.answer(constructed, x, w);
    for (const [name, { P12, V21 }] of Object.entries(blocks)) {
      const block = { d: 36, P12: I.decode(P12), V21: I.decode(V21) };
      learners[name] = () => (x, w) => I.answer(block, x, w);
    }
    return Object.fromEntries(
      (only ?? Object.keys(learners)).map((name) => [name, seeds.map((seed) => loop(seed, learners[name]))]),
    );
  }

  /** MDPs, features and parameters of the page's own. */
  function drawnWorlds(I, { seeds }) {
    return seeds.map((seed) => {
      const { mdp, features, w, state } = I.drawWorld(seed);
      const { initial, transition, reward, S, A, gamma } = mdp;
      return {
        S, A, gamma, state, initial: Array.from(initial), transition: Array.from(transition),
        reward: Array.from(reward), features: Array.from(features), w: Array.from(w),
      };
    });
  }

  /** Mean action values late in a closed loop, and the true ones of the uniform policy. */
  function lateValues(I, { seeds, alpha, windows, n, gamma, epsilon }) {
    return seeds.map((seed) => {
      const world = I.drawWorld(seed, { gamma }), block = I.construct(36, alpha, 1);
      const mean = new Float64Array(36), late = windows / 2;
      let agent = { w: world.w, state: world.state };
      for (let k = 0; k < windows; k++) {
        const draws = I.uniforms(world.windows, 2 * (n + 1));
        agent = I.turn(world, agent, (x, w) => I.answer(block, x, w), draws, epsilon, n);
        if (k < late) continue;
        I.actionValues(world.features, agent.w).forEach((q, i) => { mean[i] += q / (windows - late); });
      }
      const truth = I.lookAhead(world.mdp, I.policyValue(world.mdp, I.uniformPolicy(world.mdp)));
      return [Array.from(mean), Array.from(truth)];
    });
  }

  /** The largest entry of w at the end of a closed loop under the textbook's rule. */
  function largestParameter(I, { seeds, alpha, windows, lengths, gamma, epsilon }) {
    return lengths.map((n) => seeds.map((seed) => {
      const world = I.drawWorld(seed, { gamma }), { mdp, features } = world;
      const learner = (x, w, window) => I.teacher(mdp, features, w, window, alpha);
      let agent = { w: world.w, state: world.state };
      for (let k = 0; k < windows; k++) {
        agent = I.turn(world, agent, learner, I.uniforms(world.windows, 2 * (n + 1)), epsilon, n);
      }
      return Math.max(...agent.w.map(Math.abs));
    }));
  }

  const harness = { answerCases, closedLoops, drawnWorlds, lateValues, largestParameter };
  if (typeof module === "undefined" || !module.exports) {
    globalThis.harness = harness;
    return;
  }
  // In Node: a question on standard input, the answer on standard output.
  const { arithmetic, question, given } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  process.stdout.write(JSON.stringify(harness[question](require(arithmetic), given)));
})();
