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
    number: "calc(var(--digits) * 6.7px + 9px)", ts: "88px", source: "minmax(0, 1fr)", destination: "minmax(0, 1fr)", protocol: "58px",
  };
  const SEVERAL = { agent: "Agent", iface: "Interface" };
  const PLACE = "aishark.packet_list";
  const usual = () => Object.keys(KNOWN).map((name) => ({ name, title: KNOWN[name][0], width: 0 }));

  function remembered() {
    try {
      const { columns, time, declined } = JSON.parse(localStorage.getItem(PLACE));
      const sound = columns.length && columns.every(({ name, title }) => typeof name === "string" && typeof title === "string");
      return { columns: sound ? columns : usual(), time: time in TIMES ? time : "utc", declined: !!declined };
    } catch {
      return { columns: usual(), time: "utc", declined: false };
    }
  }

  let { columns, time, declined } = remembered();
  let narrow = false;
  let several = "";
  const head = h("div", { class: "row head", role: "row" });
  const more = h("button", { class: "more", title: "Columns and times", "aria-label": "Columns and times of the packet list" }, icon("more"));
  const times = h("div", { class: "scope", role: "radiogroup", "aria-label": "Times" }, ...Object.entries(TIMES).map(([name, [text]]) =>
    h("label", {}, h("input", { type: "radio", name: "time", value: name, onchange: () => { time = name; done(false); } }), `Time: ${text}`)));
  const choices = h("div", { class: "choices", role: "group", "aria-label": "Columns" });
  const panel = menu(more, h("div", { class: "menu columns" }, times, choices,
    h("div", { class: "buttons" }, h("button", { onclick: () => { [columns, time, declined] = [usual(), "utc", false]; done(true); tick(); } }, "As at first"))), () => { tick(); ask(); });

  function tick() {
    for (const input of times.querySelectorAll("input")) input.checked = input.value === time;
    for (const input of choices.querySelectorAll("input")) input.checked = wide().some(({ name }) => name === input.value);
  }

  function toggle({ name, title }, on) {
    if (on) columns.push({ name, title, width: 0 });
    else if (columns.length > 1) columns = columns.filter((column) => column.name !== name);
    if (!on && name === several) declined = true;
    done(true);
    tick();
  }

  function keep() {
    try {
      localStorage.setItem(PLACE, JSON.stringify({ columns, time, declined }));
    } catch { /* a private window: it lasts as long as the page */ }
  }

  function done(refetch) {
    keep();
    paint();
    changed(refetch);
  }

  /** The columns of a wide list: those that were chosen, and where packets come from if that differs. */
  function wide() {
    const found = [...columns];
    if (several && !declined && !found.some(({ name }) => name in SEVERAL)) found.splice(2, 0, { name: several, title: SEVERAL[several], width: 0 });
    return found;
  }

  const shown = () => (narrow ? usual().filter(({ name }) => name in NARROW) : wide());

  function move(name, by) {
    columns = wide();
    const from = columns.findIndex((column) => column.name === name);
    const to = from + by;
    if (from < 0 || to < 0 || to >= columns.length) return;
    columns.splice(to, 0, ...columns.splice(from, 1));
    done(false);
    head.querySelector(`[data-name="${name}"]`)?.focus();
  }

  function size(name, width) {
    if (!columns.some((each) => each.name === name)) columns = wide();
    columns.find((each) => each.name === name).width = Math.round(Math.min(Math.max(width, 32), 1200));
    style();
  }

  function grip(name) {
    return h("i", { class: "grip", title: "Drag to size; double click fits",
      ondblclick: () => { size(name, widest(name)); keep(); },
      onpointerdown: (event) => {
        event.stopPropagation();
        event.preventDefault();
        const { target, clientX: start, pointerId } = event;
        const width = target.parentElement.offsetWidth;
        target.setPointerCapture(pointerId);
        target.onpointermove = ({ clientX }) => size(name, width + clientX - start);
        target.onpointerup = target.onpointercancel = () => { target.onpointermove = null; keep(); };
      } });
  }

  function heading({ name, title }) {
    const text = name === "ts" && !narrow ? `${title} (${TIMES[time][1]})` : title;
    const cell = h("span", { class: columnClass(name), role: "columnheader", tabIndex: 0, "data-name": name,
      title: narrow ? text : `${text}\nDrag, or Ctrl+arrow: move. Shift+arrow: size.` }, h("span", {}, text), narrow ? "" : grip(name));
    cell.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      if ((event.ctrlKey || event.metaKey) && !narrow) move(name, by);
      else if (event.shiftKey && !narrow) { size(name, cell.offsetWidth + 8 * by); keep(); }
      else (by < 0 ? cell.previousElementSibling : cell.nextElementSibling)?.focus();
    });
    cell.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || narrow) return;
      const under = ({ clientX }) => [...head.querySelectorAll("[data-name]")].find((each) => clientX < each.getBoundingClientRect().right);
      const far = ({ clientX }) => Math.abs(clientX - event.clientX) >= 6;
      const drag = (moved) => {
        head.querySelector(".drop")?.classList.remove("drop");
        if (far(moved)) under(moved)?.classList.add("drop");
      };
      const drop = (ended) => {
        for (const type of ["pointermove", "pointerup", "pointercancel"]) removeEventListener(type, type === "pointermove" ? drag : drop);
        head.querySelector(".drop")?.classList.remove("drop");
        const target = ended.type === "pointerup" && far(ended) ? under(ended)?.dataset.name : undefined;
        const place = (wanted) => wide().findIndex((column) => column.name === wanted);
        if (target) move(name, place(target) - place(name));
      };
      addEventListener("pointermove", drag);
      addEventListener("pointerup", drop);
      addEventListener("pointercancel", drop);
    });
    return cell;
  }

  const template = () => shown().map(({ name, width }) =>
    narrow ? NARROW[name] : width ? `minmax(32px, ${width}px)` : KNOWN[name]?.[1] ?? "minmax(50px, 120px)").join(" ");

  const style = () => head.parentElement?.style.setProperty("--columns", template());

  function paint() {
    style();
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
    /** True if other columns are shown now. `origin`: the column that tells where packets come from, if that differs. */
    fit(isNarrow, origin) {
      if (isNarrow === narrow && origin === several) return false;
      [narrow, several] = [isNarrow, origin];
      paint();
      return true;
    },
  };
}

const columnClass = (name) => ({ ts: "time", orig_len: "length", source: "src", destination: "dst" }[name] ?? name);
