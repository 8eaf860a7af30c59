// Keys of the page. state: {tabs, first, last, problems}: the tabs' names, the numbers of the packets that are kept, and
// whether there is a way from problem to problem.
// A key that somebody types into a box, or that a view has taken, is none of ours.

const BOXES = "input, textarea, select, [contenteditable]";
const PRESSABLE = "button, summary, a, [role=tab], [role=option]";

export function render({ model }) {
  const map = h("dialog", { "aria-label": "Keyboard" });
  const number = h("input", { type: "number", min: 1, step: 1, required: true, "aria-label": "Packet number", inputMode: "numeric" });
  const range = h("span", { class: "muted" });
  const goTo = h("dialog", { "aria-label": "Go to a packet" }, h("form", { onsubmit: (event) => {
    event.preventDefault();
    goTo.close();
    model.send_msg({ go_to: Number(number.value) });
  } }, h("h2", {}, "Go to packet"), h("div", { class: "line" }, number, h("button", { class: "primary", type: "submit" }, "Go")), range));
  const root = h("div", {}, map, goTo);

  const key = (...names) => h("span", {}, ...names.map((name) => h("kbd", {}, name)));
  const line = (keys, text) => [keys, h("span", {}, text)];

  function showMap() {
    const { tabs = [] } = stateOf(model);
    map.replaceChildren(h("h2", {}, "Keyboard"), h("div", { class: "map" },
      ...line(key("/"), "type a display filter"),
      ...line(key("Space"), "pause this page, or go on"),
      ...line(key("G"), "go to a packet by its number"),
      ...(stateOf(model).problems ? line(key("N", "P"), "go to the next packet with a problem; to the one before") : []),
      ...line(key("1", "–", String(tabs.length)), tabs.join(", ")),
      ...line(key("↑", "↓", "PgUp", "PgDn"), "move in the packet list"),
      ...line(key("Home", "End"), "its first packet; its last one, and follow"),
      ...line(key("↑", "↓", "Enter"), "move in the alerts; open one"),
      ...line(key("F", "A", "S", "X"), "of an alert: find its packets, acknowledge, silence, archive"),
      ...line(key("Esc"), "close what is open; in its box, clear the filter"),
      ...line(key("?"), "show this")),
    h("form", { method: "dialog" }, h("button", {}, "Close")));
    map.showModal();
  }

  function askNumber() {
    const { first = 0, last = 0 } = stateOf(model);
    put(range, last >= first && last > 0 ? `${count(first)} to ${count(last)} are kept` : "no packet is kept");
    number.value = "";
    goTo.showModal();
  }

  const ACTIONS = {
    "?": showMap,
    "/": () => window.dispatchEvent(new Event("aishark:focus-filter")),
    " ": () => model.send_msg({ pause: true }),
    g: askNumber,
    n: () => model.send_msg({ problem: true }),
    p: () => model.send_msg({ problem: false }),
  };

  function press(event) {
    const target = event.composedPath()[0];
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (target.matches?.(BOXES) || event.composedPath().some((each) => each.localName === "dialog") || (event.key === " " && target.matches?.(PRESSABLE))) return;
    const place = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const act = place ? () => model.send_msg({ tab: place }) : ACTIONS[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  for (const dialog of [map, goTo]) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  window.addEventListener("keydown", press);
  window.addEventListener("aishark:keys", showMap);
  model.on("remove", () => {
    window.removeEventListener("keydown", press);
    window.removeEventListener("aishark:keys", showMap);
  });
  return root;
}
