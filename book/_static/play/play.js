// The wiring of the interactive page: settings, the two agents, and when to draw what.

(function () {
  "use strict";

  const I = window.Icrl, view = window.IcrlView, exported = window.IcrlWeights;
  const { d, alpha } = exported.algorithm, A = exported.family.n_actions;
  const LIMIT = 3000; // windows after which a run stops by itself
  const FAR = 1000; // an entry of w beyond this has diverged; action values stay below 20
  const ENDS = [100, 200, 500, 1000, 2000, LIMIT]; // where the axis of windows may end
  const BUDGET_MS = 10; // computing per frame when fast; drawing takes the rest
  const TRANSITION_MS = 90, WINDOW_MS = 120;
  const CALM_MS = 1000; // between two pictures, for readers who ask for less motion
  // Along the curve of optima, on which 0 does not lie. Training's own are among them.
  const OWN = [exported.trained.c, exported.half.c];
  const SCALES = [-3, -2, -1, -0.2, -0.1, 0.1, 0.2, 1, 2, 3, ...OWN, ...OWN.map((c) => -c)]
    .sort((a, b) => a - b);

  const $ = (name) => document.getElementById(`play-${name}`);
  const host = document.getElementById("play");
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const decoded = (name) => ({
    d, c: exported[name].c, P12: I.decode(exported[name].P12), V21: I.decode(exported[name].V21),
  });
  const exportedBlocks = { trained: decoded("trained"), half: decoded("half") };
  const LABELS = { trained: "trained", half: "half-trained", constructed: "constructed" };

  // --- settings ------------------------------------------------------------------------------

  let chosen = 1; // c of the constructed block; others have their own

  function settings() {
    return {
      kind: document.querySelector("#play [name=block]:checked").value,
      c: chosen,
      gamma: Number($("gamma").value),
      epsilon: Number($("epsilon").value),
      n: Number($("n").value),
      seed: Math.min(999999, Math.max(0, Math.round(Number($("seed").value)) || 0)),
      speed: $("speed").value,
    };
  }

  // --- the address keeps them ------------------------------------------------------------------

  const FIELDS = ["seed", "gamma", "epsilon", "n", "speed"];
  let usual; // the settings before the reader has touched any

  /** Write into the address what differs from the usual, and how far the run has come. */
  function keepInAddress() {
    const now = { ...settings(), windows: run.changed ? 1 : windows() }, query = new URLSearchParams();
    for (const [key, value] of Object.entries(now)) if (value !== usual[key]) query.set(key, value);
    const address = `${query}` ? `#${query}` : location.pathname + location.search;
    if (location.hash !== (`${query}` ? address : "")) history.replaceState(history.state, "", address);
  }

  /** What the address says, where it says something that can be set. Returns the windows to live. */
  function readAddress() {
    const query = new URLSearchParams(location.hash.slice(1));
    for (const name of FIELDS) {
      if (!query.has(name)) continue;
      const before = $(name).value;
      $(name).value = query.get(name);
      if ($(name).value === "") $(name).value = before;
    }
    const kind = [...document.querySelectorAll("#play [name=block]")].find((choice) => choice.value === query.get("kind"));
    if (kind) kind.checked = true;
    if (SCALES.includes(Number(query.get("c")))) chosen = Number(query.get("c"));
    return Math.min(LIMIT, Math.max(1, Math.round(Number(query.get("windows"))) || 1));
  }

  function blockOf({ kind, c }) {
    return exportedBlocks[kind] || { ...I.construct(d, alpha, c), c };
  }

  // --- one run ---------------------------------------------------------------------------------

  let run; // everything that Reset makes anew
  let earlier = null; // the curve of the block that was in charge before, on the same MDP

  function policyOf(w) {
    return I.greedy(I.actionValues(run.world.features, w), A);
  }

  /** The exact return of the greedy policy; looked up while the policy stays the same. */
  function returnOf(w) {
    const policy = policyOf(w), key = policy.join();
    if (!run.known.has(key)) run.known.set(key, I.policyReturn(run.world.mdp, policy));
    return run.known.get(key);
  }

  function restart() {
    const { seed, gamma, kind } = settings();
    $("seed").value = seed; // as it was understood
    const world = I.drawWorld(seed, { gamma, d, A });
    const start = { w: world.w, state: world.state }, best = I.optimalActionValues(world.mdp);
    run = {
      world, kind, best, known: new Map(),
      block: start, teacher: start, lengths: new Set(), changed: false,
      oracle: I.policyReturn(world.mdp, I.greedy(best, A)),
      uniform: I.policyReturn(world.mdp, I.uniformPolicy(world.mdp)),
    };
    run.returns = { block: [returnOf(world.w)], teacher: [returnOf(world.w)] };
    advance(); // so that there is a window to look at
  }

  /** One window for both agents, on the same random numbers. */
  function advance() {
    const { world } = run, now = settings(), block = blockOf(now);
    run.lengths.add(now.n);
    const draws = I.uniforms(world.windows, 2 * (now.n + 1));
    const turn = (agent, learner) => I.turn(world, agent, learner, draws, now.epsilon, now.n);
    run.block = turn(run.block, (x, w) => I.answer(block, x, w));
    run.teacher = turn(run.teacher, (x, w, window) => I.teacher(world.mdp, world.features, w, window, alpha));
    for (const who of ["block", "teacher"]) run.returns[who].push(returnOf(run[who].w));
  }

  const windows = () => run.returns.block.length - 1;
  const diverged = () => ["block", "teacher"].find((who) => run[who].w.some((entry) => !(Math.abs(entry) < FAR)));
  const finished = () => windows() >= LIMIT || diverged() !== undefined;
  const ending = () => {
    if (!finished()) return "";
    const why = { block: "The block's w has diverged", teacher: "The teacher's w has diverged" }[diverged()] ?? "The run is over";
    return ` ${why}; Reset begins anew.`;
  };

  // --- drawing ---------------------------------------------------------------------------------

  let colour;

  /** Everything that a window changes; before its last transition, the old w is in force. */
  function draw(upto = Infinity) {
    const { mdp, features } = run.world, { S } = mdp, { window: lived, x, before, w } = run.block;
    const now = settings(), block = blockOf(now), n = lived.rewards.length;
    const shown = Math.min(upto, n), present = shown < n ? before : w;
    const policy = policyOf(present), q = I.actionValues(features, present);
    const best = I.greedy(run.best, A);
    const actions = Array.from({ length: S }, (_, s) => policy.subarray(s * A, (s + 1) * A).findIndex((p) => p > 0));
    const chances = new Float64Array(S * S);
    actions.forEach((a, s) => chances.set(mdp.transition.subarray((s * A + a) * S, (s * A + a + 1) * S), s * S));
    const right = actions.filter((a, s) => best[s * A + a] > 0).length;

    view.graph($("graph"), { S, chances, actions, states: lived.states, upto: shown });
    view.promptMap($("prompt"), colour, { H: I.prompt(x, before), d, n, upto: shown });
    view.scoreBars($("scores"), {
      scores: I.scores(block, x, before).map((score) => score / block.c),
      errors: I.tdErrors(mdp, features, before, lived), upto: shown,
      diverged: w.some((entry) => !(Math.abs(entry) < FAR)) && "The block's w has diverged.",
      xLabel: "transition of the window", yLabel: "score / c, and δ",
    });
    const teacherW = shown < n ? run.teacher.before : run.teacher.w;
    view.stripMap($("w"), colour, [{ name: "block's w", values: present }, { name: "teacher's", values: teacherW }]);
    const limit = Math.max(...Array.from(run.best, Math.abs), ...Array.from(q, Math.abs));
    view.valueMap($("q"), colour, { q, greedy: policy, best, S, A, limit });

    const apart = Math.max(...Array.from(present, (value, k) => Math.abs(value - teacherW[k])));
    $("values").textContent =
      `Below w, the action values it stands for. Frame: greedy action. Dot: the oracle's. They agree in ${right} of ${S} states. ` +
      (diverged() ? ending().trim() : `No entry of the block's w is further than ${view.tiny(apart)} from the teacher's.`);
    $("graph").setAttribute("aria-label",
      `Graph of ${S} states. Greedy actions, state by state: ${actions.map((a) => "abcd"[a]).join(" ")}. ` +
      `The agent is in state ${lived.states[Math.floor(shown)] + 1}.`);
    $("prompt").setAttribute("aria-label",
      `Heat map of the prompt, ${3 * d + 2} rows, ${n} columns for transitions and one for w.`);
    $("scores").setAttribute("aria-label",
      `Bar chart: the block's attention to ${n} transitions beside their TD errors.`);
    $("w").setAttribute("aria-label", `Heat maps of the ${d} entries of w, the block's and the teacher's.`);
    $("q").setAttribute("aria-label", `Heat map of action values; greedy and best action agree in ${right} of ${S} states.`);
    drawChart(shown < n ? 1 : 0);
  }

  /** The curves, without their last `hidden` points. */
  function drawChart(hidden) {
    const upto = windows() + 1 - hidden, [n, ...others] = run.lengths;
    const curve = (name, values) => ({ name, values: values.slice(0, upto) });
    const curves = [curve("block", run.returns.block), curve("teacher", run.returns.teacher)];
    if (earlier) curves.unshift({ name: "earlier", values: earlier.values });
    const levels = ["oracle", "uniform"].map((name) => ({ name, value: run[name] }));
    const longest = Math.max(...curves.map((c) => c.values.length)) - 1;
    view.chart($("chart"), {
      curves, levels, end: ENDS.find((end) => end >= longest),
      xLabel: "windows seen" + (others.length ? "" : ` (${n} transition${n === 1 ? "" : "s"} each)`),
      yLabel: "discounted return",
    });
    $("chart").setAttribute("aria-label",
      `Line chart of the greedy policy's discounted return against windows, after ${upto - 1} windows: ` +
      `block ${view.number(curves.at(-2).values.at(-1))}, teacher ${view.number(curves.at(-1).values.at(-1))}, ` +
      `oracle ${view.number(run.oracle)}, uniform ${view.number(run.uniform)}.`);
    const entries = [
      ["block", `${LABELS[run.kind]} block`, curves.at(-2).values.at(-1)],
      ["teacher", "teacher (SARSA)", curves.at(-1).values.at(-1)],
      ["oracle", "oracle", run.oracle],
      ["uniform", "uniform policy", run.uniform],
    ];
    if (earlier) entries.push(["earlier", `before: ${earlier.label}`, earlier.values.at(-1)]);
    $("legend").replaceChildren(...entries.map(([name, label, value]) => {
      const item = document.createElement("li"), figure = document.createElement("span");
      figure.className = "play-value";
      figure.textContent = view.number(value);
      item.append(view.sample(name), label, figure);
      return item;
    }));
  }

  /** P and V, which only another block changes. */
  function drawBlock() {
    const now = settings(), block = blockOf(now), { P, V } = I.embed(block), p = 2 * d + 1, D = p + d + 1;
    const largest = (M) => M.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const limits = { P: largest(P), V: largest(V) };
    view.matrixMap($("P"), colour, {
      M: P, limit: limits.P, frame: [0, p, p, d + 1],
      notes: [["P₁₂", p - 10, 8], ["−c", p + 27, 9], ["c", p + 27, d + 9], ["0 elsewhere", 36, 92]],
    });
    view.matrixMap($("V"), colour, {
      M: V, limit: limits.V, frame: [p + 1, 0, d, p],
      notes: [["V̄₂₁", 8, p - 7], ["α/c", 27, p + 9], ["0 elsewhere", 60, 32]],
    });
    $("P-caption").textContent = `P, ${D} × ${D}; full colour is ±${limits.P.toPrecision(2)}`;
    $("V-caption").textContent = `V, ${D} × ${D}; full colour is ±${limits.V.toPrecision(2)}`;
    for (const name of ["P", "V"]) {
      $(name).setAttribute("aria-label", `Heat map of ${name} of the ${LABELS[now.kind]} block; ` +
        `the only entries that are not 0 are in ${name === "P" ? "P12, upper right" : "V21, lower left"}.`);
    }
    $("provenance").textContent = provenance(now, block);
  }

  function provenance({ kind }, block) {
    const rounded = view.number(block.c);
    if (kind === "constructed") {
      return `Theorem 3.1's weights, written down: c = ${rounded}, α = ${alpha}. Every c but 0 gives the same answers.`;
    }
    const { mdps, updates, cosine, loss } = exported[kind], all = exported.training.mdps;
    const amount = `${mdps.toLocaleString("en")} MDPs, ${updates.toLocaleString("en")} updates` +
      (mdps < all ? `, ${Number(((100 * mdps) / all).toPrecision(2))} % of the paper's` : ", the paper's number");
    return `Trained on ${amount} (seed ${exported.training.seed}). Cosine to Theorem 3.1's weights ` +
      `${mdps < all ? cosine.toFixed(2) : cosine.toFixed(6)}, loss on new MDPs ${view.tiny(loss)}, c = ${rounded}.`;
  }

  /** The state in words; read out no more often than a listener can follow. */
  function say(force) {
    const block = run.returns.block.at(-1), share = (block - run.uniform) / (run.oracle - run.uniform);
    const percent = `${view.number(100 * share, 0)} %`;
    $("now").textContent =
      `Window ${windows()}. Discounted return of the greedy policy: ${LABELS[run.kind]} block ${view.number(block)}, ` +
      `teacher ${view.number(run.returns.teacher.at(-1))}; uniform policy ${view.number(run.uniform)}, oracle ${view.number(run.oracle)}. ` +
      `The block has come ${percent} of the way from uniform to oracle.` + ending();
    const time = performance.now();
    if (!force && time - say.last < 3000) return;
    say.last = time;
    $("status").textContent = $("now").textContent;
    keepInAddress();
  }
  say.last = -Infinity;

  // --- time ------------------------------------------------------------------------------------

  let running = false;
  let living = null; // { began }: the window whose transitions are being shown
  let last = 0; // when the latest window was made
  let awaited = false; // whether the browser has been asked for a frame

  function wake() {
    if (awaited) return;
    awaited = true;
    requestAnimationFrame((time) => { awaited = false; frameAt(time); });
  }

  function frameAt(time) {
    if (!running && !living) return;
    const { speed, n } = settings();
    if (living) {
      living.began ??= time;
      const upto = (time - living.began) / Math.min(TRANSITION_MS, 2400 / n);
      if (upto >= n) living = null;
      draw(upto);
      if (!living) say(!running);
    } else if (speed === "fast") {
      const stop = performance.now() + BUDGET_MS;
      do advance(); while (!finished() && performance.now() < stop);
      if (!still.matches || time - last >= CALM_MS || finished()) {
        last = time;
        draw();
        say(false);
      }
    } else if (speed === "brisk" || still.matches) {
      if (time - last >= (still.matches ? CALM_MS : WINDOW_MS)) {
        last = time;
        advance();
        draw();
        say(false);
      }
    } else {
      advance();
      living = {};
    }
    if (running && finished() && !living) pause();
    if (running || living) wake();
  }

  function pause() {
    running = false;
    if (!living) draw();
    $("run").textContent = "Run";
    say(true);
  }

  function start() {
    if (finished()) reset();
    running = true;
    $("run").textContent = "Pause";
    wake();
  }

  function step() {
    if (running) pause();
    if (living) return finishWindow();
    if (finished()) return say(true);
    advance();
    if (still.matches) {
      draw();
      say(true);
    } else {
      living = {};
      wake();
    }
  }

  function finishWindow() {
    living = null;
    draw();
    say(true);
  }

  function reset() {
    living = null;
    restart();
    draw();
    say(true);
  }

  /** Another MDP or another γ: what was earned before does not compare. */
  function anew() {
    earlier = null;
    reset();
  }

  // --- controls --------------------------------------------------------------------------------

  function showSettings() {
    const now = settings(), { kind, gamma, epsilon, n } = now;
    const texts = { c: view.number(blockOf(now).c), gamma: view.number(gamma), epsilon: view.number(epsilon), n: `${n}` };
    for (const [name, text] of Object.entries(texts)) {
      document.querySelector(`#play output[for=play-${name}]`).textContent = text;
    }
    $("c").disabled = kind !== "constructed";
    $("c").value = SCALES.indexOf(blockOf(now).c);
    $("c").setAttribute("aria-valuetext", texts.c);
  }

  function connect() {
    $("run").addEventListener("click", () => (running ? pause() : start()));
    $("step").addEventListener("click", step);
    $("reset").addEventListener("click", anew);
    $("another").addEventListener("click", () => {
      $("seed").value = (settings().seed + 1) % 1000000;
      anew();
    });
    $("seed").addEventListener("change", anew);
    $("gamma").addEventListener("input", () => { showSettings(); anew(); });
    // The next window is lived with these; nothing starts over.
    for (const name of ["epsilon", "n"]) {
      $(name).addEventListener("input", () => { run.changed = true; showSettings(); keepInAddress(); });
    }
    $("speed").addEventListener("change", keepInAddress);
    $("c").addEventListener("input", () => {
      chosen = SCALES[$("c").value];
      run.changed = true;
      showSettings();
      keepInAddress();
      drawBlock();
      draw();
    });
    for (const choice of document.querySelectorAll("#play [name=block]")) {
      choice.addEventListener("change", () => {
        if (windows() > 1) earlier = { label: LABELS[run.kind], values: run.returns.block };
        showSettings();
        drawBlock();
        reset();
      });
    }
    host.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  }

  function paint() {
    view.measure(host.querySelectorAll("[role=img]"));
    colour = view.palette(host);
    drawBlock();
    draw();
  }

  $("c").max = SCALES.length - 1;
  $("c").min = 0;
  /** Begin as the address says. */
  function arrive() {
    const toLive = readAddress();
    showSettings();
    restart();
    while (windows() < toLive && !finished()) advance();
    paint();
  }

  host.hidden = false;
  connect();
  usual = { ...settings(), windows: 1 };
  arrive();
  say(true);
  window.addEventListener("hashchange", () => {
    if (running) pause();
    living = earlier = null;
    arrive();
    say(true);
  });
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  let width = host.clientWidth;
  new ResizeObserver(() => {
    if (host.clientWidth !== width) { width = host.clientWidth; paint(); }
  }).observe(host);
})();
