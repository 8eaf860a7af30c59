
// Figures of TCP. state: {rtt_p50_ms, rtt_p95_ms (null: none seen), handshakes, resent, segments, counts: {role: n}, empty}

export function render({ model }) {
  const why = h("p", { class: "why muted" });
  const list = h("dl", { class: "figures" });
  const root = h("section", { class: "root", "aria-label": "TCP health" }, list, why);

  function figure({ name }) {
    const value = h("dd");
    const element = h("div", {}, h("dt", { class: "muted" }, name), value);
    return { element, fill(item) {
      put(value, item.text);
      value.classList.toggle("bad", Boolean(item.bad));
      element.title = item.title;
    } };
  }

  const ms = (value) => (value === null || value === undefined ? "–" : value < 10 ? `${value.toFixed(2)} ms` : `${count(Math.round(value))} ms`);

  function paint() {
    const { rtt_p50_ms: p50, rtt_p95_ms: p95, handshakes = 0, resent = 0, segments = 0, counts = {}, empty = "" } = stateOf(model);
    const share = segments ? (100 * resent) / segments : 0;
    const of = (role) => counts[role] ?? 0;
    keyed(list, empty ? [] : [
      { name: "Round trip, median", text: ms(p50), title: `Of ${count(handshakes)} handshakes, from the SYN to the acknowledgement that ends it: ${p50 ?? "–"} ms` },
      { name: "Round trip, 95 %", text: ms(p95), title: `19 of 20 handshakes took at most ${p95 ?? "–"} ms` },
      { name: "Sent again", text: `${share.toFixed(share < 10 ? 2 : 0)} %`, bad: share > 1, title: `${count(resent)} of ${count(segments)} segments` },
      { name: "Attempts", text: count(of("attempt")), title: "SYNs, each once" },
      { name: "Accepted", text: count(of("accepted")), title: "SYNs answered with SYN and ACK" },
      { name: "Refused", text: count(of("refused")), bad: of("refused") > 0, title: "SYNs answered with a reset: nobody listens there" },
      { name: "Unanswered", text: count(of("repeated attempt")), bad: of("repeated attempt") > 0, title: "SYNs sent again, because no answer came" },
      { name: "Resets", text: count(of("reset")), title: "Connections broken off" },
    ], (item) => item.name, figure);
    put(why, empty);
    why.hidden = !empty;
  }

  model.on("state", paint);
  paint();
  return root;
}
