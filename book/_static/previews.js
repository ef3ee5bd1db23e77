/* Shows the equation or theorem that a link leads to, when it is pointed at or has the focus.
   Those of other pages lie in templates of this one: a page from the disk may read no other. */
(() => {
  const delay = 250; // ms, so that a pointer that passes by opens nothing
  let shown = null;
  let timer = 0;

  const close = () => {
    clearTimeout(timer);
    if (shown) {
      shown.link.removeAttribute("aria-describedby");
      shown.box.remove();
      shown = null;
    }
  };

  const content = (link) => {
    const address = link.getAttribute("href");
    for (const template of document.querySelectorAll("template[data-preview]"))
      if (template.dataset.preview === address) return template.content.cloneNode(true);
    if (!address.startsWith("#")) return null;
    let found = document.getElementById(decodeURIComponent(address.slice(1)));
    if (found && found.tagName === "SPAN" && !found.textContent.trim())
      found = found.nextElementSibling;
    if (!found || !found.matches("div.proof, div.math")) return null;
    const copy = found.cloneNode(true);
    copy.removeAttribute("id");
    for (const inner of copy.querySelectorAll("[id]")) inner.removeAttribute("id");
    for (const anchor of copy.querySelectorAll("a")) anchor.removeAttribute("href");
    return copy;
  };

  const open = (link) => {
    close();
    const inside = content(link);
    if (!inside) return;
    const box = document.createElement("div");
    box.className = "preview";
    box.id = "preview";
    box.setAttribute("role", "tooltip");
    box.append(inside);
    document.body.append(box);
    link.setAttribute("aria-describedby", "preview");
    const place = link.getBoundingClientRect();
    const right = document.documentElement.clientWidth - box.offsetWidth - 16;
    box.style.left = `${Math.max(16, Math.min(place.left, right)) + scrollX}px`;
    box.style.top = `${place.bottom + 4 + scrollY}px`;
    box.addEventListener("mouseleave", close);
    shown = { link, box };
    if (window.MathJax?.typesetPromise && !box.querySelector("mjx-container"))
      MathJax.typesetPromise([box]);
  };

  const linkOf = (event) => event.target.closest?.("article a.reference.internal[href*='#']");
  document.addEventListener("mouseover", (event) => {
    const link = linkOf(event);
    if (!link || link === shown?.link) return;
    clearTimeout(timer);
    timer = setTimeout(open, delay, link);
  });
  document.addEventListener("mouseout", (event) => {
    if (!linkOf(event)) return;
    clearTimeout(timer);
    if (!shown?.box.contains(event.relatedTarget)) timer = setTimeout(close, delay);
  });
  document.addEventListener("mouseover", (event) => {
    if (shown?.box.contains(event.target)) clearTimeout(timer);
  });
  document.addEventListener("focusin", (event) => linkOf(event)?.matches(":focus-visible") && open(linkOf(event)));
  document.addEventListener("focusout", (event) => linkOf(event) && close());
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
})();
