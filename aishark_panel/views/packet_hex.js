// The bytes of a packet: offsets, hex and ASCII in three columns, so that a selection takes from one of them only.

const NARROW_PX = 470;

/** Gives {element, show(hex, width), fit(width), light(node, scroll)}; `on` hears point(byte or null), choose(byte) and enter(byte). */
function hexDump(on) {
  const offsets = h("div", { class: "offset", "aria-hidden": "true" });
  const bytes = h("div", { class: "bytes" });
  const ascii = h("div", { class: "ascii" });
  const element = h("div", { class: "hex mono", role: "group", tabIndex: 0,
    "aria-label": "Bytes. Arrow keys move over them, Enter goes to their field." }, offsets, bytes, ascii);
  let cells = [];
  let lit = [];
  let shown = "";
  let perLine = 16;
  let cursor = null;

  const place = (target) => (target.dataset?.k === undefined ? null : Number(target.dataset.k));

  element.addEventListener("mouseover", (event) => on.point(place(event.target)));
  element.addEventListener("mouseleave", () => on.point(null));
  element.addEventListener("click", (event) => {
    const byte = place(event.target);
    if (byte === null || String(element.getRootNode().getSelection?.() ?? "")) return;
    cursor = byte;
    on.choose(byte);
  });
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perLine, ArrowUp: -perLine }[event.key];
    if (!cells.length || event.ctrlKey || event.metaKey) return;
    if (step !== undefined) cursor = cursor === null ? 0 : Math.min(Math.max(cursor + step, 0), cells.length - 1);
    else if (event.key === "Enter" && cursor !== null) on.enter(cursor);
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (step !== undefined) on.choose(cursor);
  });

  const lineOf = (width) => (width && width < NARROW_PX ? 8 : 16);

  const dump = {
    element,
    /** Lays the lines out anew where another number of bytes fits on one. */
    fit(width) {
      if (lineOf(width) !== perLine) dump.show(shown, width);
    },
    show(text, width) {
      perLine = lineOf(width);
      shown = text;
      cells = [];
      lit = [];
      cursor = null;
      const places = [];
      const left = document.createDocumentFragment();
      const right = document.createDocumentFragment();
      for (let k = 0; k < text.length / 2; k += 1) {
        const pair = text.slice(2 * k, 2 * k + 2);
        const code = parseInt(pair, 16);
        const cell = [h("i", {}, pair), h("i", {}, code > 31 && code < 127 ? String.fromCharCode(code) : "·")];
        for (const each of cell) each.dataset.k = k;
        cells.push(cell);
        const last = (k + 1) % perLine === 0;
        if (k % perLine === 0) places.push(k.toString(16).padStart(4, "0"));
        left.append(cell[0], last ? "\n" : (k + 1) % 8 === 0 ? "  " : " ");
        right.append(cell[1], last ? "\n" : "");
      }
      put(offsets, places.join("\n"));
      bytes.replaceChildren(left);
      ascii.replaceChildren(right);
      element.scrollTop = 0;
    },
    /** Lights the bytes of a node, and of a part of a byte its bits in the tree. */
    light(node, scroll) {
      for (const cell of lit) for (const each of cell) each.className = "";
      lit = node?.start === undefined ? [] : cells.slice(node.start, node.start + node.length);
      for (const cell of lit) for (const each of cell) each.className = node.bits ? "lit part" : "lit";
      if (scroll) lit[0]?.[0].scrollIntoView({ block: "nearest" });
    },
  };
  return dump;
}
