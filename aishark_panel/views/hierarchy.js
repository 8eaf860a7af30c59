
// Tree of layers. state: {lines: [{depth, name, packets, bytes, share, family}], complete, scope, empty}

export function render({ model }) {
  const note = h("span", { class: "muted" });
  const list = h("div", { class: "list", role: "rowgroup" });
  const empty = h("div", { class: "empty muted" });
  const head = h("div", { class: "row head", role: "row" }, ...["Layer", "Of bytes", "Packets", "Bytes"].map((title) =>
    h("span", { role: "columnheader" }, title)));
  const root = h("section", { class: "root", "aria-label": "Protocol hierarchy" },
    h("div", { class: "heading" }, h("b", {}, "Protocol hierarchy"), note),
    h("div", { class: "table", role: "table", "aria-label": "Protocol hierarchy" }, head, list), empty);

  const percent = (share) => (share >= 0.0995 ? `${(share * 100).toFixed(0)} %` : share >= 0.001 ? `${(share * 100).toFixed(1)} %` : "< 0.1 %");

  function row({ name }) {
    const layer = h("span", { class: "layer", role: "cell" }, name);
    const bar = h("i", { class: "bar" });
    const share = h("span", { class: "share", role: "cell" }, bar, h("span"));
    const packets = h("span", { role: "cell" });
    const bytes = h("span", { role: "cell" });
    const element = h("button", { role: "row", onclick: (event) => model.send_msg({ layer: name, exclude: event.altKey }) }, layer, share, packets, bytes);
    return { element, fill(item) {
      element.className = `row p-${item.family}`;
      layer.style.paddingLeft = `${6 + 16 * item.depth}px`;
      bar.style.width = `${100 * item.share}%`;
      put(share.lastChild, percent(item.share));
      put(packets, count(item.packets));
      put(bytes, si(item.bytes, "B"));
      element.title = `${name}: ${count(item.packets)} packets, ${count(item.bytes)} bytes, ${(100 * item.share).toFixed(2)} %\nClick: show only these. Alt+click: hide them.`;
    } };
  }

  function paint() {
    const { lines = [], complete = true, scope = "", empty: why = "" } = stateOf(model);
    const path = [];
    const named = lines.map((line) => {
      path.length = line.depth;
      path.push(line.name);
      return { ...line, path: path.join("/") };
    });
    keyed(list, named, (item) => item.path, row);
    put(note, lines.length ? `${scope}${complete ? "" : "; still counting"}` : "");
    empty.hidden = !why;
    put(empty, why);
  }

  model.on("state", paint);
  paint();
  return root;
}
