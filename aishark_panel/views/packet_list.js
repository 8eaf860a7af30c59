// Virtual packet list. state: {epoch, first, end, paused, start_ns, several, newest, go, empty}: rows [first, end) exist; a
// new epoch makes every row known so far worthless; a paused list stays where it is, even if rows it asked for are still
// on their way. `newest` are the last rows, {epoch, first, kept, rows}, while the list follows; `go` is a row to select,
// {row, note, turn, epoch}: once for each turn. `several`: the column that tells where packets come from, if that differs.
//
// `top` (a row, with fraction) is where the list is; the scrollbar follows it. Browsers cap an element's height near
// 33 million px, so past MAX_HEIGHT the scrollbar is scaled: small movements of it count as pixels, jumps as a share
// of the whole.

const ROW = 22;
const MAX_HEIGHT = 8_000_000;
const NARROW_PX = 720;
const OFFER_MS = 350;

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const columns = listColumns({ changed, ask: () => send({ choices: true }), widest: (name) => rows.widest(name) });
  const store = listStore(send, columns.names);
  const rows = listRows({ columns, store, textOf, version: (index) => `${epoch}:${columns.time === "delta" && store.has(index - 1)}` });
  const actions = listMenu(send, say, () => body.focus());
  const spacer = h("div", { class: "spacer" });
  const pill = h("button", { class: "pill primary", hidden: true, onclick: () => follow() });
  const empty = h("div", { class: "empty muted" });
  const note = h("div", { class: "note", role: "status", hidden: true });
  const body = h("div", { class: "body", role: "grid", tabIndex: 0, "aria-label": "Packets" }, rows.layer, spacer);
  const frame = h("div", { class: "frame" }, body, empty, note, pill);
  const root = h("section", { class: "root" }, columns.head, frame, columns.panel, actions.panel);

  let { epoch = 0, first = 0, end = 0 } = stateOf(model);
  let top = end;
  let following = true;
  let seen = end;
  let current = null;
  let column = null;
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
  const within = (row) => Math.min(Math.max(row, first), last());

  function place() {
    spacer.style.height = `${Math.min(full(), MAX_HEIGHT)}px`;
    const share = last() > first ? (top - first) / (last() - first) : 0;
    placed = Math.round(share * room());
    if (Math.abs(body.scrollTop - placed) >= 1) body.scrollTop = placed;
  }

  function move(row) {
    top = within(row);
    draw();
  }

  function follow() {
    following = true;
    seen = end;
    goal = null;
    tell();
    chase();
  }

  /** Moves to the newest rows once they are here: until then the ones in sight stay, so that nothing flickers. */
  function chase() {
    const wanted = last();
    if (store.ask(Math.floor(wanted), end, epoch)) goal = wanted;
    else if (!store.waits) arrive(wanted);
  }

  function arrive(row) {
    goal = null;
    top = within(row);
    place();
    draw();
  }

  /** While the list follows, the newest rows come by themselves. */
  function tell() {
    const message = { fits: Math.ceil(fits()) + 1, follows: following, columns: columns.names() };
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
    tell();
    move(wanted);
    if (scaled()) {
      clearTimeout(settling);
      settling = setTimeout(place, 200);
    }
  });

  body.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "c" && getSelection().isCollapsed && store.has(current)) {
      actions.copy(lineOf(current));
      event.preventDefault();
    }
    if (event.ctrlKey || event.metaKey || event.altKey || end <= first) return;
    const page = Math.max(1, Math.floor(fits()) - 1);
    const from = current ?? Math.ceil(top);
    const to = { ArrowUp: from - 1, ArrowDown: current === null ? from : from + 1, PageUp: from - page, PageDown: from + page,
      Home: first, End: end - 1, Enter: from }[event.key];
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (to !== undefined) choose(Math.min(Math.max(to, first), end - 1));
    else if (by && current !== null) turnTo(by);
    else return alone(event);
    event.preventDefault();
  });

  function turnTo(by) {
    const names = columns.names();
    column = names[Math.min(Math.max(names.indexOf(column) + (column === null && by < 0 ? names.length + 1 : by), 0), names.length - 1)];
    draw();
  }

  /** Keys that a page has for all its views (keys.js): where there is none, as in a notebook, the list has them. */
  function alone(event) {
    const act = { n: () => send({ problem: true }), p: () => send({ problem: false }), g: askNumber }[event.key];
    if (act) setTimeout(() => { if (!event.defaultPrevented) act(); });
  }

  function askNumber() {
    const number = h("input", { type: "number", min: 1, step: 1, required: true, "aria-label": "Go to packet number", placeholder: "packet number" });
    const form = h("form", { class: "go", onsubmit: (event) => {
      event.preventDefault();
      send({ go_to: Number(number.value) });
      body.focus();
    }, onfocusout: () => form.remove(), onkeydown: (event) => { if (event.key === "Escape") body.focus(); event.stopPropagation(); } }, number);
    frame.append(form);
    number.focus();
  }

  rows.layer.addEventListener("pointerdown", (event) => {
    const line = event.target.closest(".row");
    if (!line || event.button !== 0 || event.target.closest(".plus")) return;
    point(line);
  });

  /** What is under the pointer is what was painted; rows may have come since. */
  function point(line) {
    top = painted;
    column = null;
    choose(Number(line.dataset.index));
  }

  rows.layer.addEventListener("mouseleave", () => clearTimeout(offering));

  rows.layer.addEventListener("mouseover", ({ target }) => {
    if (target.role !== "gridcell" || target.contains(actions.plus)) return;
    // Not at once: who clicks a row to look at it must not meet a button that came under the pointer.
    clearTimeout(offering);
    actions.plus.remove();
    const offers = target.textContent && !["info", "number"].includes(target.dataset.name);
    if (offers && store.has(Number(target.parentElement.dataset.index))) offering = setTimeout(() => target.append(actions.plus), OFFER_MS);
  });

  actions.plus.addEventListener("click", (event) => {
    const cell = cellAt(actions.plus.parentElement);
    if (cell) send({ filter: cell.column, packet: cell.number, exclude: event.altKey });
  });

  body.addEventListener("contextmenu", (event) => {
    const inside = event.target.closest?.("[data-name]");
    const line = inside?.parentElement ?? rows.elementOf(current);
    const element = inside ?? line?.querySelector(`[data-name="${column ?? "protocol"}"]`) ?? line?.lastElementChild;
    const cell = cellAt(element);
    if (!cell) return;
    event.preventDefault();
    const { left, bottom } = element.getBoundingClientRect();
    if (inside) point(line);
    actions.open(cell, inside ? event.clientX : left, inside ? event.clientY : bottom);
  });

  function cellAt(element) {
    const index = Number(element?.parentElement?.dataset.index);
    const row = store.get(index);
    const found = row && columns.shown().find(({ name }) => name === element.dataset.name);
    return found && { column: found.name, title: found.title, number: row.number, value: textOf(row, found.name, index), line: lineOf(index) };
  }

  const lineOf = (index) => columns.names().map((name) => textOf(store.get(index), name, index)).join("\t");

  function textOf(row, name, index) {
    if (name === "number") return count(row.number);
    if (name === "ts") return timeText(row, columns.time, moment(stateOf(model).start_ns), store.get(index - 1));
    return row.cells[name] ?? "";
  }

  function choose(index) {
    current = index;
    following = false;
    tell();
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
      const row = store.get(current);
      if (row) send({ select: row.number });
      else if (current !== null && !store.isGone(current)) announce();
    }, 60);
  }

  function say(text) {
    put(note, text);
    note.hidden = !text;
    clearTimeout(quiet);
    quiet = setTimeout(() => { note.hidden = true; }, 4000);
  }

  model.on("msg:custom", (message) => {
    if (message.rows && message.epoch === epoch) {
      store.answered(message, top);
      if (following && goal !== null && !stateOf(model).paused) {
        arrive(goal);
        chase();
      }
      draw();
    }
    if (message.choices) columns.offer(message.choices);
    if (message.copied !== undefined) actions.copy(message.copied);
  });

  function paint() {
    scheduled = 0;
    painted = top;
    const from = Math.max(first, Math.floor(top));
    const to = Math.max(from, Math.min(end, Math.ceil(top + fits()) + 1));
    const active = rows.paint({ from, to, top, first, current, cell: column });
    if (active) body.setAttribute("aria-activedescendant", active);
    else body.removeAttribute("aria-activedescendant");
    if (!following || stateOf(model).paused) store.ask(Math.max(first, 2 * from - to), Math.min(end, 2 * to - from), epoch);
    const fresh = end - seen;
    pill.hidden = following || fresh <= 0;
    if (!pill.hidden) put(pill, `${count(fresh)} new packets ↓`);
  }

  function draw() {
    scheduled ||= requestAnimationFrame(paint);
  }

  /** Other columns, or other words in them: `refetch` if the hub has to be asked. */
  function changed(refetch) {
    rows.rebuild();
    body.setAttribute("aria-colcount", columns.names().length);
    if (refetch) {
      store.forget();
      goal = null;
    }
    tell();
    if (following && refetch) chase();
    draw();
  }

  const has = (newest) => newest?.epoch === epoch && columns.names().every((name) => ["number", "ts"].includes(name) || newest.rows.cells?.[name]);

  function update() {
    const s = stateOf(model);
    const others = s.epoch !== epoch;
    if (others) {
      epoch = s.epoch;
      store.clear();
      goal = current = column = null;
      following = true;
    }
    first = s.first ?? 0;
    end = s.end ?? 0;
    store.tick();
    if (columns.fit(body.clientWidth <= NARROW_PX, s.several ?? "")) changed(true);
    if (others) top = last();
    else if (!following && top < first) say("What was in sight has left the ring; these are the oldest packets it keeps.");
    top = within(top);
    if (following) {
      seen = end;
      tell();
      if (has(s.newest)) store.take(s.newest, top);
      if (!s.paused) chase();
    }
    if (s.go && s.go.turn !== turn && s.go.epoch === epoch) go(s.go);
    root.style.setProperty("--digits", Math.max(6, count(end).length));
    columns.head.style.paddingRight = `${body.offsetWidth - body.clientWidth + 12}px`;
    body.setAttribute("aria-rowcount", end - first);
    empty.hidden = !s.empty;
    put(empty, s.empty ?? "");
    place();
    draw();
  }

  function go({ row, note: words, turn: now }) {
    turn = now;
    say(words);
    end = Math.max(end, row + 1);
    if (row < top || row > top + fits() - 1) top = within(row - Math.floor(fits() / 2));
    choose(row);
  }

  columns.paint();
  const observer = new ResizeObserver(update);
  observer.observe(body);
  model.on("state", update);
  model.on("remove", () => observer.disconnect());
  update();
  return root;
}
