/** How times are written: the name of each way, its words in the menu, and those in the heading. */
const TIMES = {
  utc: ["UTC", "UTC"], local: ["local time", "local"], relative: ["since the first packet", "s since first"],
  delta: ["since the row before", "s since last"],
};

/** A moment {s, ns} as a person wants it. `origin`: the first packet's; `before`: that of the row above. */
function timeText({ s, ns }, mode, origin, before) {
  const since = (other) => (other ? (s - other.s + (ns - other.ns) / 1e9).toFixed(6) : "");
  if (mode === "relative") return since(origin);
  if (mode === "delta") return since(before);
  return `${(mode === "local" ? localTime : utcTime)(s)}.${String(Math.floor(ns / 1000)).padStart(6, "0")}`;
}

/** A moment in full, to the nanosecond. */
const stamp = ({ s, ns }) => `${new Date(s * 1000).toISOString().slice(0, 19).replace("T", " ")}.${String(ns).padStart(9, "0")} UTC`;

/** {s, ns} of a text of ns. */
function moment(text) {
  const ns = BigInt(text || 0);
  return { s: Number(ns / 1_000_000_000n), ns: Number(ns % 1_000_000_000n) };
}

const two = (value) => String(value).padStart(2, "0");
const utcTime = (s) => new Date(s * 1000).toISOString().slice(11, 19);
const localTime = (s) => {
  const at = new Date(s * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};
