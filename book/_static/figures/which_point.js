// Which point? The phase portrait of the scalar model: drag the start, or move it by keyboard,
// and see where gradient flow, gradient descent, SGD and Adam end on the curve of optima.

(function () {
  "use strict";

  const M = window.IcrlPlane, I = window.Icrl, view = window.IcrlView;
  const { make, button, slider, status, memory, place } = window.IcrlLab;

  const NAME = "which_point", D = 36, ALPHA = 0.2, EDGE = 1.2;
  const STEPS = 4000, ADAM_RATE = 0.01, ADAM_STEPS = 2000;
  const METHODS = [
    ["flow", "gradient flow"], ["descent", "gradient descent"], ["sgd", "SGD, single windows"], ["adam", "Adam"],
  ];
  const PLAY_MS = 3000;

  const state = { a: 0.1, b: 0.02, share: 0.15, seed: 1, on: ["flow", "sgd", "adam"], ...memory.get(NAME) };
  const number = (x, digits = 2) => view.number(x, digits);
  const clip = (x) => Math.max(-EDGE + 0.05, Math.min(EDGE - 0.05, Math.round(100 * x) / 100));

  place(NAME, "Which point? The scalar model", (body) => {
    let colour = null, toX = null, toY = null, paths = {}, playing = null;

    const move = (a, b) => {
      Object.assign(state, { a: clip(a), b: clip(b) });
      sliders.a.set(state.a);
      sliders.b.set(state.b);
      redraw();
    };
    const coordinate = (key, label) => slider(
      label, { min: -EDGE + 0.05, max: EDGE - 0.05, step: 0.01, value: state[key], show: (x) => number(x) },
      (x) => move(...(key === "a" ? [x, state.b] : [state.a, x])),
    );
    const sliders = { a: coordinate("a", "start: a, entries of P₁₂"), b: coordinate("b", "start: b, entries of V̄₂₁") };
    const size = slider(
      "step size, of the largest stable one", { min: 0.05, max: 0.9, step: 0.05, value: state.share, show: (x) => `${Math.round(100 * x)} %` },
      (share) => { state.share = share; redraw(); },
    );
    const boxes = METHODS.map(([key, label]) => {
      const input = make("input", { type: "checkbox", change: () => {
        state.on = METHODS.map(([name]) => name).filter((name) => (name === key ? input.checked : state.on.includes(name)));
        redraw();
      } });
      input.checked = state.on.includes(key);
      const line = view.element("svg", { viewBox: "0 0 34 12", "aria-hidden": "true", class: "lab-sample" });
      line.append(view.element("path", { class: `lab-path ${key}`, d: "M0 6H34" }));
      return make("label", { class: "lab-check" }, input, line, label);
    });
    const still = window.matchMedia("(prefers-reduced-motion: reduce)");
    const play = button("Watch it go", () => (playing ? stop() : start()), { class: "playable-primary" });
    const another = button("Other windows for SGD", () => { state.seed += 1; redraw(); });
    const starts = [["small", 0.1, 0.02], ["across", -0.5, 0.8], ["on the saddle's line", -0.45, 0.64], ["large P", 1, 0.1], ["mirrored", null, null]];
    const presets = starts.map(([text, a, b]) =>
      button(text, () => (a === null ? move(-state.a, -state.b) : move(a, b))));

    const plot = view.element("svg", { class: "lab-plane", role: "group", "aria-label": "Phase portrait" });
    const table = make("table", { class: "lab-matrix lab-wide" });
    const { nodes, say } = status();
    body.append(
      make("p", { class: "lab-title" }, "Which point? The scalar model"),
      make("div", { class: "lab-columns" },
        make("section", {}, plot, make("p", { class: "lab-note lab-small" },
          "Thick curve: all optima, ab = α. Dashed: the line into the saddle at 0. Small strokes: gradient flow, from the dot outwards. Adam has a rate of its own, which falls from 0.01 to a thousandth of that.")),
        make("section", {},
          make("p", { class: "lab-note" }, "Drag the start, focus it and use the arrow keys, or move these:"),
          sliders.a.node, sliders.b.node,
          make("div", { class: "lab-row" }, ...presets),
          make("div", { class: "lab-checks" }, ...boxes),
          size.node,
          make("div", { class: "lab-row" }, play, another),
          table)),
      ...nodes,
    );

    // --- the start is dragged, or moved by arrow keys ---
    const handle = view.element("circle", { class: "lab-handle", r: 9, tabindex: 0, role: "slider", "aria-label": "start",
      "aria-valuemin": -EDGE, "aria-valuemax": EDGE });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.02;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
      if (!by) return;
      event.preventDefault();
      move(state.a + by[0], state.b + by[1]);
    });
    const toPlane = (event) => {
      const box = plot.getBoundingClientRect(), width = Number(plot.dataset.width);
      const x = ((event.clientX - box.left) * width) / box.width, y = ((event.clientY - box.top) * width) / box.width;
      const [x0, x1, y0, y1] = [toX(0), toX(1), toY(0), toY(1)];
      return [(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)];
    };
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) move(...toPlane(event));
    });

    // --- paths ---
    function compute() {
      const at = [state.a, state.b], eta = state.share * M.largestStep(ALPHA, D), rng = I.random(state.seed);
      const windows = I.uniforms(rng, STEPS).map((u) => -Math.log1p(-u));
      paths = {
        flow: M.flow(at, ALPHA, D),
        descent: M.descend(at, ALPHA, D, eta, new Array(STEPS).fill(1)),
        sgd: M.descend(at, ALPHA, D, eta, windows),
        adam: M.adam(at, ALPHA, D, ADAM_RATE, ADAM_STEPS),
      };
    }

    function redraw() {
      memory.set(NAME, state);
      if (colour) paint(colour);
    }

    const trace = (points) => {
      const every = Math.max(1, Math.floor(points.length / 600)), shown = points.filter((_, k) => k % every === 0 || k === points.length - 1);
      return `M${shown.filter((p) => Math.hypot(...p) < 5).map(([a, b]) => `${toX(a).toFixed(1)} ${toY(b).toFixed(1)}`).join("L")}`;
    };

    function paint(palette) {
      colour = palette;
      compute();
      const held = document.activeElement === handle, width = Number(plot.dataset.width) || 320;
      const drawn = view.axes(plot, {
        height: width, x: [-EDGE, EDGE], y: [-EDGE, EDGE], xCount: 6, yCount: 6,
        xLabel: "a: entries of P₁₂ (at an optimum, c)", yLabel: "b: entries of V̄₂₁ (at an optimum, α/c)",
      });
      ({ toX, toY } = drawn);
      const { root, box } = drawn, ratio = Math.sqrt((2 * D + 1) / D);
      const clipping = view.element("clipPath", { id: "lab-plane-clip" });
      clipping.append(view.element("rect", { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
      const inside = view.element("g", { "clip-path": "url(#lab-plane-clip)" });
      for (let i = -5; i <= 5; i++) {
        for (let j = -5; j <= 5; j++) {
          const x = [i * 0.22, j * 0.22], [da, db] = M.gradient(x, ALPHA, D).map((g) => -g), length = Math.hypot(da, db);
          if (length < 1e-6) continue;
          const [px, py] = [toX(x[0]), toY(x[1])];
          inside.append(
            view.element("path", { class: "lab-stroke", d: `M${px} ${py}l${((8 * da) / length).toFixed(1)} ${((-8 * db) / length).toFixed(1)}` }),
            view.element("circle", { class: "lab-dot", cx: px, cy: py, r: 1.4 }),
          );
        }
      }
      for (const sign of [1, -1]) {
        const branch = Array.from({ length: 120 }, (_, k) => 0.14 * (2 / 0.14) ** (k / 119)).map((a) => [sign * a, (sign * ALPHA) / a]);
        inside.append(view.element("path", { class: "lab-optima", d: trace(branch) }));
      }
      inside.append(
        view.element("path", { class: "lab-separatrix", d: `M${toX(-EDGE)} ${toY(ratio * EDGE)}L${toX(EDGE)} ${toY(-ratio * EDGE)}` }),
        ...state.on.map((key) => view.element("path", { class: `lab-path ${key}`, d: trace(paths[key]) })),
        ...state.on.map((key) => {
          const [a, b] = paths[key].at(-1);
          return view.element("circle", { class: `lab-end ${key}`, cx: toX(a), cy: toY(b), r: 4.5 });
        }),
        ...state.on.map((key) => view.element("circle", { class: `lab-runner ${key}`, "data-key": key, r: 5, visibility: "hidden" })),
        view.element("path", { class: "lab-saddle", d: `M${toX(0)} ${toY(0) - 7}l7 7l-7 7l-7 -7z` }),
        view.element("text", { x: toX(0.06), y: toY(-0.12) }, "saddle"),
        view.element("text", { x: toX(0.62), y: toY(0.93) }, "c > 0"),
        view.element("text", { x: toX(-1.1), y: toY(-0.93) }, "c < 0"),
      );
      handle.setAttribute("cx", toX(state.a));
      handle.setAttribute("cy", toY(state.b));
      handle.setAttribute("aria-valuenow", state.a);
      handle.setAttribute("aria-valuetext", `a = ${number(state.a)}, b = ${number(state.b)}`);
      const defs = view.element("defs");
      defs.append(clipping);
      root.append(defs, inside, handle);
      if (held) handle.focus();
      tell();
    }

    // --- numbers ---
    function end(key) {
      const path = paths[key], x = path.at(-1), far = !(Math.hypot(...x) < M.FAR);
      return { far, c: x[0], G: M.invariant(x, D), solved: !far && M.loss(x, ALPHA) < 1e-6 };
    }

    function tell() {
      const at = [state.a, state.b], G = M.invariant(at, D), predicted = M.predictedScale(G, ALPHA, D), side = M.side(at, D);
      const near = Math.abs(Math.sqrt(2 * D + 1) * state.a + Math.sqrt(D) * state.b) < 0.02;
      table.replaceChildren(
        make("caption", {}, "Where each optimiser ends"),
        make("thead", {}, make("tr", {}, ...["where it ends", "c", "G"].map((text) => make("th", {}, text)))),
        make("tbody", {},
          make("tr", { class: "lab-under" }, make("th", { scope: "row" }, "the law says"), make("td", {}, side ? number(side * predicted, 3) : "0"), make("td", {}, number(G))),
          ...METHODS.filter(([key]) => state.on.includes(key)).map(([key, label]) => {
            const { c, G: last, far, solved } = end(key);
            const cells = far ? ["diverged", ""] : [solved ? number(c, 3) : "not there", number(last)];
            return make("tr", {}, make("th", { scope: "row" }, label), ...cells.map((text) => make("td", {}, text)));
          })),
      );
      const said = [];
      if (near) said.push("The start is on or beside the line into the saddle at 0: the flow goes towards the saddle and waits there, and a tiny change of the start decides the sign.");
      else said.push(`Gradient flow keeps G = ${number(G)}, so it must end at |c| = ${number(predicted, 3)}; the start lies on the ${side > 0 ? "upper" : "lower"} side of the dashed line, so c is ${side > 0 ? "positive" : "negative"}.`);
      for (const [key, name] of [["descent", "Gradient descent"], ["sgd", "SGD"], ["adam", "Adam"]]) {
        if (!state.on.includes(key)) continue;
        const { c, far, solved } = end(key), change = 100 * (Math.abs(c) / predicted - 1);
        if (far) said.push(`${name} diverged: the start is too steep for this step size.`);
        else if (!solved) said.push(`${name} has not arrived.`);
        else if (!near && Math.sign(c) !== side) said.push(`${name} crossed the line and ends at c = ${number(c, 3)}, the other sign.`);
        else if (!near) said.push(`${name} ends at c = ${number(c, 3)}, ${Math.abs(change) < 0.05 ? "the same point" : `${number(Math.abs(change), 1)} % ${change > 0 ? "above" : "below"} the law`}.`);
      }
      say(said.join(" "));
    }

    // --- motion, where it is welcome ---
    function start() {
      const began = performance.now();
      play.textContent = "Stop";
      const frame = (time) => {
        const share = Math.min(1, Math.max(0, (time - began) / PLAY_MS));
        for (const runner of plot.querySelectorAll(".lab-runner")) {
          const path = paths[runner.dataset.key], [a, b] = path[Math.floor(share * (path.length - 1))];
          runner.setAttribute("cx", toX(a));
          runner.setAttribute("cy", toY(b));
          runner.setAttribute("visibility", Math.hypot(a, b) < 5 ? "visible" : "hidden");
        }
        if (share < 1) playing = requestAnimationFrame(frame);
        else stop();
      };
      playing = requestAnimationFrame(frame);
    }

    function stop() {
      cancelAnimationFrame(playing);
      playing = null;
      play.textContent = "Watch it go";
      for (const runner of plot.querySelectorAll(".lab-runner")) runner.setAttribute("visibility", "hidden");
    }

    const settle = () => { play.hidden = still.matches; if (still.matches && playing) stop(); };
    still.addEventListener("change", settle);
    settle();
    return paint;
  });
})();
