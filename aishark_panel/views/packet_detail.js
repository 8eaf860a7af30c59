// One packet: layer tree and hex. state: {} or {number, problem} or {number, time, protocol, family, orig_len,
// note, info, names, layers, hex, filters}. Fields and bytes light each other up.

const NARROW_PX = 440;

export function render({ model }) {
  const title = h("b");
  const subtitle = h("span", { class: "muted" });
  const close = h("button", { class: "close", "aria-label": "Close", title: "Close", onclick: () => model.send_msg({ close: true }) }, icon("close"));
  const filters = h("div", { class: "filters" });
  const names = h("div", { class: "names" });
  const tree = h("div", { class: "tree", role: "tree", "aria-label": "Layers" });
  const hex = h("div", { class: "hex mono", role: "group", "aria-label": "Bytes" });
  const note = h("p", { class: "note muted" });
  const hint = h("div", { class: "hint muted" }, "Select a packet to see its layers and bytes.");
  const content = h("div", { class: "content" }, filters, names, tree, note, hex);
  const root = h("section", { class: "root", "aria-label": "Packet" },
    h("div", { class: "heading" }, title, subtitle, close), hint, content);
  const opened = new Map();
  let lines = [];
  let lit = [];
  let pinned = null;

  function light(start, length) {
    for (const cell of lit) cell.classList.remove("lit");
    lit = [];
    for (let k = start; k < Math.min(start + length, lines.length); k += 1) {
      for (const cell of lines[k]) {
        cell.classList.add("lit");
        lit.push(cell);
      }
    }
  }

  const settle = () => (pinned ? light(pinned.start, pinned.length) : light(0, 0));

  function part(element, node) {
    if (node.start === undefined) return element;
    element.addEventListener("mouseenter", () => light(node.start, node.length));
    element.addEventListener("mouseleave", settle);
    element.addEventListener("click", () => {
      pinned = node;
      light(node.start, node.length);
      lit[0]?.scrollIntoView({ block: "nearest" });
    });
    return element;
  }

  function layer(node, index, layers) {
    // As it was left, else the highest layer that has fields: the others say enough in one line.
    const highest = layers.findLastIndex((each) => each.fields.length);
    const details = h("details", { open: opened.get(node.name) ?? index === highest, role: "treeitem" },
      part(h("summary", {}, h("b", {}, node.name), h("span", { class: "muted" }, node.summary)), node),
      ...node.fields.map((field) => part(h("div", { class: "field" },
        h("span", { class: "muted" }, field.name), h("span", { class: "mono" }, field.value)), field)));
    details.firstChild.addEventListener("click", () => opened.set(node.name, !details.open));
    return details;
  }

  function bytes(text) {
    lines = [];
    const rows = [];
    const perLine = root.clientWidth < NARROW_PX ? 8 : 16;
    hex.style.setProperty("--per-line", perLine);
    for (let at = 0; at < text.length; at += 2 * perLine) {
      const left = h("span", { class: "bytes" });
      const right = h("span", { class: "ascii" });
      for (let k = at; k < Math.min(at + 2 * perLine, text.length); k += 2) {
        const pair = text.slice(k, k + 2);
        const code = parseInt(pair, 16);
        const cells = [h("i", {}, pair), h("i", {}, code > 32 && code < 127 ? String.fromCharCode(code) : "·")];
        left.append(cells[0]);
        right.append(cells[1]);
        lines.push(cells);
      }
      rows.push(h("div", {}, h("span", { class: "offset" }, (at / 2).toString(16).padStart(4, "0")), left, right));
    }
    hex.replaceChildren(...rows);
  }

  function paint() {
    const s = model.state;
    const some = s.number !== undefined;
    pinned = null;
    root.classList.toggle("open", some);
    hint.hidden = some && !s.problem;
    content.hidden = !some || !!s.problem;
    close.hidden = !some;
    put(title, some ? `Packet ${count(s.number)}` : "Packet");
    put(subtitle, some && !s.problem ? `${s.time}, ${count(s.orig_len)} bytes` : "");
    put(hint, s.problem ?? "Select a packet to see its layers and bytes.");
    if (content.hidden) return;
    filters.replaceChildren(h("span", { class: "muted" }, "Filter"), ...s.filters.map((each) => h("button", {
      title: `${each.condition}\nClick: show only these. Alt+click: hide them.`,
      onclick: (event) => model.send_msg({ filter: each.name, exclude: event.altKey }),
    }, each.name === "conversation" ? "conversation" : each.name === "port" ? `port ${each.text}` : each.text)));
    filters.hidden = !s.filters.length;
    names.replaceChildren(...s.names.map((each) => h("span", { title: `${each.name} ${each.text}` },
      h("span", { class: "muted" }, each.name), " ", h("span", { class: "mono" }, each.text))));
    names.hidden = !s.names.length;
    tree.replaceChildren(...s.layers.map(layer));
    bytes(s.hex);
    put(note, s.note);
    note.hidden = !s.note;
    tree.scrollTop = hex.scrollTop = 0;
  }

  model.on("state", paint);
  paint();
  return root;
}
