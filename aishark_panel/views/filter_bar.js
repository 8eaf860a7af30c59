// Display filter box. state: {where, error: {text, message, position, fix}, matched, complete, kept, range_ms, window,
// windows}; range_ms: [start, end], the time that was chosen, or null. Messages: {turn, ...}: what may stand where somebody
// types (filter_bar.py).
//
// Text that is being edited belongs to the person: it outlives a box that is drawn anew, and a filter that others choose.

const drafts = new Map();
const FOCUS_FILTER = "aishark:focus-filter";

/** "10:00:00 – 10:05:00", with the date where it is not today's, and parts of a second where there are any. */
function rangeText([start, end], now) {
  const [from, to] = [start, end].map((ms) => new Date(ms).toISOString());
  const clock = (text) => text.slice(11, 23).replace(/\.000$/, "");
  const today = new Date(now).toISOString().slice(0, 10);
  const date = (text, shown) => (text.slice(0, 10) === shown ? "" : `${text.slice(0, 10)} `);
  return `${date(from, today)}${clock(from)} – ${date(to, from.slice(0, 10))}${clock(to)}`;
}

export function render({ model }) {
  const draft = drafts.get(model.id);
  const input = h("input", {
    id: "where", type: "text", spellcheck: false, autocomplete: "off", autocapitalize: "off", class: "mono",
    placeholder: "tcp.port == 443 and ip.addr == 10.0.0.1", "aria-describedby": "status problem",
    onkeydown: (event) => {
      if (list.key(event)) event.preventDefault();
      else if (event.key === "Enter") apply(input.value);
      else if (event.key === "Escape") apply("");
    },
    oninput: () => {
      edited();
      list.typed();
    },
    onblur: () => list.close(),
  });
  const clear = h("button", { class: "clear", title: "Clear the display filter (Esc)", "aria-label": "Clear the display filter",
    onclick: () => apply("") }, icon("close"));
  const status = h("span", { id: "status", class: "status", "aria-live": "polite" });
  const chip = h("button", { class: "range mono", onclick: () => model.send_msg({ range: null }) }, h("span"), icon("close"));
  const problem = h("div", { id: "problem", class: "problem", role: "alert" });
  const filters = filtersMenu(apply, () => input.value.trim());
  const list = completion(input, { ask: (edit, cursor) => questions.ask({ edit, cursor }), take: () => { input.focus(); edited(); if (input.value) list.typed(); }, recent });
  const box = h("div", { class: "box" }, h("label", { htmlFor: "where" }, "Display filter"), input, clear, filters.button, chip, status);
  const windows = h("div", { class: "windows", role: "group", "aria-label": "Time shown in the charts" });
  const root = h("div", { class: "root" }, box, windows, problem, list.panel, filters.panel);
  const questions = oneAtATime((question) => model.send_msg(question));
  let shown = null;

  function edited() {
    const differs = input.value.trim() !== (stateOf(model).where ?? "");
    box.classList.toggle("edited", differs);
    if (differs) drafts.set(model.id, input.value);
    else drafts.delete(model.id);
    if (!differs) box.classList.remove("right");
  }

  function apply(text) {
    input.value = text;
    list.close();
    questions.forget();
    drafts.delete(model.id);
    box.classList.remove("right");
    model.send_msg({ where: text });
    input.blur();
  }

  function recent() {
    const { recent: used, saved } = rememberedFilters();
    return [...saved.slice(0, 10).map(({ name, where }) => ({ text: where, kind: "saved", meaning: name, whole: true })),
      ...used.slice(0, 10).map((text) => ({ text, kind: "recent", meaning: "", whole: true }))];
  }

  function answer(message) {
    if (message.turn === undefined || !questions.answered(message.turn)) return;
    list.show(message);
    box.classList.toggle("right", message.right && box.classList.contains("edited"));
  }

  function paintWindows(names, chosen) {
    if (windows.childElementCount !== names.length) {
      windows.replaceChildren(...names.map((name) => h("button", { onclick: () => model.send_msg({ window: name }) }, name)));
    }
    for (const button of windows.children) button.setAttribute("aria-pressed", button.textContent === chosen);
  }

  function paintProblem(error) {
    problem.hidden = !error;
    if (!error || problem.shown === error) return;
    problem.shown = error;
    problem.replaceChildren(...faultParts(error, apply));
  }

  function paintRange(range) {
    chip.hidden = !range;
    if (!range) return;
    put(chip.firstChild, rangeText(range, Date.now()));
    const exact = range.map((ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", "")).join(" to ");
    chip.title = `Only packets from ${exact} UTC are shown. Click to show all of the time again.`;
    chip.setAttribute("aria-label", `Time range ${chip.textContent} UTC: show all of the time again`);
  }

  function paint() {
    const { where = "", error, matched, complete, kept = 0, range_ms: range, window: chosen, windows: names = [] } = stateOf(model);
    if (where !== shown && !error) {
      const theirs = drafts.has(model.id) && root.getRootNode().activeElement === input;
      if (!theirs) {
        input.value = where;
        drafts.delete(model.id);
      }
      if (where && shown !== null) rememberUsed(where);
      shown = where;
    }
    if (shown === null) input.value = error.text;
    box.classList.toggle("used", !!where && !error);
    box.classList.toggle("wrong", !!error);
    box.classList.toggle("edited", input.value.trim() !== where && !error);
    clear.hidden = !where && !error;
    const share = kept ? ` (${((100 * matched) / kept).toFixed(matched === kept ? 0 : 1)} %)` : "";
    put(status, error ? "" : matched !== null && matched !== undefined ? complete ? `${count(matched)} of ${count(kept)}${share}` : `${count(matched)} so far …` : "");
    paintRange(range);
    paintProblem(error);
    paintWindows(names, chosen);
  }

  const focus = () => {
    input.focus();
    input.select();
  };
  window.addEventListener(FOCUS_FILTER, focus);
  model.on("state", paint);
  model.on("msg:custom", answer);
  model.on("remove", () => {
    window.removeEventListener(FOCUS_FILTER, focus);
    drafts.delete(model.id);
  });
  paint();
  if (draft !== undefined) {
    drafts.set(model.id, draft);
    input.value = draft;
    edited();
    requestAnimationFrame(() => { if (document.activeElement === document.body) input.focus(); });
  }
  return root;
}
