// The theorem by hand: one small window, its tokens row by row through P's bands to the score,
// and on through V̄21's band into w. Bands can be turned, taken out and scaled.

(function () {
  "use strict";

  const B = window.IcrlBands, I = window.Icrl, view = window.IcrlView;
  const { make, button, slider, select, radios, status, memory, place } = window.IcrlLab;

  const NAME = "theorem_by_hand", ALPHA = 0.2;
  const SCALES = [-3, -2, -1, -0.5, 0.5, 1, 2, 3];
  const BANDS = [
    ["now", "−I (value of now)"], ["next", "I (value of next)"],
    ["reward", "1 (reward)"], ["out", "αI (features out)"],
  ];
  const STATES = [["1", "unchanged"], ["-1", "sign turned"], ["0", "taken out"]];
  const STEPS = [
    "Step 1 of 5: the features φ meet −I. With w they make minus the present value.",
    "Step 2 of 5: γφ⁺ meets I. With w that makes the discounted value of the next pair.",
    "Step 3 of 5: the reward r meets the single 1.",
    "Step 4 of 5: attention adds the products up. The sum is the score, and the score is the TD error δ, times c.",
    "Step 5 of 5: V̄₂₁ takes φ out of the token, times α/c. The score times that, divided by n, goes into w.",
  ];
  const LAST = STEPS.length;

  const first = { seed: 4, at: 0, c: 1, undo: true, step: LAST, bands: { ...B.WHOLE } };
  const state = { ...first, ...memory.get(NAME) };
  const number = (x) => view.number(Math.abs(x) < 5e-10 ? 0 : x, 2);
  const short = (x) => String(Number(x.toFixed(2))).replace("-", "−");

  place(NAME, "The theorem by hand", (body, host) => {
    let colour = null;

    // --- controls ---
    const change = (values) => { Object.assign(state, values); redraw(); };
    const transitions = radios("Transition", [0, 1, 2, 3].map((k) => [String(k), `i = ${k}`]), state.at, (k) => change({ at: Number(k) }));
    const chosen = Object.fromEntries(BANDS.map(([key, label]) => [
      key, select(label, STATES, String(state.bands[key]), (value) => change({ bands: { ...state.bands, [key]: Number(value) } })),
    ]));
    const scale = slider(
      "scale c of P", { min: 0, max: SCALES.length - 1, step: 1, value: SCALES.indexOf(state.c), show: (k) => short(SCALES[k]) },
      (k) => change({ c: SCALES[k] }),
    );
    const undo = make("input", { type: "checkbox", change: () => change({ undo: undo.checked }) });
    undo.checked = state.undo;
    const mend = button("As in the theorem", () => {
      change({ c: 1, undo: true, bands: { ...B.WHOLE } });
      scale.set(SCALES.indexOf(1));
      undo.checked = true;
      for (const [key] of BANDS) chosen[key].input.value = "1";
    });
    const walk = button("Step by step", () => change({ step: state.step === LAST ? 1 : state.step + 1 }), { class: "playable-primary" });
    const all = button("Show all", () => change({ step: LAST }));
    const another = button("Another window", () => change({ seed: state.seed + 1 }));
    const story = make("p", { class: "lab-story", "aria-live": "polite" });
    const { nodes, say } = status();

    // --- pictures ---
    const where = make("p", { class: "lab-note" });
    const scoreTable = make("table", { class: "lab-matrix" }), sum = view.element("svg", { role: "img" });
    const stepTable = make("table", { class: "lab-matrix lab-narrow" }), bars = view.element("svg", { role: "img" });
    body.append(
      make("p", { class: "lab-title" }, "The theorem by hand"),
      make("div", { class: "lab-row" }, walk, all, another, transitions.node),
      story,
      make("div", { class: "lab-columns" },
        make("section", {}, where, make("div", { class: "lab-scroll" }, scoreTable), sum),
        make("section", {},
          make("p", { class: "lab-note" }, "The φ in V̄₂₁xᵢ times the score, divided by n = 4, is this transition's share of the step; the new w has all four:"),
          make("div", { class: "lab-scroll" }, stepTable), bars,
          make("p", { class: "lab-note lab-small" }, "Rings: the TD errors δ of the textbook, times c."))),
      make("div", { class: "lab-panel" },
        make("p", { class: "lab-note" }, "Break it:"),
        make("div", { class: "lab-grid" }, ...BANDS.map(([key]) => chosen[key].node)),
        make("div", { class: "lab-row" }, scale.node, make("label", { class: "lab-check" }, undo, " V̄₂₁ divides by c"), mend)),
      ...nodes,
    );
    host.addEventListener("submit", (event) => event.preventDefault());

    // --- drawing ---
    const cell = (value, text = number(value), kind = "td", limit = 1) => {
      const node = make(kind, {}, text);
      const share = Math.min(1, Math.abs(value) / limit) * 34;
      if (share > 0.5) {
        node.style.background = `color-mix(in srgb, var(--${value < 0 ? "negative" : "positive"}) ${share.toFixed(0)}%, var(--surface))`;
      }
      return node;
    };
    const plain = (text = "", kind = "td", attributes = {}) => make(kind, attributes, text);

    function redraw() {
      memory.set(NAME, state);
      if (colour) paint(colour);
    }

    function paint(palette) {
      colour = palette;
      const { seed, at, c, bands, step } = state, small = B.smallWindow(seed), { d, n, x, w, window: lived, errors } = small;
      const divisor = state.undo ? c : 1, theta = B.block(d, ALPHA, bands, c, divisor), p = 2 * d + 1;
      const token = x.slice(at * p, (at + 1) * p), part = B.parts(theta, token, w), score = part.now + part.next + part.reward;
      const scores = I.scores(theta, x, w), next = I.answer(theta, x, w), taught = I.teacher(small.mdp, small.features, w, lived, ALPHA);
      const name = (i) => `(s${"₁₂₃"[lived.states[i]]}, ${"ab"[lived.actions[i]]})`;

      where.textContent = `From ${name(at)} to ${name(at + 1)} with the reward ${number(lived.rewards[at])}; γ = ${small.mdp.gamma}. ` +
        "Each row of the token meets its row of P₁₂, which has met w̃:";
      story.textContent = step < LAST ? STEPS[step - 1] : STEPS[LAST - 1].replace(/^Step.*?: v/i, "V");
      story.hidden = step === LAST;
      walk.textContent = step === LAST ? "Step by step" : "Next step";
      all.hidden = step === LAST;

      // From the token to the score.
      const head = make("tr", {}, plain("", "td"), plain("xᵢ", "th"), plain("1", "th"), ...[1, 2, 3].map((k) => plain(`w${"₁₂₃"[k - 1]}`, "th")), plain("P₁₂w̃", "th"), plain("product", "th"));
      const second = make("tr", { class: "lab-under" }, plain("w̃ =", "th"), plain(), cell(1, "1"), ...Array.from(w, (v) => cell(v)), plain(), plain());
      const rows = Array.from(token, (value, row) => {
        const group = row < d ? 1 : row < 2 * d ? 2 : 3, shown = step >= group;
        const entries = Array.from(theta.P12.subarray(row * (d + 1), (row + 1) * (d + 1)));
        const met = entries.reduce((total, entry, k) => total + entry * (k ? w[k - 1] : 1), 0);
        const label = group === 3 ? "r" : `${group === 2 ? "γφ⁺" : "φ"}${"₁₂₃"[row % d]}`;
        return make("tr", { class: (row % d === 0 ? "lab-rule " : "") + (step === group ? "lab-on" : "") },
          plain(label, "th", { scope: "row" }), cell(value), ...entries.map((entry) => cell(entry, short(entry), "td", Math.max(1, Math.abs(c)))),
          shown ? cell(met) : plain("?"), shown ? cell(value * met, undefined, "td", 2) : plain("?"));
      });
      scoreTable.replaceChildren(make("caption", {}, "token xᵢ, matrix P₁₂ and their products"), make("thead", {}, head, second), make("tbody", {}, ...rows));
      drawSum(part, score, c * errors[at], step);

      // From the score into w.
      const visible = step >= LAST, features = (row) => theta.V21[row * p + row] * token[row];
      stepTable.replaceChildren(
        make("caption", {}, "matrix V̄₂₁, features out of the token, and w"),
        make("thead", {}, make("tr", {}, plain(), ...[1, 2, 3].map((k) => plain(`φ${"₁₂₃"[k - 1]}`, "th")), plain("V̄₂₁xᵢ", "th"), plain("share", "th"), plain("new w", "th"), plain("SARSA", "th"))),
        make("tbody", {}, ...Array.from({ length: d }, (_, row) => make("tr", {},
          plain(`w${"₁₂₃"[row]}`, "th", { scope: "row" }),
          ...[0, 1, 2].map((k) => cell(theta.V21[row * p + k], short(theta.V21[row * p + k]), "td", 0.5)),
          ...(visible
            ? [cell(features(row), view.number(features(row), 3)), cell((features(row) * score) / n, view.number((features(row) * score) / n, 3)),
              cell(next[row], view.number(next[row], 3)), cell(taught[row], view.number(taught[row], 3))]
            : Array.from({ length: 4 }, () => plain("?")))))),
      );
      drawScores(scores, Array.from(errors, (error) => c * error), at, visible, step);

      const apart = Math.max(...Array.from(next, (value, k) => Math.abs(value - taught[k])));
      const { share, diverged, largest } = outcomeOf(bands, c, divisor);
      const long = diverged
        ? `At the paper's size w diverged: an entry passed a million in window ${diverged}.`
        : largest > 100
          ? `At the paper's size an entry of w reached ${Math.round(largest).toLocaleString("en")} after 300 windows.`
          : `At the paper's size 300 windows brought its policy ${view.number(100 * share, 0)}\u00a0% of the way from uniform to oracle (mean of 5 MDPs; SARSA: ${view.number(100 * outcomeOf(B.WHOLE, 1, 1).share, 0)}\u00a0%).`;
      const near = apart < 1e-12 ? "Here the new w is SARSA's to the last digits." : `Here an entry of the new w is ${apart >= 0.0005 ? view.number(apart, 3) : view.tiny(apart)} from SARSA's.`;
      say(`${B.verdict(bands, ALPHA, c, divisor)} ${near} ${long}`);
    }

    const known = new Map();
    function outcomeOf(bands, c, divisor) {
      const key = [...Object.values(bands), c, divisor].join();
      if (!known.has(key)) known.set(key, B.outcome(bands, ALPHA, c, divisor));
      return known.get(key);
    }

    /** A picture with one row for each bar; bars start at `from`, a ring is where the book says. */
    function rowsOfBars(svg, rows, label) {
      const width = Number(svg.dataset.width) || 320, left = 104, right = 46, high = 22, height = rows.length * high + 6;
      const ends = rows.flatMap(({ from = 0, to, ring }) => [from, to, ring ?? 0]).filter(Number.isFinite);
      const low = Math.min(0, ...ends), high_ = Math.max(0, ...ends), room = (high_ - low || 1) * 0.06;
      const toX = (v) => left + ((v - low + room) / (high_ - low + 2 * room)) * (width - left - right);
      const root = view.element("g");
      root.append(view.element("path", { class: "lab-zero", d: `M${toX(0)} 2V${height - 4}` }));
      rows.forEach(({ name, from = 0, to, ring, strong, hidden }, k) => {
        const y = k * high + 3, [a, b] = [toX(from), toX(to)].sort((one, other) => one - other);
        root.append(view.element("text", { x: left - 8, y: y + 13, "text-anchor": "end", class: strong ? "lab-strong" : "" }, name));
        if (hidden) return;
        root.append(
          view.element("rect", { class: to - from < 0 ? "lab-bar-negative" : "lab-bar-positive", x: a, y: y + 2, width: Math.max(1, b - a), height: high - 8 }),
          view.element("text", { x: width - 2, y: y + 13, "text-anchor": "end", class: strong ? "lab-strong" : "" }, number(to - from)),
        );
        if (ring !== undefined) root.append(view.element("circle", { class: "lab-ring", cx: toX(ring), cy: y + 9, r: 6 }));
      });
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("aria-label", label);
      svg.replaceChildren(root);
    }

    function drawSum(part, score, target, step) {
      const two = part.now + part.next, c = state.c === 1 ? "" : " × c";
      rowsOfBars(sum, [
        { name: "from φ", to: part.now, hidden: step < 1 },
        { name: "from γφ⁺", from: part.now, to: two, hidden: step < 2 },
        { name: "from r", from: two, to: score, hidden: step < 3 },
        { name: "score", to: score, ring: target, strong: true, hidden: step < 4 },
      ], `Bars that follow each other: ${number(part.now)} from the features, ${number(part.next)} from the next ones, ` +
        `${number(part.reward)} from the reward; their sum, the score, is ${number(score)}. The TD error${c} is ${number(target)}.`);
    }

    function drawScores(scores, targets, at, visible, step) {
      rowsOfBars(bars, Array.from(scores, (score, i) => ({
        name: `score, i = ${i}`, to: score, ring: targets[i], strong: i === at, hidden: step < 4 || (!visible && i !== at),
      })), `The scores of the four transitions, ${Array.from(scores, number).join(", ")}; TD errors times c, ${targets.map(number).join(", ")}.`);
    }

    return paint;
  });
})();
