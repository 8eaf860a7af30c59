// How a conversation fared: its counts by direction, and bits per second over time, a's above the line and b's below it.

const CHART = { width: 360, height: 64 };
const FEWEST_BINS = 4;  // fewer tell less than the counts do

const duration = (ms) => {
  if (ms === null || ms === undefined) return "not seen";
  if (ms >= 1000) return `${(ms / 1000).toPrecision(3)} s`;
  return ms >= 1 ? `${ms.toPrecision(3)} ms` : `${Math.round(ms * 1000)} µs`;
};

function svg(tag, properties, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Gives {element, fill(numbers, kept, a, b)}. */
function conversationNumbers() {
  const table = h("table", {});
  const facts = h("p", { class: "facts" });
  const chart = svg("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, preserveAspectRatio: "none", role: "img" });
  const caption = h("div", { class: "caption muted" });
  const figure = h("figure", { class: "over-time" }, chart, caption);
  const element = h("div", { class: "numbers" }, h("div", {}, table, facts), figure);
  let rest = "";

  function row(name, values, text = count, title = "") {
    return h("tr", { title }, h("th", { scope: "row" }, name), ...values.map((value) =>
      h("td", { class: value ? "" : "muted" }, text(value))));
  }

  function over(kept) {
    const { bytes_ab: ab, bytes_ba: ba, bin_ms: bin } = kept;
    const top = Math.max(1, ...ab, ...ba);
    const middle = CHART.height / 2;
    const step = CHART.width / Math.max(1, ab.length);
    const bars = [ab, ba].map((values, side) => {
      const path = values.map((value, k) => {
        const size = value && Math.max(1, (value / top) * (middle - 1));
        return value ? `M${k * step} ${middle}v${side ? size : -size}h${Math.max(step - 0.5, 0.5)}v${side ? -size : size}z` : "";
      }).join("");
      return svg("path", { d: path, class: side ? "b" : "a" });
    });
    chart.replaceChildren(...bars, svg("line", { x1: 0, x2: CHART.width, y1: middle, y2: middle }));
    const rate = (value) => si((value * 8000) / bin, "bit/s");
    const at = (ms) => new Date(ms).toISOString().slice(11, 23);
    rest = `${at(kept.start_ms)} to ${at(kept.start_ms + bin * ab.length)} UTC, by ${duration(bin)}, at most ${rate(top)}`;
    put(caption, rest);
    chart.setAttribute("aria-label", `Bits per second over time, at most ${rate(top)}`);
    chart.onpointermove = ({ offsetX }) => {
      const k = Math.min(ab.length - 1, Math.max(0, Math.floor((offsetX / chart.clientWidth) * ab.length)));
      put(caption, `${at(kept.start_ms + k * bin)} UTC: a ${rate(ab[k])} (${count(ab[k])} bytes), b ${rate(ba[k])} (${count(ba[k])} bytes)`);
    };
    chart.onpointerleave = () => put(caption, rest);
  }

  return { element, fill(numbers, kept, a, b) {
    table.replaceChildren();
    facts.hidden = table.hidden = !numbers;
    if (numbers) {
      const problems = [["Retransmissions", "retransmissions"], ["Lost segments", "lost_segments"], ["Out of order", "out_of_order"],
        ["Duplicate ACKs", "duplicate_acks"], ["Zero windows", "zero_windows"]];
      table.append(
        h("tr", {}, h("td"), h("th", { scope: "col", class: "a", title: a }, "a → b"), h("th", { scope: "col", class: "b", title: b }, "b → a")),
        row("Packets", numbers.packets),
        row("Bytes", numbers.bytes),
        ...problems.filter(([, name]) => name === "retransmissions" || name === "zero_windows" || numbers[name].some(Boolean))
          .map(([text, name]) => row(text, numbers[name])),
        ...(numbers.rtt_ms.some((ms) => ms !== null) ? [row("Round trip", numbers.rtt_ms, duration, "from data to its acknowledgement, smoothed")] : []));
      put(facts, `Lasted ${duration(numbers.duration_ms)}; handshake round trip ${duration(numbers.handshake_ms)}`);
    }
    figure.hidden = !kept || kept.bytes_ab.length < FEWEST_BINS;
    if (!figure.hidden) over(kept);
  } };
}
