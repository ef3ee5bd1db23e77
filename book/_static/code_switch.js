/* Prose, or prose and code: a switch in the page's header, remembered in this browser.

   Checks stay in both cases, as one line each. */
(() => {
  "use strict";
  const KEY = "icrl-code";
  const root = document.documentElement;
  const remembered = () => {
    try { return localStorage.getItem(KEY); } catch { return null; } // a browser may refuse
  };
  const remember = (value) => {
    try { localStorage.setItem(KEY, value); } catch { /* then for this page alone */ }
  };
  const set = (button, code) => {
    root.dataset.code = code ? "shown" : "hidden";
    button.setAttribute("aria-checked", String(code));
    button.querySelector(".code-switch-word").textContent = code ? "prose and code" : "prose";
  };

  const start = () => {
    const place = document.querySelector(".article-header-buttons");
    if (!place || !document.querySelector(".cell_input")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "btn btn-sm code-switch";
    button.setAttribute("role", "switch");
    button.setAttribute("aria-label", "Prose and code");
    button.title = "Show or hide the code of all chapters";
    button.innerHTML = '<span class="code-switch-box" aria-hidden="true"></span>'
      + '<span class="code-switch-word" aria-hidden="true"></span>';
    set(button, remembered() !== "hidden");
    button.addEventListener("click", () => {
      const code = root.dataset.code === "hidden";
      set(button, code);
      remember(code ? "shown" : "hidden");
    });
    place.prepend(button);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
