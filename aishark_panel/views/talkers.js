
// The busiest addresses. state: {rows: [{address, bytes, bytes_sent, bytes_received, packets_sent, packets_received}], scope,
// complete, empty}. What an address sent goes to the left, what it received to the right.

export function render({ model }) {
  const note = h("span", { class: "muted" });
  const list = h("ol", { class: "list" });
  const why = h("p", { class: "why muted" });
  const root = h("section", { class: "root", "aria-label": "Top talkers" },
    h("div", { class: "heading" }, h("b", {}, "Top talkers"), note), h("div", { class: "body" }, list, why));
  let most = 1;

  function row({ address }) {
    const total = h("span", { class: "total" });
    const sent = h("i", { class: "sent" });
    const received = h("i", { class: "received" });
    const button = h("button", { class: "row", onclick: (event) => model.send_msg({ filter: address, exclude: event.altKey }) },
      h("span", { class: "name mono" }, address), total, h("span", { class: "bars" }, h("span", {}, sent), h("span", {}, received)));
    return { element: h("li", {}, button), fill(item) {
      put(total, si(item.bytes, "B"));
      sent.style.width = `${(100 * item.bytes_sent) / most}%`;
      received.style.width = `${(100 * item.bytes_received) / most}%`;
      button.title = `${address}: sent ${count(item.bytes_sent)} bytes in ${count(item.packets_sent)} packets, received `
        + `${count(item.bytes_received)} bytes in ${count(item.packets_received)} packets\nClick: show only these. Alt+click: hide them.`;
    } };
  }

  function paint() {
    const { rows = [], scope = "", complete = true, empty = "" } = stateOf(model);
    most = Math.max(1, ...rows.map((item) => Math.max(item.bytes_sent, item.bytes_received)));
    keyed(list, rows, (item) => item.address, row);
    put(note, rows.length ? `sent ◂ ▸ received, ${scope}${complete ? "" : "; still counting"}` : "");
    note.title = note.textContent;
    note.title = note.textContent;
    put(why, empty);
    why.hidden = !empty;
  }

  model.on("state", paint);
  paint();
  return root;
}
