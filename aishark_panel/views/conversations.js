// Table of conversations. state: {rows: [{id, a, b, protocol, family, packets, bytes, bytes_ab, bytes_ba, start_ms,
// duration_ms, rtt_ms (null: not known), retransmissions, problems, kinds}], sort, total, forgotten, scope, complete, empty}.
// A click on a heading sorts, at the hub too, one on a row filters.

const COLUMNS = [["a", "Side A"], ["b", "Side B"], ["protocol", "Protocol"], ["packets", "Packets"], ["bytes", "Bytes"],
  ["bytes_ab", "A → B"], ["bytes_ba", "B → A"], ["start_ms", "Start (UTC)"], ["duration_ms", "Duration"],
  ["rtt_ms", "RTT"], ["retransmissions", "Resent"], ["problems", "Problems"]];
const TEXTS = new Set(["a", "b", "protocol"]);

export function render({ model }) {
  let by = "bytes";
  let down = true;

  const heads = COLUMNS.map(([name, title]) => h("button", { class: name, role: "columnheader", "aria-label": title, onclick: () => {
    down = by === name ? !down : !TEXTS.has(name);
    by = name;
    model.send_msg({ sort: name });
    paint();
  } }, title));
  const head = h("div", { class: "row head", role: "row" }, ...heads);
  const list = h("div", { class: "list", role: "rowgroup" });
  const note = h("span", { class: "muted" });
  const empty = h("div", { class: "empty muted" });
  const root = h("section", { class: "root", "aria-label": "Conversations" },
    h("div", { class: "heading" }, h("b", {}, "Conversations"), note),
    h("div", { class: "table", role: "table", "aria-label": "Conversations" }, head, list), empty);

  const duration = (ms) => (ms < 1000 ? `${ms} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s`
    : ms < 3_600_000 ? `${(ms / 60_000).toFixed(1)} min` : `${(ms / 3_600_000).toFixed(1)} h`);
  const SHOWN = { packets: count, bytes: (n) => si(n, "B"), bytes_ab: (n) => si(n, "B"), bytes_ba: (n) => si(n, "B"),
    start_ms: (ms) => new Date(ms).toISOString().slice(11, 23), duration_ms: duration,
    rtt_ms: (ms) => (ms === null ? "" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`), retransmissions: (n) => (n ? count(n) : ""),
    problems: (n) => (n ? count(n) : "") };
  const EXACT = { packets: count, bytes: (n) => `${count(n)} bytes`, bytes_ab: (n) => `${count(n)} bytes`,
    bytes_ba: (n) => `${count(n)} bytes`, start_ms: (ms) => new Date(ms).toISOString(), duration_ms: (ms) => `${count(ms)} ms`,
    rtt_ms: (ms) => (ms === null ? "" : `TCP handshake: ${ms} ms`), retransmissions: (n) => `${count(n)} segments sent again`,
    problems: (_, item) => item.kinds };

  function row({ id }) {
    const cells = COLUMNS.map(([name]) => h("span", { class: name, role: "cell" }));
    const element = h("button", { role: "row", onclick: (event) => model.send_msg({ filter: id, exclude: event.altKey }) }, ...cells);
    return { element, fill(item) {
      element.className = `row p-${item.family}`;
      element.title = `${item.a} ↔ ${item.b}\nClick: show only this conversation. Alt+click: hide it.`;
      COLUMNS.forEach(([name], k) => {
        put(cells[k], (SHOWN[name] ?? String)(item[name]));
        if (EXACT[name]) cells[k].title = EXACT[name](item[name], item);
      });
    } };
  }

  function paint() {
    const { rows = [], sort = "bytes", total = 0, forgotten, scope, complete = true, empty: why = "" } = stateOf(model);
    const sorted = [...rows].sort((x, y) => {
      const order = TEXTS.has(by) ? x[by].localeCompare(y[by], "en", { numeric: true }) : x[by] - y[by];
      return (down ? -order : order) || (x.id < y.id ? -1 : 1);
    });
    keyed(list, sorted, (item) => item.id, row);
    heads.forEach((button, k) => {
      const sort = COLUMNS[k][0] !== by ? "none" : down ? "descending" : "ascending";
      button.setAttribute("aria-sort", sort);
    });
    put(note, [total > rows.length ? `${count(rows.length)} of ${count(total)}, first by ${sort}` : count(total),
      scope, !complete && "still counting", forgotten && `${count(forgotten)} forgotten to make room`].filter(Boolean).join("; "));
    empty.hidden = !why;
    put(empty, why);
  }

  model.on("state", paint);
  paint();
  return root;
}
