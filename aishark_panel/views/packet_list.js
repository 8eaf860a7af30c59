// Virtual packet list. state: {epoch, first, end, paused, empty}: rows [first, end) exist; a new epoch makes every row
// known so far worthless; a paused list stays where it is, even if rows it asked for are still on their way.
//
// `top` (a row, with fraction) is where the list is; the scrollbar follows it. Browsers cap an element's height near
// 33 million px, so past MAX_HEIGHT the scrollbar is scaled: small movements of it count as pixels, jumps as a share
// of the whole. Rows are asked for by message, one question at a time, the latest wish winning.

const ROW = 22;
const MAX_HEIGHT = 8_000_000;
const KEEP_ROWS = 4000;
const ANSWER_MS = 5000;
const COLUMNS = [["number", "No."], ["time", "Time (UTC)"], ["src", "Source"], ["dst", "Destination"],
  ["protocol", "Protocol"], ["length", "Length"], ["info", "Info"]];

export function render({ model }) {
  const head = h("div", { class: "row head", role: "row" },
    ...COLUMNS.map(([name, title]) => h("span", { class: name, role: "columnheader" }, title)));
  const layer = h("div", { class: "layer" });
  const spacer = h("div", { class: "spacer" });
  const pill = h("button", { class: "pill primary", hidden: true, onclick: () => follow() });
  const empty = h("div", { class: "empty muted" });
  const body = h("div", { class: "body", role: "grid", tabIndex: 0, "aria-label": "Packets", "aria-colcount": COLUMNS.length },
    layer, spacer);
  const root = h("section", { class: "root" }, head, h("div", { class: "frame" }, body, empty, pill));

  let { epoch = 0, first = 0, end = 0 } = model.state;
  let top = end;
  let following = true;
  let seen = end;
  let current = null;
  let known = new Map();
  let asked = 0;
  let barren = false;
  let pool = [];
  let scheduled = 0;
  let settling = 0;
  let placed = -1;
  let painted = 0;
  let goal = null;
  let choosing = 0;

  const height = () => body.clientHeight;
  const fits = () => height() / ROW;
  const last = () => Math.max(first, end - fits());
  const full = () => (end - first) * ROW;
  const scaled = () => full() > MAX_HEIGHT;
  const room = () => Math.max(0, Math.min(full(), MAX_HEIGHT) - height());

  function place() {
    spacer.style.height = `${Math.min(full(), MAX_HEIGHT)}px`;
    const share = last() > first ? (top - first) / (last() - first) : 0;
    placed = Math.round(share * room());
    if (Math.abs(body.scrollTop - placed) >= 1) body.scrollTop = placed;
  }

  function move(row) {
    top = Math.min(Math.max(row, first), last());
    draw();
  }

  function follow() {
    following = true;
    seen = end;
    goal = null;
    chase();
  }

  /** Moves to the newest rows once they are here: until then the ones in sight stay, so that nothing flickers. */
  function chase() {
    const wanted = last();
    if (ask(Math.floor(wanted), end)) goal = wanted;
    else if (!asked) arrive(wanted);
  }

  function arrive(row) {
    goal = null;
    top = Math.min(Math.max(row, first), last());
    place();
    draw();
  }

  body.addEventListener("scroll", () => {
    const at = body.scrollTop;
    const by = at - placed;
    if (Math.abs(by) < 1) return;
    placed = at;
    const wanted = !scaled() ? first + at / ROW
      : at <= 0 ? first : at >= room() - 1 ? last()
      : Math.abs(by) < height() ? top + by / ROW
      : first + (at / room()) * (last() - first);
    following = wanted >= last() - 0.5;
    if (following) seen = end;
    move(wanted);
    if (scaled()) {
      clearTimeout(settling);
      settling = setTimeout(place, 200);
    }
  });

  body.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(fits()) - 1);
    const from = current ?? Math.ceil(top);
    const to = { ArrowUp: from - 1, ArrowDown: current === null ? from : from + 1, PageUp: from - page, PageDown: from + page,
      Home: first, End: end - 1, Enter: from }[event.key];
    if (to === undefined || end <= first) return;
    event.preventDefault();
    choose(Math.min(Math.max(to, first), end - 1));
  });

  layer.addEventListener("pointerdown", (event) => {
    const line = event.target.closest(".row");
    if (!line || event.button !== 0) return;
    // What is under the pointer is what was painted; rows may have come since.
    top = painted;
    choose(Number(line.dataset.index));
  });

  layer.addEventListener("mouseover", ({ target }) => {
    if (target.role === "gridcell") target.title = target.scrollWidth > target.clientWidth ? target.textContent : target.dataset.more ?? "";
  });

  function choose(index) {
    current = index;
    following = false;
    if (index < top) top = index;
    else if (index > top + fits() - 1) top = index - Math.floor(fits()) + 1;
    move(top);
    place();
    announce();
  }

  function announce() {
    // Held arrow keys pass over many rows; only where they rest is worth a packet's whole dissection.
    clearTimeout(choosing);
    choosing = setTimeout(() => {
      const row = known.get(current);
      if (row) model.send_msg({ select: row.number });
      else if (current !== null) announce();
    }, 60);
  }

  function ask(from, to) {
    if (barren || (asked && performance.now() - asked < ANSWER_MS)) return false;
    while (from < to && known.has(from)) from += 1;
    while (to > from && known.has(to - 1)) to -= 1;
    if (from >= to) return false;
    asked = performance.now();
    model.send_msg({ rows: [from, to - from], epoch });
    return true;
  }

  model.on("msg:custom", (answer) => {
    asked = 0;
    if (answer.epoch === epoch) {
      const { rows } = answer;
      if (known.size > KEEP_ROWS) for (const k of known.keys()) if (Math.abs(k - top) > KEEP_ROWS / 4) known.delete(k);
      (rows.number ?? []).forEach((_, k) => {
        known.set(answer.first + k, Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, values[k]])));
      });
      // Rows that were evicted meanwhile: asking again is of no use before the next tick has moved `first`.
      barren = !rows.number?.length;
    }
    if (following && goal !== null && !model.state.paused) {
      arrive(goal);
      chase();
    }
    draw();
  });

  function line(k) {
    while (pool.length <= k) {
      const cells = COLUMNS.map(([name], column) =>
        h("span", { class: name, role: "gridcell", "aria-colindex": column + 1 }));
      const element = h("div", { class: "row", role: "row" }, ...cells);
      layer.append(element);
      pool.push({ element, cells, shown: undefined });
    }
    return pool[k];
  }

  function fill(slot, index) {
    const row = known.get(index);
    slot.element.style.transform = `translateY(${Math.round((index - top) * ROW)}px)`;
    slot.element.classList.toggle("current", index === current);
    slot.element.setAttribute("aria-selected", index === current);
    slot.element.hidden = false;
    const key = `${epoch}:${index}:${!!row}`;
    if (slot.shown === key) return;
    slot.shown = key;
    slot.element.dataset.index = index;
    slot.element.setAttribute("aria-rowindex", index - first + 1);
    slot.element.className = `row ${row ? `p-${row.family}` : "loading"}${row?.bad ? " bad" : ""}${index === current ? " current" : ""}`;
    COLUMNS.forEach(([name], column) => put(slot.cells[column], row ? (name === "number" ? count(row[name]) : String(row[name])) : ""));
    if (row) slot.cells[1].dataset.more = `${row.date} ${row.time} UTC`;
  }

  function paint() {
    scheduled = 0;
    painted = top;
    const from = Math.max(first, Math.floor(top));
    const to = Math.min(end, Math.ceil(top + fits()) + 1);
    const size = Math.max(0, to - from);
    for (let k = 0; k < size; k += 1) {
      fill(line(k), from + k);
    }
    for (let k = size; k < pool.length; k += 1) pool[k].element.hidden = true;
    if (!following || model.state.paused) ask(Math.max(first, from - size), Math.min(end, to + size));
    const fresh = end - seen;
    pill.hidden = following || fresh <= 0;
    if (!pill.hidden) put(pill, `${count(fresh)} new packets ↓`);
  }

  function draw() {
    scheduled ||= requestAnimationFrame(paint);
  }

  function update() {
    const s = model.state;
    if (s.epoch !== epoch) {
      epoch = s.epoch;
      known = new Map();
      asked = 0;
      goal = null;
      current = null;
      following = true;
    }
    first = s.first ?? 0;
    end = s.end ?? 0;
    barren = false;
    top = Math.min(Math.max(top, first), last());
    if (following) {
      seen = end;
      if (!s.paused) chase();
    }
    root.style.setProperty("--digits", Math.max(6, count(end).length));
    head.style.paddingRight = `${body.offsetWidth - body.clientWidth + 12}px`;
    body.setAttribute("aria-rowcount", end - first);
    empty.hidden = !s.empty;
    put(empty, s.empty ?? "");
    place();
    draw();
  }

  const observer = new ResizeObserver(update);
  observer.observe(body);
  model.on("state", update);
  model.on("remove", () => observer.disconnect());
  update();
  return root;
}
