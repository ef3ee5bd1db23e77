// The drawing of the interactive page: graph, heat maps, line chart and bars. Each function
// draws what it is given and remembers nothing; colours are the style sheet's.

(function () {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";

  /** A new SVG element. */
  function element(name, attributes = {}, text = "") {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  }

  /** A number as people read it, with a true minus sign. */
  function number(value, digits = 2) {
    const text = value.toFixed(digits);
    return Number(text) < 0 ? text.replace("-", "−") : text.replace("-", "");
  }

  /** A small positive number to one digit, in powers of ten. */
  function tiny(value) {
    if (value === 0 || value >= 0.01) return number(value);
    const [digit, power] = value.toExponential(0).split("e");
    return `${digit}\u00a0×\u00a0${powerOfTen(power.replace("-", "−"))}`;
  }

  /** 10 to this power, which is a whole number. */
  function powerOfTen(power) {
    return `10${[...String(power)].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("")}`;
  }

  /** Round numbers from low to high, about `count` of them, and how many digits they need. */
  function ticks(low, high, count) {
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((k) => k * power >= rough * 0.999);
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    const values = Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
    return { values, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  // --- colours -----------------------------------------------------------------------------

  /** The diverging map of the present theme: value in [−1, 1] to a CSS colour. */
  function palette(host) {
    const style = getComputedStyle(host), probe = document.createElement("canvas").getContext("2d");
    const rgb = (name) => {
      probe.fillStyle = style.getPropertyValue(name).trim();
      return [1, 3, 5].map((k) => parseInt(probe.fillStyle.slice(k, k + 2), 16));
    };
    const [negative, middle, positive] = ["--negative", "--surface", "--positive"].map(rgb);
    const steps = 127; // on each side; looked up, for a heat map asks thousands of times
    const table = Array.from({ length: 2 * steps + 1 }, (_, i) => {
      const end = i < steps ? negative : positive, share = Math.abs(i - steps) / steps;
      return `rgb(${middle.map((m, k) => Math.round(m + share * (end[k] - m))).join()})`;
    });
    const colour = (value) => table[Math.round((Math.max(-1, Math.min(1, value)) + 1) * steps)];
    const names = { text: "--text", muted: "--muted", edge: "--edge", surface: "--surface" };
    for (const key in names) colour[key] = style.getPropertyValue(names[key]).trim();
    return colour;
  }

  // --- the MDP as a graph ------------------------------------------------------------------

  const CENTRE = [180, 172], RADIUS = 128, NODE = 19;

  function place(s, S) {
    const angle = (2 * Math.PI * s) / S - Math.PI / 2;
    return [CENTRE[0] + RADIUS * Math.cos(angle), CENTRE[1] + RADIUS * Math.sin(angle)];
  }

  /** The arc from s to t, from rim to rim, as a cubic: its control points. */
  function arc(s, t, S) {
    const from = place(s, S), to = place(t, S);
    const mix = (a, b, share) => a.map((x, k) => x + share * (b[k] - x));
    if (s === t) {
      const out = mix(CENTRE, from, 1 + 52 / RADIUS);
      const side = [-(from[1] - CENTRE[1]) / RADIUS, (from[0] - CENTRE[0]) / RADIUS];
      const at = (centre, share, length) => centre.map((x, k) => x + share * length * side[k]);
      const start = at(mix(CENTRE, from, 1 + 13 / RADIUS), -1, 14);
      const end = at(mix(CENTRE, from, 1 + 13 / RADIUS), 1, 14);
      return [start, at(out, -1, 17), at(out, 1, 17), end];
    }
    // Bent to the right of its way, so that there and back are two arcs.
    const along = [to[0] - from[0], to[1] - from[1]], length = Math.hypot(...along);
    const normal = [-along[1] / length, along[0] / length], bend = 0.1 * length;
    const bow = (share) => mix(from, to, share).map((x, k) => x + bend * normal[k]);
    const shorten = (end, control, gap) => {
      const d = Math.hypot(control[0] - end[0], control[1] - end[1]);
      return mix(end, control, gap / d);
    };
    return [shorten(from, bow(0.3), NODE + 1), bow(0.3), bow(0.7), shorten(to, bow(0.7), NODE + 3)];
  }

  function path([a, b, c, d]) {
    const point = (p) => p.map((x) => x.toFixed(1)).join(" ");
    return `M${point(a)}C${point(b)} ${point(c)} ${point(d)}`;
  }

  function pointOn([a, b, c, d], u) {
    const v = 1 - u;
    return a.map(
      (_, k) => v ** 3 * a[k] + 3 * v * v * u * b[k] + 3 * v * u * u * c[k] + u ** 3 * d[k],
    );
  }

  /**
   * States on a circle, the transitions of the greedy policy, and a window.
   * `chances` is P_π(t|s), `actions` the greedy action of each state; of `states`, the way
   * of the agent, the first `upto` transitions are drawn, a fraction of one as a moving dot.
   */
  function graph(svg, { S, chances, actions, states, upto }) {
    const edges = element("g"), trail = element("g"), nodes = element("g");
    for (let s = 0; s < S; s++) {
      const row = chances.subarray(s * S, (s + 1) * S), likeliest = row.indexOf(Math.max(...row));
      for (let t = 0; t < S; t++) {
        if (row[t] < 0.1 && t !== likeliest) continue;
        edges.append(element("path", {
          class: "play-edge", d: path(arc(s, t, S)),
          "stroke-width": (0.6 + 4 * row[t]).toFixed(2),
          opacity: t === likeliest ? 0.85 : 0.22,
          ...(t === likeliest && { "marker-end": "url(#play-arrow)" }),
        }));
      }
      const [x, y] = place(s, S);
      nodes.append(
        element("circle", { class: "play-state", cx: x, cy: y, r: NODE }),
        element("text", { x: x - 5, y }, String(s + 1)),
        element("text", { class: "play-action", x: x + 7, y }, "abcdefgh"[actions[s]]),
      );
    }
    const whole = Math.floor(upto), length = states.length - 1;
    for (let i = 0; i < whole; i++) {
      trail.append(element("path", {
        class: "play-trail", d: path(arc(states[i], states[i + 1], S)),
        opacity: (0.2 + (0.6 * (i + 1)) / Math.max(1, whole)).toFixed(2),
      }));
    }
    // At rest the dot sits on the rim of its state, on the outer side.
    const [x, y] = whole < length
      ? pointOn(arc(states[whole], states[whole + 1], S), upto - whole)
      : place(states[length], S).map((p, k) => CENTRE[k] + (p - CENTRE[k]) * (1 + NODE / RADIUS));
    const agent = element("circle", { class: "play-agent", cx: x, cy: y, r: 7 });
    const marker = element("marker", {
      id: "play-arrow", viewBox: "0 0 8 8", refX: 6, refY: 4, orient: "auto",
      markerUnits: "userSpaceOnUse", markerWidth: 10, markerHeight: 10,
    });
    marker.append(element("path", { d: "M0 0L8 4L0 8z", style: "fill: var(--muted)" }));
    const definitions = element("defs");
    definitions.append(marker);
    svg.replaceChildren(definitions, edges, trail, nodes, agent);
  }

  // --- heat maps ---------------------------------------------------------------------------

  /** Write down how wide pictures are; asking while drawing would lay the page out each time. */
  function measure(pictures) {
    const widths = Array.from(pictures, (picture) => picture.clientWidth);
    pictures.forEach((picture, k) => { picture.dataset.width = widths[k]; });
  }

  const widthOf = (picture) => Number(picture.dataset.width);

  /** A canvas as wide as its place and as high as asked, sharp on any screen. */
  function surface(canvas, height) {
    const width = widthOf(canvas), ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    return { context, width, ratio };
  }

  /** Edges of cells, on whole device pixels, so that no seams show. */
  function grid(start, sizes, ratio) {
    const edges = [start];
    for (const size of sizes) edges.push(edges.at(-1) + size);
    return edges.map((x) => Math.round(x * ratio) / ratio);
  }

  function cells(context, colour, data, xs, ys, limit, columns = xs.length - 1) {
    for (let i = 0; i + 1 < ys.length; i++) {
      for (let j = 0; j < columns; j++) {
        const value = data[i * (xs.length - 1) + j];
        if (value === 0) continue;
        context.fillStyle = colour(value / limit);
        context.fillRect(xs[j], ys[i], xs[j + 1] - xs[j], ys[i + 1] - ys[i]);
      }
    }
  }

  function frame(context, stroke, x0, y0, x1, y1) {
    context.strokeStyle = stroke;
    context.lineWidth = 1;
    context.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0 - 1, y1 - y0 - 1);
  }

  /** H with its rows in five named groups; of its n token columns, the first `upto` are filled. */
  function promptMap(canvas, colour, { H, d, n, upto }) {
    const left = 46, gap = 8, thick = 11, row = 2.2;
    const groups = [["φ", d, row], ["γφ⁺", d, row], ["r", 1, thick], ["1", 1, thick], ["w", d, row]];
    const height = groups.reduce((sum, [, count, size]) => sum + count * size + 4, 18);
    const { context, width, ratio } = surface(canvas, height);
    const last = Math.max(10, (width - left - gap) / (n + 1));
    const xs = grid(left, new Array(n).fill((width - left - gap - last) / n), ratio);
    const column = grid(width - last, [last], ratio);
    let y = 0, at = 0;
    for (const [name, count, size] of groups) {
      const ys = grid(y, new Array(count).fill(size), ratio), bottom = ys.at(-1);
      const part = (from, to) => {
        const block = [];
        for (let i = at; i < at + count; i++) {
          for (let j = from; j < to; j++) block.push(H[i * (n + 1) + j]);
        }
        return block;
      };
      cells(context, colour, part(0, n), xs, ys, 1, Math.floor(upto));
      cells(context, colour, part(n, n + 1), column, ys, 1);
      frame(context, colour.edge, xs[0], y, xs.at(-1), bottom);
      frame(context, colour.edge, column[0], y, column[1], bottom);
      context.fillStyle = colour.text;
      context.textAlign = "right";
      context.fillText(name, left - 8, (y + bottom) / 2);
      y = bottom + 4;
      at += count;
    }
    context.fillStyle = colour.muted;
    context.textAlign = "left";
    context.fillText(n === 1 ? "1 transition" : `${n} transitions →`, left, y + 8);
    context.textAlign = "right";
    context.fillText("w̃", width, y + 8);
  }

  /** A square matrix; one block framed, notes at [text, column, row]. */
  function matrixMap(canvas, colour, { M, limit, frame: [i, j, rows, columns], notes }) {
    const D = Math.sqrt(M.length), { context, width, ratio } = surface(canvas, widthOf(canvas));
    const edges = grid(0, new Array(D).fill(width / D), ratio);
    cells(context, colour, M, edges, edges, limit);
    frame(context, colour.edge, 0, 0, width, width);
    frame(context, colour.muted, edges[j], edges[i], edges[j + columns], edges[i + rows]);
    context.textAlign = "center";
    for (const [text, x, y] of notes) {
      context.fillStyle = text.startsWith("0") ? colour.muted : colour.text;
      context.fillText(text, edges[x], edges[y]);
    }
  }

  /** w as a strip, the teacher's below it. */
  function stripMap(canvas, colour, rows) {
    const left = 72, high = 15, { context, width, ratio } = surface(canvas, rows.length * (high + 4));
    const limit = Math.max(...rows.flatMap(({ values }) => Array.from(values, Math.abs)));
    rows.forEach(({ name, values }, k) => {
      const xs = grid(left, new Array(values.length).fill((width - left) / values.length), ratio);
      const top = k * (high + 4);
      cells(context, colour, values, xs, [top, top + high], limit);
      frame(context, colour.edge, xs[0], top, xs.at(-1), top + high);
      context.fillStyle = colour.text;
      context.textAlign = "right";
      context.fillText(name, left - 8, top + high / 2);
    });
  }

  /** q(s, a), actions down and states across; greedy actions framed, best ones with a dot. */
  function valueMap(canvas, colour, { q, greedy, best, S, A, limit }) {
    const left = 72, high = 26, top = 10, { context, width, ratio } = surface(canvas, top + A * high + 20);
    const xs = grid(left, new Array(S).fill((width - left) / S), ratio);
    const ys = grid(top, new Array(A).fill(high), ratio);
    const turned = Array.from({ length: A * S }, (_, k) => q[(k % S) * A + Math.floor(k / S)]);
    cells(context, colour, turned, xs, ys, limit);
    context.textAlign = "right";
    context.fillStyle = colour.text;
    for (let a = 0; a < A; a++) {
      context.fillText(a ? "abcdefgh"[a] : "action a", left - 8, (ys[a] + ys[a + 1]) / 2);
    }
    context.textAlign = "center";
    for (let s = 0; s < S; s++) {
      context.fillStyle = colour.text;
      context.fillText(String(s + 1), (xs[s] + xs[s + 1]) / 2, ys[A] + 11);
      for (let a = 0; a < A; a++) {
        if (greedy[s * A + a] > 0) {
          context.strokeStyle = colour.text;
          context.lineWidth = 2.5;
          context.strokeRect(xs[s] + 2, ys[a] + 2, xs[s + 1] - xs[s] - 4, high - 4);
        }
        if (best[s * A + a] > 0) {
          context.beginPath();
          context.arc((xs[s] + xs[s + 1]) / 2, (ys[a] + ys[a + 1]) / 2, 4.5, 0, 2 * Math.PI);
          context.fillStyle = colour.text;
          context.fill();
          context.strokeStyle = colour.surface;
          context.lineWidth = 1.5;
          context.stroke();
        }
      }
    }
    context.textAlign = "right";
    context.fillStyle = colour.text;
    context.fillText("state", left - 8, ys[A] + 11);
  }

  // --- charts ------------------------------------------------------------------------------

  /** An empty plot with axes, and its two scales. */
  function axes(svg, { height, x, y, xLabel, yLabel, xCount, yCount, xText = number, yText = number }) {
    const width = widthOf(svg), box = { left: 52, right: width - 20, top: 10, bottom: height - 42 };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const toX = (v) => box.left + ((v - x[0]) / (x[1] - x[0])) * (box.right - box.left);
    const toY = (v) => box.bottom - ((v - y[0]) / (y[1] - y[0])) * (box.bottom - box.top);
    const root = element("g"), xs = ticks(...x, xCount), ys = ticks(...y, yCount);
    for (const value of ys.values) {
      root.append(
        element("line", { class: "play-tick", x1: box.left, x2: box.right, y1: toY(value), y2: toY(value) }),
        element("text", { x: box.left - 7, y: toY(value) + 4, "text-anchor": "end" }, yText(value, ys.digits)),
      );
    }
    for (const value of xs.values) {
      root.append(element(
        "text", { x: toX(value), y: box.bottom + 17, "text-anchor": "middle" }, xText(value, xs.digits),
      ));
    }
    root.append(
      element("path", { class: "play-axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }),
      element("text", { x: (box.left + box.right) / 2, y: height - 7, "text-anchor": "middle" }, xLabel),
      element("text", {
        x: 0, y: 0, "text-anchor": "middle",
        transform: `translate(12 ${(box.top + box.bottom) / 2}) rotate(-90)`,
      }, yLabel),
    );
    svg.replaceChildren(root);
    return { root, toX, toY, box };
  }

  const BINS = 160; // more points than this are drawn as means, with a band from least to most

  function bins(values) {
    const size = Math.max(1, Math.ceil(values.length / BINS)), list = [];
    for (let from = 0; from < values.length; from += size) {
      const part = values.slice(from, from + size);
      list.push({
        x: from + (part.length - 1) / 2,
        mean: part.reduce((sum, v) => sum + v, 0) / part.length,
        low: Math.min(...part),
        high: Math.max(...part),
      });
    }
    return list;
  }

  /** Returns against windows: `curves` are { name, values }, `levels` { name, value }. */
  function chart(svg, { curves, levels, end, xLabel, yLabel, height }) {
    const all = [...curves.flatMap((c) => bins(c.values).flatMap((b) => [b.low, b.high])),
      ...levels.map((l) => l.value)];
    const low = Math.min(...all), high = Math.max(...all), room = 0.06 * (high - low || 1);
    const { root, toX, toY, box } = axes(svg, {
      height: height ?? Math.min(400, Math.max(260, 0.72 * widthOf(svg))), x: [0, end], y: [low - room, high + room], xLabel, yLabel, xCount: 5, yCount: 5,
    });
    for (const { name, value } of levels) {
      root.append(element("path", { class: `play-line ${name}`, d: `M${box.left} ${toY(value)}H${box.right}` }));
    }
    for (const { name, values } of curves) {
      const list = bins(values), at = (b, key) => `${toX(b.x).toFixed(1)} ${toY(b[key]).toFixed(1)}`;
      if (name === "block" && list.length < values.length) {
        const rim = [...list.map((b) => at(b, "high")), ...list.map((b) => at(b, "low")).reverse()];
        root.append(element("path", { class: "play-band", d: `M${rim.join("L")}z` }));
      }
      root.append(element("path", {
        class: `play-line ${name}`, d: `M${list.map((b) => at(b, "mean")).join("L")}`,
      }));
    }
  }

  /** The block's scores as bars and the TD errors as rings, for the first `upto` transitions. */
  function scoreBars(svg, { scores, errors, upto, xLabel, yLabel, diverged }) {
    const n = errors.length, shown = Math.floor(upto), height = Math.min(320, Math.max(210, 0.55 * widthOf(svg)));
    if (diverged) {
      const width = widthOf(svg);
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.replaceChildren(element("text", { class: "play-said", x: width / 2, y: height / 2, "text-anchor": "middle" }, diverged));
      return;
    }
    const most = Math.max(0.5, ...Array.from(errors, Math.abs), ...Array.from(scores, Math.abs));
    const { root, toX, toY } = axes(svg, {
      height, x: [0.4, n + 0.6], y: [-1.1 * most, 1.1 * most], xLabel, yLabel,
      xCount: Math.min(n, 8), yCount: 5,
    });
    const [left, right] = [toX(0.4), toX(n + 0.6)], wide = Math.max(1, (0.6 * (right - left)) / (n + 0.2));
    root.append(element("path", { class: "play-zero", d: `M${left} ${toY(0)}H${right}` }));
    for (let i = 0; i < shown; i++) {
      const top = toY(Math.max(0, scores[i])), bottom = toY(Math.min(0, scores[i]));
      root.append(
        element("rect", {
          class: "play-bar", x: toX(i + 1) - wide / 2, y: top, width: wide, height: Math.max(0.5, bottom - top),
        }),
        element("circle", { class: "play-ring", cx: toX(i + 1), cy: toY(errors[i]), r: Math.min(5, 2 + wide / 3) }),
      );
    }
  }

  /** A sample of a line, for the legend. */
  function sample(name) {
    const svg = element("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" });
    svg.append(element("path", { class: `play-line ${name}`, d: "M0 6H34" }));
    return svg;
  }

  window.IcrlView = {
    element, number, tiny, powerOfTen, ticks, axes, palette, measure, surface, grid, cells, frame, graph, promptMap, matrixMap, stripMap, valueMap, chart, scoreBars, sample,
  };
})();
