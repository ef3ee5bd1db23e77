// Watch it learn: a small block is trained in the page, in a worker, or a recorded run at the
// paper's scale is gone through; P12 and V̄21 form, the loss falls, and the block of the moment acts.

(function () {
  "use strict";

  const L = window.IcrlLearning, view = window.IcrlView, recorded = window.IcrlRecorded;
  const { make, button, slider, radios, status, memory, place } = window.IcrlLab;

  const NAME = "watch_it_learn";
  const SMALL = { ...L.PAPER, S: 4, A: 3, d: 12, mdps: 3000 };
  const SHOW_MS = 90, CALM_MS = 1000; // between two pictures; for readers who ask for less motion
  const WINDOWS = 150, LATE = 50;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  const state = { mode: "here", seed: 0, at: 0, recordedAt: 0, ...memory.get(NAME) };
  const whole = (x) => x.toLocaleString("en");

  // --- the two runs -----------------------------------------------------------------------------

  const theirs = {
    settings: { ...L.PAPER, d: recorded.d, alpha: recorded.alpha }, total: recorded.mdps * recorded.windows,
    losses: recorded.losses,
    reports: recorded.moments.map(({ updates, c, cosine, P12, V21 }) => ({
      updates, c, cosine, d: recorded.d,
      P12: L.decodeBytes(P12.levels, P12.scale), V21: L.decodeBytes(V21.levels, V21.scale),
    })),
  };
  const lossAt = (losses, updates) => (losses.find(([u]) => u >= updates) ?? losses.at(-1))[1];
  theirs.limits = ["P12", "V21"].map((name) => Math.max(...theirs.reports.at(-1)[name].map(Math.abs)));

  const beginning = (seed) => ({ ...L.trainer({ ...SMALL, seed }).run(0), d: SMALL.d });
  const fresh = (seed) => ({
    settings: { ...SMALL, seed }, total: SMALL.mdps * SMALL.windows,
    losses: [], reports: [beginning(seed)], limits: [0.5, 0.4],
  });
  let ours = fresh(state.seed);
  const kept = memory.get(`${NAME} run`);
  if (kept.seed === state.seed && kept.reports?.length > 1) {
    ours = { ...ours, losses: kept.losses, reports: kept.reports.map((r) => ({ ...r, d: SMALL.d })) };
  }

  place(NAME, "Watch it learn", (body) => {
    let colour = null, waiting = [], live = null, paused = false, last = 0, follow = true, awaited = null;
    const run = () => (state.mode === "here" ? ours : theirs);
    const index = () => Math.min(state.mode === "here" ? state.at : state.recordedAt, run().reports.length - 1);

    // --- controls ---
    const mode = radios("", [["here", "train here (d = 12)"], ["recorded", "recorded, the paper's size (d = 36)"]], state.mode, (value) => {
      state.mode = value;
      fit();
      show();
    });
    mode.node.querySelector("legend").textContent = "Run";
    const go = button("Train", () => (live ? hold(!paused) : begin()), { class: "playable-primary" });
    const over = button("Another start", () => { state.seed = (state.seed + 1) % 1000; restart(); });
    const moment = slider("moment", { min: 0, max: 1, step: 1, value: 0, show: (k) => {
      const report = run().reports[k];
      return report ? `after ${whole(report.updates)} updates` : "";
    } }, (k) => {
      follow = k === run().reports.length - 1;
      state[state.mode === "here" ? "at" : "recordedAt"] = k;
      show();
    });
    moment.node.classList.add("lab-long");

    const chart = view.element("svg", { role: "img" }), acting = view.element("svg", { role: "img" });
    const P = make("canvas", { role: "img" }), V = make("canvas", { role: "img" });
    const words = make("p", { class: "lab-note lab-small" });
    const { nodes, say } = status();
    const legend = (key, text) => {
      const item = make("span", { class: "lab-check" });
      item.append(view.sample(key), text);
      return item;
    };
    body.append(
      make("p", { class: "lab-title" }, "Watch it learn"),
      make("div", { class: "lab-row" }, go, over, mode.node),
      make("div", { class: "lab-row" }, moment.node),
      make("div", { class: "lab-columns" },
        make("section", {}, make("p", { class: "lab-note" }, "Loss of the updates"), chart),
        make("section", {}, make("p", { class: "lab-note" }, "P₁₂ and V̄₂₁ at this moment"),
          make("div", { class: "lab-pair" }, P, make("div", {}, V, words))),
        make("section", { class: "lab-both" },
          make("p", { class: "lab-note" }, "The block of this moment acts on six MDPs that it has not seen: mean return, 0 as the uniform policy’s and 1 as the oracle’s"), acting,
          make("div", { class: "lab-row lab-small" }, legend("block", "block"), legend("teacher", "teacher (SARSA)"), legend("oracle", "oracle"), legend("uniform", "uniform policy")))),
      ...nodes,
    );

    // --- training ---
    function begin() {
      ours = fresh(state.seed);
      [waiting, paused, follow, state.at] = [[], false, true, 0];
      const hear = (report) => { waiting.push({ ...report, d: SMALL.d }); wake(); };
      live = elsewhere(ours.settings, hear);
      told();
    }

    /** A worker, made from text, because a page opened from a disk may load none; or slices of the page's own time. */
    function elsewhere(settings, hear) {
      const here = () => L.trainInSlices(settings, hear);
      try {
        const address = URL.createObjectURL(new Blob([L.workerSource()], { type: "text/javascript" }));
        const worker = new Worker(address);
        let own = null;
        worker.onmessage = ({ data }) => hear(data);
        worker.onerror = () => { worker.terminate(); waiting = []; own = here(); };
        worker.postMessage({ settings });
        return {
          worker: true,
          stop() { worker.terminate(); URL.revokeObjectURL(address); own?.stop(); },
          pause(yes) { if (own) own.pause(yes); else worker.postMessage({ paused: yes }); },
        };
      } catch {
        return here();
      }
    }

    function hold(yes) {
      paused = yes;
      live.pause(yes);
      told();
      if (!yes) wake();
    }

    function restart() {
      live?.stop();
      live = null;
      [waiting, paused, follow] = [[], false, true];
      ours = fresh(state.seed);
      Object.assign(state, { mode: "here", at: 0 });
      mode.set("here");
      told();
      fit();
      show();
    }

    function wake() {
      awaited ??= requestAnimationFrame((time) => { awaited = null; frame(time); });
    }

    function frame(time) {
      if (paused || !waiting.length) return;
      if (time - last >= (still.matches ? CALM_MS : SHOW_MS)) {
        last = time;
        const take = waiting.splice(0, still.matches ? waiting.length : waiting.length > 6 ? 2 : 1);
        for (const report of take) {
          if (Number.isFinite(report.loss)) {
            ours.losses.push([report.updates, report.loss]);
            ours.reports.push(report);
          }
        }
        if (follow) state.at = ours.reports.length - 1;
        if (ours.reports.at(-1).done) {
          live?.stop();
          live = null;
          told();
        }
        if (state.mode === "here") { fit(); show(); }
      }
      if (waiting.length) wake();
    }

    function told() {
      go.textContent = live ? (paused ? "Go on" : "Pause") : ours.reports.length > 1 ? "Train again" : "Train";
    }

    window.addEventListener("pagehide", () => {
      const few = (values) => Array.from(values, (x) => Number(x.toPrecision(4)));
      memory.set(`${NAME} run`, { seed: state.seed, losses: ours.losses,
        reports: ours.reports.map((r) => ({ updates: r.updates, c: r.c, cosine: r.cosine, P12: few(r.P12), V21: few(r.V21) })) });
    });

    // --- drawing ---
    function fit() {
      moment.input.max = Math.max(1, run().reports.length - 1);
      moment.input.disabled = run().reports.length < 2;
      over.hidden = go.hidden = state.mode !== "here";
    }

    function show() {
      moment.set(index());
      memory.set(NAME, state);
      if (colour) paint(colour);
    }

    const exponent = (x) => Math.log10(x);

    function drawLoss({ losses, total, reports }) {
      const shown = losses.length ? losses : [[100, 0.01]], upto = reports[index()].updates;
      const values = shown.map(([, loss]) => exponent(loss));
      const low = Math.floor(Math.min(-6, ...values)), high = Math.ceil(Math.max(-2, ...values));
      const { root, toX, toY, box } = view.axes(chart, {
        height: 230, x: [2, exponent(total)], y: [low, high], xCount: 3, yCount: 4,
        xLabel: "updates", yLabel: "loss", xText: view.powerOfTen, yText: view.powerOfTen,
      });
      if (losses.length) {
        root.append(view.element("path", { class: "play-line block",
          d: `M${losses.map(([u, loss]) => `${toX(exponent(u)).toFixed(1)} ${toY(exponent(loss)).toFixed(1)}`).join("L")}` }));
      }
      const x = toX(Math.max(2, exponent(Math.max(100, upto))));
      root.append(view.element("path", { class: "lab-now-line", d: `M${x} ${box.top}V${box.bottom}` }));
      if (losses.length && upto) root.append(view.element("circle", { class: "lab-end flow", cx: x, cy: toY(exponent(lossAt(losses, upto))), r: 5 }));
      chart.setAttribute("aria-label", losses.length
        ? `Loss against updates, both logarithmic: from ${view.tiny(losses[0][1])} to ${view.tiny(losses.at(-1)[1])}.`
        : "An empty chart: the loss will be drawn here while the block trains.");
    }

    function matrix(canvas, values, rows, columns, limit) {
      const { context, width, ratio } = view.surface(canvas, Math.round((Number(canvas.dataset.width) * rows) / columns));
      const size = width / columns, xs = view.grid(0, new Array(columns).fill(size), ratio), ys = view.grid(0, new Array(rows).fill(size), ratio);
      view.cells(context, colour, values, xs, ys, limit);
      view.frame(context, colour.edge, 0, 0, xs.at(-1), ys.at(-1));
    }

    const acted = new Map();
    function act(report, settings, key) {
      if (!acted.has(key)) acted.set(key, L.acting(report, settings, { windows: WINDOWS }));
      return acted.get(key);
    }
    const late = (curve) => curve.slice(-LATE).reduce((sum, x) => sum + x, 0) / LATE;

    function drawActing(report, settings) {
      const block = act(report, settings, report), teacher = act(null, settings, settings.d);
      const curves = [{ name: "teacher", values: Array.from(teacher) }];
      if (block) curves.push({ name: "block", values: Array.from(block) });
      view.chart(acting, {
        curves, levels: [{ name: "oracle", value: 1 }, { name: "uniform", value: 0 }], end: WINDOWS,
        xLabel: "windows seen", yLabel: "return, as a share", height: 250,
      });
      const percent = (curve) => `${view.number(100 * late(curve), 0)}\u00a0%`;
      const text = block
        ? `${percent(block)} of the way from the uniform policy to the oracle, and the teacher ${percent(teacher)}`
        : `nowhere: its w diverges`;
      acting.setAttribute("aria-label", `Return against windows, mean of six MDPs, 0 for the uniform policy and 1 for the oracle. ` +
        `In the last ${LATE} windows the block comes ${text}.`);
      return text;
    }

    function paint(palette) {
      colour = palette;
      const { reports, settings, limits, total, losses } = run(), report = reports[index()], { d } = report, p = 2 * d + 1;
      drawLoss(run());
      matrix(P, report.P12, p, d + 1, limits[0]);
      matrix(V, report.V21, d, p, limits[1]);
      words.textContent = `Left P₁₂, ${p} × ${d + 1}: −I, I and a single 1 appear, times c. Above V̄₂₁, ${d} × ${p}: αI, divided by c. Full colour is ±${limits[0].toFixed(2)} and ±${limits[1].toFixed(2)}.`;
      P.setAttribute("aria-label", `Heat map of P12 after ${whole(report.updates)} updates; cosine of all weights to the theorem's ${report.cosine.toFixed(3)}.`);
      V.setAttribute("aria-label", `Heat map of V21 after ${whole(report.updates)} updates, ${d} rows and ${p} columns.`);
      const text = drawActing(report, settings), loss = report.updates ? `loss ${view.tiny(lossAt(losses, report.updates))}, ` : "";
      const near = report.cosine > 0.9995 ? report.cosine.toFixed(6) : report.cosine.toFixed(3);
      say(`After ${whole(report.updates)} of ${whole(total)} updates: ${loss}cosine to Theorem 3.1's weights ${near}, c\u00a0=\u00a0${view.number(report.c)}. ` +
        `Acting on six new MDPs, the block of this moment comes ${text}.` +
        (reports.length === 1 ? " Press Train." : ""));
    }

    fit();
    told();
    moment.set(index());
    return paint;
  });
})();
