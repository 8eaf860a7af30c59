// Filters that this browser remembers: the last ones that were used, and those that got a name.

const FILTERS = "aishark.filters";
const MAX_RECENT = 30;
const MAX_SAVED = 100;

/** {recent: [text], saved: [{name, where}]}, newest first; a browser that keeps nothing has none. */
function rememberedFilters() {
  try {
    const { recent = [], saved = [] } = JSON.parse(localStorage.getItem(FILTERS)) ?? {};
    return { recent: recent.filter((each) => typeof each === "string"), saved: saved.filter((each) => each.name && each.where) };
  } catch {
    return { recent: [], saved: [] };
  }
}

function rememberFilters(change) {
  const known = rememberedFilters();
  change(known);
  known.recent.length = Math.min(known.recent.length, MAX_RECENT);
  known.saved.length = Math.min(known.saved.length, MAX_SAVED);
  try {
    localStorage.setItem(FILTERS, JSON.stringify(known));
  } catch {
    // Nothing can be kept here (a private window, a full disk): the filter works all the same.
  }
}

function rememberUsed(where) {
  rememberFilters((known) => { known.recent = [where, ...known.recent.filter((each) => each !== where)]; });
}

/** Button and menu of them. `use(where)` applies one; `current()` is what a name is given to. */
function filtersMenu(use, current) {
  const button = h("button", { class: "more", title: "Saved and recent filters", "aria-label": "Saved and recent filters" }, "▾");
  const saved = h("ul", { class: "filters", "aria-label": "Saved filters" });
  const recent = h("ul", { class: "filters", "aria-label": "Recent filters" });
  const savedTitle = h("h2", {}, "Saved");
  const recentTitle = h("h2", {}, "Recent");
  const nothing = h("p", { class: "muted" }, "Filters that you use are listed here. Give one a name to keep it.");
  const name = h("input", { type: "text", "aria-label": "Name of the filter", placeholder: "name for this filter", maxLength: 80, required: true });
  const what = h("code", { class: "what" });
  const save = h("form", { class: "save", onsubmit: (event) => {
    event.preventDefault();
    const entry = { name: name.value.trim(), where: current() };
    if (!entry.name || !entry.where) return;
    rememberFilters((known) => { known.saved = [entry, ...known.saved.filter((each) => each.name !== entry.name)]; });
    name.value = "";
    fill();
  } }, what, h("div", { class: "line" }, name, h("button", { type: "submit" }, "Save")));
  const panel = menu(button, h("div", { class: "menu" }, savedTitle, saved, recentTitle, recent, nothing, save), fill);

  function line(title, where, forget) {
    return h("li", {}, h("button", { class: "use", title: where, onclick: () => { panel.hidePopover(); use(where); } },
      ...(title ? [h("b", {}, title)] : []), h("code", {}, where)),
    h("button", { class: "forget", title: "Forget it", "aria-label": `Forget ${title || where}`, onclick: () => { rememberFilters(forget); fill(); } }, icon("close")));
  }

  function fill() {
    const known = rememberedFilters();
    saved.replaceChildren(...known.saved.map((each) => line(each.name, each.where, (all) => {
      all.saved = all.saved.filter((other) => other.name !== each.name);
    })));
    recent.replaceChildren(...known.recent.map((where) => line("", where, (all) => {
      all.recent = all.recent.filter((other) => other !== where);
    })));
    savedTitle.hidden = saved.hidden = !known.saved.length;
    recentTitle.hidden = recent.hidden = !known.recent.length;
    nothing.hidden = known.saved.length + known.recent.length > 0;
    save.hidden = !current();
    put(what, current());
  }

  return { button, panel };
}
