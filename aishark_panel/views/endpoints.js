
// Table of addresses. state: {rows: [{address, packets, bytes, bytes_sent, bytes_received, packets_sent, packets_received,
// conversations, last_ms}], sort, total, complete, scope, empty}. A click on a heading sorts at the hub, one on a row filters.

const COLUMNS = [["address", "Address"], ["packets", "Packets"], ["bytes", "Bytes"], ["bytes_sent", "Sent"],
  ["bytes_received", "Received"], ["conversations", "Conversations"], ["last_ms", "Last (UTC)"]];

export function render({ model }) {
  const heads = COLUMNS.map(([name, title]) => h("button", { class: name, role: "columnheader", "aria-label": title,
    disabled: name === "address", onclick: () => model.send_msg({ sort: name }) }, title));
  const list = h("div", { class: "list", role: "rowgroup" });
  const note = h("span", { class: "muted" });
  const empty = h("div", { class: "empty muted" });
  const root = h("section", { class: "root addresses", "aria-label": "Endpoints" },
    h("div", { class: "heading" }, h("b", {}, "Endpoints"), note),
    h("div", { class: "table", role: "table", "aria-label": "Endpoints" }, h("div", { class: "row head", role: "row" }, ...heads), list), empty);

  const bytes = (n) => si(n, "B");
  const exact = (n) => `${count(n)} bytes`;
  const SHOWN = { packets: count, bytes, bytes_sent: bytes, bytes_received: bytes, conversations: count,
    last_ms: (ms) => new Date(ms).toISOString().slice(11, 23) };
  const EXACT = { packets: (n, row) => `${count(row.packets_sent)} sent, ${count(row.packets_received)} received`, bytes: exact,
    bytes_sent: exact, bytes_received: exact, last_ms: (ms) => new Date(ms).toISOString() };

  function row({ address }) {
    const cells = COLUMNS.map(([name]) => h("span", { class: name, role: "cell" }));
    const element = h("button", { class: "row", role: "row", onclick: (event) => model.send_msg({ filter: address, exclude: event.altKey }),
      title: `${address}\nClick: show only what it sends and receives. Alt+click: hide that.` }, ...cells);
    return { element, fill(item) {
      COLUMNS.forEach(([name], k) => {
        put(cells[k], (SHOWN[name] ?? String)(item[name]));
        if (EXACT[name]) cells[k].title = EXACT[name](item[name], item);
      });
    } };
  }

  function paint() {
    const { rows = [], sort, total = 0, complete = true, scope = "", empty: why = "" } = stateOf(model);
    keyed(list, rows, (item) => item.address, row);
    heads.forEach((button, k) => button.setAttribute("aria-sort", COLUMNS[k][0] === sort ? "descending" : "none"));
    const title = COLUMNS.find(([name]) => name === sort)?.[1].toLowerCase();
    put(note, !rows.length ? "" : [total > rows.length ? `${count(rows.length)} of ${count(total)}, most ${title} first` : count(total), scope,
      !complete && "still counting"].filter(Boolean).join("; "));
    empty.hidden = !why;
    put(empty, why);
  }

  model.on("state", paint);
  paint();
  return root;
}
