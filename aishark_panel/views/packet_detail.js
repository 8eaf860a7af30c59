// One packet: layer tree and bytes, which light each other up. state: {} or {number, problem} or {number, time, protocol,
// family, orig_len, note, info, names, layers, by, hex, filters, follows}.

const HINT = "Select a packet to see its layers and bytes.";
const MADE_BY = { tshark: "Layers by tshark", scapy: "Layers by scapy" };
const WIDTH = "aishark.detail_px";
const STEP_PX = 24;

/** The edge between the list and this: dragged, or moved by arrow keys; it stays where it was left. */
function splitter(root) {
  const page = () => root.getRootNode().host?.parentNode?.host;
  const edge = h("div", { class: "splitter", role: "separator", tabIndex: 0, "aria-orientation": "vertical",
    "aria-label": "Width of the packet's details", title: "Drag to resize; double-click for the usual width" });
  const set = (px) => {
    page()?.style.setProperty("--detail", px ? `${px}px` : "initial");
    if (px) edge.setAttribute("aria-valuenow", Math.round(px));
    try {
      if (px) localStorage.setItem(WIDTH, Math.round(px));
      else localStorage.removeItem(WIDTH);
    } catch { /* a page that may keep nothing */ }
  };
  edge.addEventListener("pointerdown", (event) => {
    const right = root.getBoundingClientRect().right;
    edge.setPointerCapture(event.pointerId);
    edge.onpointermove = ({ clientX }) => set(Math.max(right - clientX, 1));
    event.preventDefault();
  });
  edge.addEventListener("lostpointercapture", () => {
    edge.onpointermove = null;
  });
  edge.addEventListener("dblclick", () => set(0));
  edge.addEventListener("keydown", ({ key }) => {
    const step = { ArrowLeft: STEP_PX, ArrowRight: -STEP_PX }[key];
    if (step) set(root.clientWidth + step);
  });
  requestAnimationFrame(() => {
    try {
      const px = Number(localStorage.getItem(WIDTH));
      if (px > 0) set(px);
    } catch { /* as above */ }
  });
  return edge;
}

export function render({ model }) {
  const title = h("b");
  const subtitle = h("span", { class: "muted" });
  const close = h("button", { class: "close", "aria-label": "Close", title: "Close", onclick: () => model.send_msg({ close: true }) }, icon("close"));
  const follow = h("button", { class: "follow-stream", title: "What was said in this conversation, both directions in order, and how it fared",
    onclick: () => model.send_msg({ follow: true }) }, "Follow stream");
  const filters = h("div", { class: "filters" });
  const names = h("div", { class: "names" });
  const place = h("span", { class: "muted" });
  const by = h("span", { class: "by muted" });
  const copies = h("button", { class: "small", title: "Copy the bytes that are lit, else all that are shown, as hex" }, "Copy bytes");
  const note = h("p", { class: "note muted" });
  const hint = h("div", { class: "hint muted" }, HINT);
  const offers = h("div", { class: "offers", popover: "auto", role: "menu" });
  let lit = null;
  let pinned = null;
  let shown = null;
  let drawn = null;

  const filter = (node, exclude) => model.send_msg({ filter: node.filter, exclude });
  const hexOf = (node) => {
    const { hex = "" } = stateOf(model);
    return node?.start === undefined ? hex : hex.slice(2 * node.start, 2 * (node.start + node.length));
  };

  function light(node, scroll = false) {
    lit = node ?? pinned;
    bytes.light(lit, scroll);
    const { start, length, bits } = lit ?? {};
    put(place, start === undefined ? "" : `${lit.name}: ${bits ? `bits ${bits} of ` : ""}${length === 1 ? `byte ${start}` : `bytes ${start} to ${start + length - 1}`}`);
  }

  function pin(node) {
    pinned = node?.start === undefined ? null : node;
    light(node, true);
  }

  function menuOf(node, event) {
    const choice = (text, act) => h("button", { role: "menuitem", onclick: () => {
      offers.hidePopover();
      act();
    } }, text);
    offers.replaceChildren(...[
      node.filter && h("code", {}, node.filter),
      node.filter && choice("Show only these", () => filter(node, false)),
      node.filter && choice("Hide these", () => filter(node, true)),
      node.filter && choice("Copy as filter", () => copyText(node.filter)),
      choice("Copy value", () => copyText(node.value || node.summary || node.name)),
      choice("Copy line", () => copyText([node.name, node.value ?? node.summary].filter(Boolean).join(": "))),
      node.start !== undefined && choice("Copy bytes", () => copyText(hexOf(node))),
    ].filter(Boolean));
    offers.showPopover();
    const at = event.target.getBoundingClientRect();
    const [x, y] = event.clientX || event.clientY ? [event.clientX, event.clientY] : [at.left + 24, at.bottom];
    offers.style.left = `${Math.max(8, Math.min(x, innerWidth - offers.offsetWidth - 8))}px`;
    offers.style.top = `${Math.max(8, Math.min(y, innerHeight - offers.offsetHeight - 8))}px`;
    offers.querySelector("button").focus();
  }

  const tree = layerTree({ light: (node) => {
    tree.unmark();
    light(node);
  }, pin, filter, menu: menuOf });
  const bytes = hexDump({
    point: (byte) => {
      if (byte === null) tree.unmark();
      light(byte === null ? null : tree.lightAt(byte, false));
    },
    choose: (byte) => {
      pinned = tree.lightAt(byte, true);
      light(pinned);
    },
    enter: (byte) => tree.focusAt(byte),
  });
  copies.addEventListener("click", async () => {
    await copyText(hexOf(pinned));
    put(copies, "Copied");
    setTimeout(() => put(copies, "Copy bytes"), 1500);
  });

  const foot = h("div", { class: "foot" }, by, place, copies);
  const content = h("div", { class: "content" }, filters, names, tree.element, note, foot, bytes.element);
  const root = h("section", { class: "root", "aria-label": "Packet" },
    h("div", { class: "heading" }, title, subtitle, follow, close), hint, content, offers);
  root.append(splitter(root));
  const wide = new ResizeObserver(() => {
    if (stateOf(model).hex) bytes.fit(root.clientWidth);
  });
  wide.observe(root);
  model.on("remove", () => wide.disconnect());

  function fill(s) {
    filters.replaceChildren(...s.filters.map((each) => h("button", {
      title: `${each.condition}\nClick: show only these. Alt+click: hide them.`,
      onclick: (event) => model.send_msg({ filter: each.condition, exclude: event.altKey }),
    }, each.name === "conversation" ? "conversation" : each.name === "port" ? `port ${each.text}` : each.text)));
    filters.hidden = !s.filters.length;
    names.replaceChildren(...s.names.map((each) => h("span", { title: `${each.name} ${each.text}` },
      h("span", { class: "muted" }, each.name), " ", h("span", { class: "mono" }, each.text))));
    names.hidden = !s.names.length;
    bytes.show(s.hex, root.clientWidth);
    bytes.element.hidden = !s.hex;
    copies.hidden = !s.hex;
    put(note, s.note);
    note.hidden = !s.note;
  }

  function paint() {
    const s = stateOf(model);
    const some = s.number !== undefined;
    root.classList.toggle("open", some);
    hint.hidden = some && !s.problem;
    content.hidden = !some || !!s.problem;
    close.hidden = !some;
    follow.hidden = !s.follows;
    put(title, some ? `Packet ${count(s.number)}` : "Packet");
    put(subtitle, some && !s.problem ? `${s.time}, ${count(s.orig_len)} bytes` : "");
    put(hint, s.problem ?? HINT);
    if (content.hidden) {
      drawn = shown = null;
      return;
    }
    const key = `${s.session} ${s.number} ${s.hex.length}`;
    const again = key === drawn;  // the same packet, told by another: what was lit stays lit, and nothing jumps
    if (!again) fill(s);
    drawn = key;
    const scrolled = tree.element.scrollTop;
    if (shown !== s.layers) tree.show(s.layers);
    shown = s.layers;
    tree.element.scrollTop = again ? scrolled : 0;
    put(by, MADE_BY[s.by] ?? "");
    if (again && pinned) pinned = tree.lightAt(pinned.start, false);
    else pinned = null;
    light(null);
  }

  model.on("state", paint);
  paint();
  return root;
}
