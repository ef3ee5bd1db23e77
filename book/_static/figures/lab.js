// What the interactive figures share: controls, repainting, and a memory for their settings.
// Pictures are play/view.js's; numbers are play/icrl.js's.

(function () {
  "use strict";

  /** A new HTML element; attributes that are functions are listeners. */
  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") node.addEventListener(key, value);
      else if (value === true) node.setAttribute(key, "");
      else if (value !== false && value !== undefined) node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  let made = 0;
  const fresh = (name) => `lab-${name}-${++made}`;

  function button(text, pressed, attributes = {}) {
    return make("button", { type: "button", click: pressed, ...attributes }, text);
  }

  /** A labelled range; `show` turns its value into words. */
  function slider(label, { min, max, step, value, show = String }, changed) {
    const id = fresh("slider"), output = make("output", { for: id });
    const input = make("input", { type: "range", id, min, max, step });
    const told = () => {
      output.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
    };
    const set = (next) => { input.value = next; told(); };
    input.addEventListener("input", () => { told(); changed(Number(input.value)); });
    set(value);
    const node = make("label", { class: "lab-slider", for: id }, make("span", {}, label, output), input);
    return { node, input, set, told };
  }

  /** A labelled choice among [value, text] pairs. */
  function select(label, options, value, changed) {
    const id = fresh("select");
    const input = make("select", { id, change: () => changed(input.value) },
      ...options.map(([key, text]) => make("option", { value: key }, text)));
    input.value = value;
    return { node: make("label", { class: "lab-select", for: id }, label, input), input };
  }

  /** A choice whose options are all in sight. */
  function radios(legend, options, value, changed) {
    const name = fresh("radio");
    const inputs = options.map(([key]) =>
      make("input", { type: "radio", name, value: key, change: () => changed(key) }));
    const set = (next) => inputs.forEach((input) => { input.checked = input.value === String(next); });
    set(value);
    const node = make("fieldset", {}, make("legend", {}, legend),
      ...options.map(([, text], k) => make("label", {}, inputs[k], " ", text)));
    return { node, inputs, set };
  }

  /** A sentence that is read out when it changes, but not more often than can be followed. */
  function status() {
    const seen = make("p", { class: "lab-now" }), heard = make("p", { class: "playable-spoken", role: "status" });
    let waiting = null;
    const say = (text) => {
      seen.textContent = text;
      clearTimeout(waiting);
      waiting = setTimeout(() => { heard.textContent = text; }, 700);
    };
    return { nodes: [seen, heard], say };
  }

  /** Settings of this visit, so that a reload or the way back does not lose them. */
  const memory = {
    get(name) {
      try { return JSON.parse(sessionStorage.getItem(`lab ${name}`)) ?? {}; } catch { return {}; }
    },
    set(name, state) {
      try { sessionStorage.setItem(`lab ${name}`, JSON.stringify(state)); } catch { /* not kept */ }
    },
  };

  /** Put a figure in the place of its sentence; `build` returns what paints it anew. */
  function place(name, title, build) {
    const host = document.querySelector(`[data-lab="${name}"]`);
    if (!host) return;
    const body = make("div", { class: "lab-body", role: "group", "aria-label": title });
    const paint = build(body, host);
    host.querySelector(".lab-without").hidden = true;
    host.append(body);
    const pictures = body.querySelectorAll("svg[role], canvas");
    const again = () => {
      window.IcrlView.measure(pictures);
      // Before its style sheet is there a picture has no width.
      if (host.clientWidth && [...pictures].some((picture) => !picture.clientWidth)) return void requestAnimationFrame(again);
      paint(window.IcrlView.palette(host));
    };
    again();
    new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    let width = host.clientWidth;
    new ResizeObserver(() => {
      if (host.clientWidth !== width) { width = host.clientWidth; again(); }
    }).observe(host);
  }

  window.IcrlLab = { make, button, slider, select, radios, status, memory, place };
})();
