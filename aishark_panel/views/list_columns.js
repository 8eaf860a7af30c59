/** Columns of the packet list: which ones, in which order and how wide, and how times are written; kept in this browser.
 *
 *  Headings are dragged to another place, or moved with Ctrl+arrow; their right edges are dragged to size, Shift+arrow
 *  does it too, and a double click there makes a column as wide as what is in sight. `changed(refetch)` is called after
 *  each change, `ask()` when every column there is has to be known, `widest(name)` gives the px that a column would fill. */
function listColumns({ changed, ask, widest }) {
  const KNOWN = {
    number: ["No.", "calc(var(--digits) * 7.3px + 14px)"], ts: ["Time", "minmax(60px, 128px)"],
    source: ["Source", "minmax(60px, 1.3fr)"], destination: ["Destination", "minmax(60px, 1.3fr)"],
    protocol: ["Protocol", "minmax(50px, 74px)"], orig_len: ["Length", "minmax(40px, 58px)"], info: ["Info", "minmax(110px, 3fr)"],
  };
  const NARROW = {
    number: "calc(var(--digits) * 6.7px + 9px)", ts: "88px", source: "minmax(0, 1fr)", destination: "minmax(0, 1fr)", protocol: "66px",
  };
  const TIMES = { utc: "UTC", local: "local time", relative: "since the first packet", delta: "since the row before" };
  const PLACE = "aishark.packet_list";
  const usual = () => Object.keys(KNOWN).map((name) => ({ name, title: KNOWN[name][0], width: 0 }));

  function remembered() {
    try {
      const { columns, time } = JSON.parse(localStorage.getItem(PLACE));
      const sound = columns.length && columns.every(({ name, title }) => typeof name === "string" && typeof title === "string");
      return { columns: sound ? columns : usual(), time: time in TIMES ? time : "utc" };
    } catch {
      return { columns: usual(), time: "utc" };
    }
  }

  let { columns, time } = remembered();
  let narrow = false;
  let several = false;
  const head = h("div", { class: "row head", role: "row" });
  const more = h("button", { class: "more", title: "Columns and times", "aria-label": "Columns and times of the packet list" }, icon("more"));
  const times = h("div", { class: "scope", role: "radiogroup", "aria-label": "Times" }, ...Object.entries(TIMES).map(([name, text]) =>
    h("label", {}, h("input", { type: "radio", name: "time", value: name, onchange: () => { time = name; done(false); } }), `Time: ${text}`)));
  const choices = h("div", { class: "choices", role: "group", "aria-label": "Columns" });
  const panel = menu(more, h("div", { class: "menu columns" }, times, choices,
    h("div", { class: "buttons" }, h("button", { onclick: () => { columns = usual(); time = "utc"; done(true); tick(); } }, "As at first"))), () => { tick(); ask(); });

  function tick() {
    for (const input of times.querySelectorAll("input")) input.checked = input.value === time;
    for (const input of choices.querySelectorAll("input")) input.checked = columns.some(({ name }) => name === input.value);
  }

  function toggle({ name, title }, on) {
    if (on) columns.push({ name, title, width: 0 });
    else if (columns.length > 1) columns = columns.filter((column) => column.name !== name);
    done(true);
    tick();
  }

  function done(refetch) {
    try {
      localStorage.setItem(PLACE, JSON.stringify({ columns, time }));
    } catch { /* a private window: it lasts as long as the page */ }
    paint();
    changed(refetch);
  }

  const shown = () => {
    if (narrow) return usual().filter(({ name }) => name in NARROW);
    const found = [...columns];
    if (several && !found.some(({ name }) => ["agent", "iface"].includes(name))) found.splice(2, 0, { name: "agent", title: "Agent", width: 0 });
    return found;
  };

  function move(name, by) {
    const from = columns.findIndex((column) => column.name === name);
    const to = from + by;
    if (from < 0 || to < 0 || to >= columns.length) return;
    columns.splice(to, 0, ...columns.splice(from, 1));
    done(false);
    head.querySelector(`[data-name="${name}"]`)?.focus();
  }

  function size(name, width) {
    const column = columns.find((each) => each.name === name);
    if (!column) return;
    column.width = Math.round(Math.min(Math.max(width, 32), 1200));
    done(false);
  }

  function grip(name) {
    return h("i", { class: "grip", title: "Drag to size; double click fits",
      ondblclick: (event) => { event.stopPropagation(); size(name, widest(name)); },
      onpointerdown: (event) => {
        event.stopPropagation();
        event.preventDefault();
        const cell = event.target.parentElement;
        const [start, width] = [event.clientX, cell.offsetWidth];
        event.target.setPointerCapture(event.pointerId);
        event.target.onpointermove = ({ clientX }) => size(name, width + clientX - start);
        event.target.onpointerup = event.target.onpointercancel = () => { dragging = false; paint(); };
        dragging = true;
      } });
  }

  let dragging = false;

  function heading({ name, title }) {
    const text = name === "ts" && !narrow ? `${title} (${{ utc: "UTC", local: "local", relative: "s since first", delta: "s since last" }[time]})` : title;
    const cell = h("span", { class: columnClass(name), role: "columnheader", tabIndex: 0, "data-name": name, title: text }, h("span", {}, text), narrow ? "" : grip(name));
    cell.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.ctrlKey || event.metaKey) move(name, by);
      else if (event.shiftKey) size(name, cell.offsetWidth + 8 * by);
      else (by < 0 ? cell.previousElementSibling : cell.nextElementSibling)?.focus();
    });
    cell.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || narrow) return;
      const under = ({ clientX }) => [...head.querySelectorAll("[data-name]")].find((each) => clientX < each.getBoundingClientRect().right);
      const drag = (moved) => {
        if (Math.abs(moved.clientX - event.clientX) < 6) return;
        head.querySelector(".drop")?.classList.remove("drop");
        under(moved)?.classList.add("drop");
      };
      const drop = (ended) => {
        removeEventListener("pointermove", drag);
        removeEventListener("pointerup", drop);
        head.querySelector(".drop")?.classList.remove("drop");
        const target = under(ended)?.dataset.name;
        if (Math.abs(ended.clientX - event.clientX) < 6 || !target || target === name) return;
        const place = (wanted) => columns.findIndex((column) => column.name === wanted);
        if (place(name) >= 0 && place(target) >= 0) move(name, place(target) - place(name));
      };
      addEventListener("pointermove", drag);
      addEventListener("pointerup", drop);
    });
    return cell;
  }

  const template = () => shown().map(({ name, width }) =>
    narrow ? NARROW[name] : width ? `minmax(32px, ${width}px)` : KNOWN[name]?.[1] ?? "minmax(50px, 120px)").join(" ");

  function paint() {
    head.parentElement?.style.setProperty("--columns", template());
    if (dragging) return;
    head.replaceChildren(...shown().map(heading), more);
  }

  return {
    head, panel, shown, paint,
    get time() { return time; },
    /** The names that the hub is asked for. */
    names: () => shown().map(({ name }) => name),
    offer(all) {
      choices.replaceChildren(...all.map((column) => h("label", { title: column.meaning },
        h("input", { type: "checkbox", value: column.name, onchange: (event) => toggle(column, event.target.checked) }), column.title)));
      tick();
    },
    /** True if other columns are shown now. */
    fit(isNarrow, isSeveral) {
      if (isNarrow === narrow && isSeveral === several) return false;
      [narrow, several] = [isNarrow, isSeveral];
      paint();
      return true;
    },
  };
}

const columnClass = (name) => ({ ts: "time", orig_len: "length", source: "src", destination: "dst" }[name] ?? name);

/** A moment {s, ns} as a person wants it. `origin`: the first packet's; `before`: that of the row above. */
function timeText({ s, ns }, mode, origin, before) {
  const since = (other) => (other ? (s - other.s + (ns - other.ns) / 1e9).toFixed(6) : "");
  if (mode === "relative") return since(origin);
  if (mode === "delta") return since(before);
  return `${(mode === "local" ? localTime : utcTime)(s)}.${String(Math.floor(ns / 1000)).padStart(6, "0")}`;
}
const two = (value) => String(value).padStart(2, "0");
const utcTime = (s) => new Date(s * 1000).toISOString().slice(11, 19);
const localTime = (s) => {
  const at = new Date(s * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
};
