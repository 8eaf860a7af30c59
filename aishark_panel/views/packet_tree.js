// The layer tree of a packet. A node: {name, summary | value, start, length, bits, filter, fields}. Keys as in ARIA's
// tree pattern: arrows move, open and close, Enter pins the bytes, + adds the field to the display filter.

/** Gives {element, show(layers), reveal(node), owner(byte)}; `on` hears light(node), pin(node), filter(node, exclude) and
 *  menu(node, event). */
function layerTree(on) {
  const element = h("div", { class: "tree", role: "tree", "aria-label": "Layers" });
  const opened = new Map();
  let rows = [];  // {node, row, group, parent, key}, outermost first
  let owners = [];

  const at = (target) => rows.find(({ row }) => row === target.closest?.(".node"));
  const inSight = () => rows.filter(({ parent }) => {
    for (let each = parent; each; each = each.parent) if (each.group.hidden) return false;
    return true;
  });

  function toggle(entry, open) {
    if (!entry.group) return;
    entry.group.hidden = !open;
    entry.row.setAttribute("aria-expanded", open);
    opened.set(entry.key, open);
  }

  function focus(entry) {
    for (const { row } of rows) row.tabIndex = -1;
    entry.row.tabIndex = 0;
    entry.row.focus();
  }

  function make(node, parent, key, open, into) {
    const level = parent ? parent.level + 1 : 1;
    const entry = { node, parent, key, level };
    const text = node.summary ?? node.value;
    entry.row = h("div", { class: `node ${level === 1 ? "layer" : "field"}`, role: "treeitem", "aria-level": level, tabIndex: -1 },
      h("span", { class: "twist", "aria-hidden": "true" }),
      h("span", { class: "name" }, node.name),
      node.bits ? h("span", { class: "bits mono muted" }, node.bits) : "",
      h("span", { class: level === 1 ? "text muted" : "text mono", title: text.length > 40 ? text : "" }, text));
    entry.row.style.setProperty("--level", level - 1);
    if (node.filter) entry.row.append(h("button", {
      class: "plus", tabIndex: -1, title: `${node.filter}\nClick: show only these. Alt+click: hide them.`, "aria-label": `Filter: ${node.filter}`,
      onclick: (event) => {
        event.stopPropagation();
        on.filter(node, event.altKey);
      },
    }, icon("add")));
    rows.push(entry);
    into.append(entry.row);
    for (let k = node.start; k < node.start + node.length; k += 1) {
      // Innermost first; of fields that share a byte the first one, as it stands in front.
      if (!owners[k] || parent === owners[k] || owners[k].level < level) owners[k] = entry;
    }
    if (node.fields?.length) {
      entry.group = h("div", { role: "group" });
      toggle(entry, open);
      opened.delete(key);
      node.fields.forEach((field, k) => make(field, entry, `${key}/${k}${field.name}`, kept.get(`${key}/${k}${field.name}`) ?? false, entry.group));
      into.append(entry.group);
    }
    return entry;
  }

  let kept = new Map();
  function show(layers) {
    const focused = rows.findIndex(({ row }) => row === element.getRootNode().activeElement);
    // As it was left, else the highest layer that has fields: the others say enough in one line.
    kept = new Map(opened);
    rows = [];
    owners = [];
    element.replaceChildren();
    const highest = layers.findLastIndex((each) => each.fields.length);
    layers.forEach((node, k) => make(node, null, node.name, kept.get(node.name) ?? k === highest, element));
    for (const [key, open] of kept) opened.set(key, open);
    if (rows.length) rows[0].row.tabIndex = 0;
    if (focused >= 0 && rows.length) focus(inSight().includes(rows[focused]) ? rows[focused] : rows[0]);
  }

  function reveal(entry, scroll = true) {
    for (let each = entry.parent; each; each = each.parent) toggle(each, true);
    if (scroll) entry.row.scrollIntoView({ block: "nearest" });
  }

  function mark(entry) {
    for (const { row } of rows) row.classList.remove("lit");
    entry?.row.classList.add("lit");
  }

  element.addEventListener("mouseover", (event) => {
    const entry = at(event.target);
    if (entry) on.light(entry.node);
  });
  element.addEventListener("mouseleave", () => on.light(null));
  element.addEventListener("focusin", (event) => {
    const entry = at(event.target);
    if (entry) on.light(entry.node);
  });
  element.addEventListener("click", (event) => {
    const entry = at(event.target);
    if (!entry || String(element.getRootNode().getSelection?.() ?? "")) return;
    if (entry.group) toggle(entry, entry.group.hidden);
    focus(entry);
    on.pin(entry.node);
  });
  element.addEventListener("contextmenu", (event) => {
    const entry = at(event.target);
    if (!entry) return;
    event.preventDefault();
    on.menu(entry.node, event);
  });
  element.addEventListener("keydown", (event) => {
    const entry = at(event.target);
    if (!entry || event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = inSight();
    const place = shown.indexOf(entry);
    const moves = {
      ArrowDown: () => focus(shown[Math.min(place + 1, shown.length - 1)]),
      ArrowUp: () => focus(shown[Math.max(place - 1, 0)]),
      Home: () => focus(shown[0]),
      End: () => focus(shown.at(-1)),
      ArrowRight: () => (entry.group?.hidden ? toggle(entry, true) : entry.group && focus(shown[place + 1])),
      ArrowLeft: () => (entry.group && !entry.group.hidden ? toggle(entry, false) : entry.parent && focus(entry.parent)),
      Enter: () => on.pin(entry.node),
      "+": () => entry.node.filter && on.filter(entry.node, false),
      "-": () => entry.node.filter && on.filter(entry.node, true),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  });

  return {
    element, show,
    /** Lights the innermost field that holds a byte, and opens it if `open`; gives its node. */
    lightAt(byte, open) {
      const entry = owners[byte];
      if (entry && open) reveal(entry);
      let seen = entry;
      for (let each = entry?.parent; each; each = each.parent) if (each.group.hidden) seen = each;
      mark(seen);
      return entry?.node ?? null;
    },
    unmark: () => mark(null),
    focusAt(byte) {
      if (!owners[byte]) return;
      reveal(owners[byte]);
      focus(owners[byte]);
    },
  };
}
