// Virtual packet list. state: {epoch, first, end, paused, start_ns, several, newest, go, empty}: rows [first, end) exist; a new
// epoch makes every row known so far worthless; a paused list stays where it is, even if rows it asked for are still on
// their way. `newest` are the last rows, {first, rows}, while the list follows. `go` is a row to select, {row, note, turn}: once
// for each turn.
//
// `top` (a row, with fraction) is where the list is; the scrollbar follows it. Browsers cap an element's height near
// 33 million px, so past MAX_HEIGHT the scrollbar is scaled: small movements of it count as pixels, jumps as a share
// of the whole. Rows are asked for by message, one question at a time, the latest wish winning.

const ROW = 22;
const MAX_HEIGHT = 8_000_000;
const KEEP_ROWS = 4000;
const ANSWER_MS = 5000;
const NARROW_PX = 720;
const OFFER_MS = 350;

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const columns = listColumns({ changed, ask: () => send({ choices: true }), widest });
  const actions = listMenu(send, say);
  const layer = h("div", { class: "layer" });
  const spacer = h("div", { class: "spacer" });
  const pill = h("button", { class: "pill primary", hidden: true, onclick: () => follow() });
  const empty = h("div", { class: "empty muted" });
  const note = h("div", { class: "note", role: "status", hidden: true });
  const body = h("div", { class: "body", role: "grid", tabIndex: 0, "aria-label": "Packets" }, layer, spacer);
  const frame = h("div", { class: "frame" }, body, empty, note, pill);
  const root = h("section", { class: "root" }, columns.head, frame, columns.panel, actions.panel);

  let { epoch = 0, first = 0, end = 0 } = model.state;
  let top = end;
  let following = true;
  let seen = end;
  let current = null;
  let known = new Map();
  let asked = 0;
  let outdated = false;
  let barren = false;
  let pool = [];
  let scheduled = 0;
  let settling = 0;
  let placed = -1;
  let painted = 0;
  let goal = null;
  let choosing = 0;
  let quiet = 0;
  let told = "";
  let turn = 0;
  let offering = 0;

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
    tellTail();
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

  /** While the list follows, the newest rows come by themselves. */
  function tellTail() {
    const rows = following ? Math.ceil(fits()) + 1 : 0;
    const message = { tail: rows, columns: columns.names() };
    if (JSON.stringify(message) !== told) send(message);
    told = JSON.stringify(message);
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
    tellTail();
    move(wanted);
    if (scaled()) {
      clearTimeout(settling);
      settling = setTimeout(place, 200);
    }
  });

  body.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "c" && getSelection().isCollapsed && known.has(current)) {
      actions.copy(lineOf(current));
      event.preventDefault();
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
    if (!line || event.button !== 0 || event.target.closest(".plus")) return;
    // What is under the pointer is what was painted; rows may have come since.
    top = painted;
    choose(Number(line.dataset.index));
  });

  layer.addEventListener("mouseleave", () => clearTimeout(offering));

  layer.addEventListener("mouseover", ({ target }) => {
    if (target.role !== "gridcell" || target.contains(actions.plus)) return;
    const row = known.get(Number(target.parentElement.dataset.index));
    const cut = target.scrollWidth > target.clientWidth ? target.textContent : "";
    target.title = row ? [cut, target.dataset.name === "ts" ? stamp(row) : "", row.problem].filter(Boolean).join("\n") : "";
    // Not at once: who clicks a row to look at it must not meet a button that came under the pointer.
    clearTimeout(offering);
    actions.plus.remove();
    if (row && target.textContent && !["info", "number"].includes(target.dataset.name)) offering = setTimeout(() => target.append(actions.plus), OFFER_MS);
  });

  actions.plus.addEventListener("click", (event) => {
    const cell = cellAt(actions.plus.parentElement);
    if (cell) send({ filter: cell.column, packet: cell.number, exclude: event.altKey });
  });

  body.addEventListener("contextmenu", (event) => {
    const inside = event.target.closest?.("[data-name]");
    const line = event.target.closest?.(".row") ?? pool.find(({ element }) => !element.hidden && Number(element.dataset.index) === current)?.element;
    const cell = cellAt(inside ?? line?.querySelector("[data-name=protocol]") ?? line?.lastElementChild);
    if (!cell) return;
    event.preventDefault();
    const at = (inside ?? line).getBoundingClientRect();
    actions.open(cell, event.clientX || at.left + 40, event.clientY || at.bottom);
  });

  function cellAt(element) {
    const index = Number(element?.parentElement?.dataset.index);
    const row = known.get(index);
    const column = row && columns.shown().find(({ name }) => name === element.dataset.name);
    return column && { column: column.name, title: column.title, number: row.number, value: textOf(row, column.name, index), line: lineOf(index) };
  }

  const lineOf = (index) => columns.names().map((name) => textOf(known.get(index), name, index)).join("\t");
  const stamp = (row) => `${new Date(row.s * 1000).toISOString().slice(0, 19).replace("T", " ")}.${String(row.ns).padStart(9, "0")} UTC`;

  function origin() {
    const start = BigInt(model.state.start_ns || 0);
    return { s: Number(start / 1_000_000_000n), ns: Number(start % 1_000_000_000n) };
  }

  function textOf(row, name, index) {
    if (name === "number") return count(row.number);
    if (name === "ts") return timeText(row, columns.time, origin(), known.get(index - 1));
    return row.cells[name] ?? "";
  }

  function widest(name) {
    const cells = pool.filter(({ element }) => !element.hidden).map(({ cells }) => cells.find((cell) => cell.dataset.name === name));
    return Math.max(40, ...cells.filter(Boolean).map((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return range.getBoundingClientRect().width + 14;
    }));
  }

  function choose(index) {
    current = index;
    following = false;
    tellTail();
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
      if (row) send({ select: row.number });
      else if (current !== null) announce();
    }, 60);
  }

  function say(text) {
    put(note, text);
    note.hidden = !text;
    clearTimeout(quiet);
    quiet = setTimeout(() => { note.hidden = true; }, 4000);
  }

  function ask(from, to) {
    if (barren || (asked && performance.now() - asked < ANSWER_MS)) return false;
    while (from < to && known.has(from)) from += 1;
    while (to > from && known.has(to - 1)) to -= 1;
    if (from >= to) return false;
    asked = performance.now();
    send({ rows: [from, to - from], epoch, columns: columns.names() });
    return true;
  }

  function take({ first: start, rows }) {
    if (known.size > KEEP_ROWS) for (const k of known.keys()) if (Math.abs(k - top) > KEEP_ROWS / 4) known.delete(k);
    const { cells, ...facts } = rows;
    (rows.number ?? []).forEach((_, k) => {
      const row = Object.fromEntries(Object.entries(facts).map(([name, values]) => [name, values[k]]));
      row.cells = Object.fromEntries(Object.entries(cells).map(([name, values]) => [name, values[k]]));
      known.set(start + k, row);
    });
  }

  function answered(answer) {
    asked = 0;
    if (answer.epoch === epoch && !outdated) {
      take(answer);
      // Rows that were evicted meanwhile: asking again is of no use before the next tick has moved `first`.
      barren = !answer.rows.number?.length;
    }
    outdated = false;
    if (following && goal !== null && !model.state.paused) {
      arrive(goal);
      chase();
    }
    draw();
  }

  model.on("msg:custom", (message) => {
    if (message.rows) answered(message);
    if (message.choices) columns.offer(message.choices);
    if (message.copied) actions.copy(message.copied);
  });

  function line(k) {
    while (pool.length <= k) {
      const cells = columns.names().map((name, column) =>
        h("span", { class: columnClass(name), role: "gridcell", "aria-colindex": column + 1, "data-name": name }));
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
    const key = `${epoch}:${index}:${!!row}:${columns.time === "delta" && known.has(index - 1)}`;
    if (slot.shown === key) return;
    slot.shown = key;
    slot.element.dataset.index = index;
    slot.element.setAttribute("aria-rowindex", index - first + 1);
    slot.element.className = `row ${row ? `p-${row.family}` : "loading"}${row?.problem ? " bad" : ""}${index === current ? " current" : ""}`;
    for (const cell of slot.cells) put(cell, row ? textOf(row, cell.dataset.name, index) : "");
  }

  function paint() {
    scheduled = 0;
    painted = top;
    const from = Math.max(first, Math.floor(top));
    const to = Math.min(end, Math.ceil(top + fits()) + 1);
    const size = Math.max(0, to - from);
    for (let k = 0; k < size; k += 1) fill(line(k), from + k);
    for (let k = size; k < pool.length; k += 1) pool[k].element.hidden = true;
    if (!following || model.state.paused) ask(Math.max(first, from - size), Math.min(end, to + size));
    const fresh = end - seen;
    pill.hidden = following || fresh <= 0;
    if (!pill.hidden) put(pill, `${count(fresh)} new packets ↓`);
  }

  function draw() {
    scheduled ||= requestAnimationFrame(paint);
  }

  /** Other columns, or other words in them: `refetch` if the hub has to be asked. */
  function changed(refetch) {
    for (const { element } of pool) element.remove();
    pool = [];
    body.setAttribute("aria-colcount", columns.names().length);
    if (refetch) forget();
    tellTail();
    if (following && refetch) chase();
    draw();
  }

  function forget() {
    known = new Map();
    outdated = asked > 0;
    goal = null;
  }

  const fresh = (newest) => newest && columns.names().every((name) => ["number", "ts"].includes(name) || newest.rows.cells[name]);

  function update() {
    const s = model.state;
    if (s.epoch !== epoch) {
      epoch = s.epoch;
      forget();
      outdated = false;
      asked = 0;
      current = null;
      following = true;
    }
    first = s.first ?? 0;
    end = s.end ?? 0;
    barren = false;
    if (columns.fit(body.clientWidth <= NARROW_PX, !!s.several)) changed(true);
    top = Math.min(Math.max(top, first), last());
    if (following) {
      seen = end;
      tellTail();
      if (!s.paused) {
        if (fresh(s.newest)) take(s.newest);
        chase();
      }
    }
    if (s.go && s.go.turn !== turn) {
      turn = s.go.turn;
      say(s.go.note);
      end = Math.max(end, s.go.row + 1);
      top = Math.min(Math.max(s.go.row - Math.floor(fits() / 2), first), last());
      choose(s.go.row);
    }
    root.style.setProperty("--digits", Math.max(6, count(end).length));
    columns.head.style.paddingRight = `${body.offsetWidth - body.clientWidth + 12}px`;
    body.setAttribute("aria-rowcount", end - first);
    empty.hidden = !s.empty;
    put(empty, s.empty ?? "");
    place();
    draw();
  }

  columns.paint();
  const observer = new ResizeObserver(update);
  observer.observe(body);
  model.on("state", update);
  model.on("remove", () => observer.disconnect());
  update();
  return root;
}
