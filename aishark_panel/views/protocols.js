// Donut and list of protocol shares. state: {window, complete, empty, slices: [{name, family, packets, bytes, share, members}]}

const SVG = "http://www.w3.org/2000/svg";
const RADIUS = 38;
const AROUND = 2 * Math.PI * RADIUS;
const GAP = 1.2;

export function render({ model }) {
  const ring = document.createElementNS(SVG, "svg");
  ring.setAttribute("viewBox", "0 0 100 100");
  ring.setAttribute("class", "ring");
  ring.setAttribute("role", "img");
  const middle = h("div", { class: "middle" }, h("b"), h("span", { class: "muted" }));
  const list = h("ol", { class: "list" });
  const window_ = h("span", { class: "muted" });
  const why = h("p", { class: "why muted" });
  const root = h("section", { class: "root", "aria-label": "Protocols" },
    h("div", { class: "heading" }, h("b", {}, "Protocols"), window_),
    h("div", { class: "body" }, h("div", { class: "donut" }, ring, middle), list, why));

  const choose = (slice, event) => {
    if (slice.members === 1) model.send_msg({ protocol: slice.name, exclude: event.altKey });
  };
  const arcs = [];
  const rows = [];

  function arc(index) {
    if (arcs[index]) return arcs[index];
    const circle = document.createElementNS(SVG, "circle");
    for (const [name, value] of [["cx", 50], ["cy", 50], ["r", RADIUS]]) circle.setAttribute(name, value);
    circle.addEventListener("click", (event) => choose(stateOf(model).slices[index], event));
    const title = document.createElementNS(SVG, "title");
    circle.append(title);
    ring.append(circle);
    return (arcs[index] = circle);
  }

  function row(index) {
    if (rows[index]) return rows[index];
    const name = h("span", { class: "name" });
    const share = h("span", { class: "share" });
    const bar = h("i", { class: "bar" });
    const button = h("button", {
      class: "row", onclick: (event) => choose(stateOf(model).slices[index], event),
    }, h("i", { class: "dot" }), name, share, bar);
    list.append(h("li", {}, button));
    return (rows[index] = { button, name, share, bar, item: button.parentElement });
  }

  const percent = (share) => (share >= 0.0995 ? `${(share * 100).toFixed(0)} %`
    : share >= 0.001 ? `${(share * 100).toFixed(1)} %` : "< 0.1 %");

  function paint() {
    const slices = stateOf(model).slices ?? [];
    const { window: shown, complete = true, empty = "" } = stateOf(model);
    put(window_, !slices.length ? "" : `share of bytes, ${shown === "all" ? "whole capture" : shown === "range" ? "time chosen"
      : shown}${complete ? "" : "; still counting"}`);
    put(why, empty);
    why.hidden = !empty;
    let packets = 0;
    let at = 0;
    let ofFamily = {};
    slices.forEach((slice, index) => {
      const nth = (ofFamily[slice.family] = (ofFamily[slice.family] ?? -1) + 1);
      const shade = `color-mix(in oklab, var(--c-${slice.family}) ${100 - 22 * Math.min(nth, 3)}%, var(--card))`;
      const text = `${slice.name}: ${percent(slice.share)}, ${count(slice.packets)} packets, ${si(slice.bytes, "B")}`;
      const length = Math.max(0, slice.share * AROUND - (slices.length > 1 ? GAP : 0));
      const circle = arc(index);
      circle.style.stroke = shade;
      circle.setAttribute("stroke-dasharray", `${length} ${AROUND - length}`);
      circle.setAttribute("stroke-dashoffset", String(-at));
      circle.style.display = "";
      put(circle.firstChild, text);
      at += slice.share * AROUND;
      packets += slice.packets;
      const line = row(index);
      line.item.hidden = false;
      line.button.title = slice.members === 1 ? `${text}\nClick: show only these. Alt+click: hide them.` : text;
      line.button.disabled = slice.members > 1;
      line.button.style.setProperty("--shade", shade);
      line.bar.style.width = `${slice.share * 100}%`;
      put(line.name, slice.members > 1 ? `other (${slice.members})` : slice.name);
      put(line.share, percent(slice.share));
    });
    for (let k = slices.length; k < arcs.length; k += 1) arcs[k].style.display = "none";
    for (let k = slices.length; k < rows.length; k += 1) rows[k].item.hidden = true;
    ring.setAttribute("aria-label", slices.map((s) => `${s.name} ${percent(s.share)}`).join(", ") || "no packets");
    put(middle.firstChild, slices.length ? si(packets, "") : "0");
    put(middle.lastChild, "packets");
  }

  model.on("state", paint);
  paint();
  return root;
}
