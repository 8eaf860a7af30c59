// Display filter box. state: {where, error: {text, message, position}, matched, complete, kept, range_ms, window, windows};
// range_ms: [start, end], the time that was chosen, or null

export function render({ model }) {
  const input = h("input", {
    id: "where", type: "text", spellcheck: false, autocomplete: "off", autocapitalize: "off", class: "mono",
    placeholder: "tcp.port == 443 and ip.addr == 10.0.0.1", "aria-describedby": "status problem",
    onkeydown: (event) => {
      if (event.key === "Enter") apply(input.value);
      if (event.key === "Escape") apply("");
    },
    oninput: () => box.classList.toggle("edited", input.value.trim() !== (model.state.where ?? "")),
  });
  const clear = h("button", { class: "clear", title: "Clear the display filter (Esc)", "aria-label": "Clear the display filter",
    onclick: () => apply("") }, icon("close"));
  const status = h("span", { id: "status", class: "status", "aria-live": "polite" });
  const chip = h("button", { class: "range mono", title: "Show all of the time again", onclick: () => model.send_msg({ range: null }) },
    h("span"), icon("close"));
  const problem = h("div", { id: "problem", class: "problem", role: "alert" });
  const box = h("div", { class: "box" }, h("label", { htmlFor: "where" }, "Display filter"), input, clear, chip, status);
  const windows = h("div", { class: "windows", role: "group", "aria-label": "Time shown in the charts" });
  const root = h("div", { class: "root" }, box, windows, problem);
  let shown = null;

  function apply(text) {
    input.value = text;
    model.send_msg({ where: text });
    input.blur();
  }

  function paintWindows(names, chosen) {
    if (windows.childElementCount !== names.length) {
      windows.replaceChildren(...names.map((name) => h("button", { onclick: () => model.send_msg({ window: name }) }, name)));
    }
    for (const button of windows.children) button.setAttribute("aria-pressed", button.textContent === chosen);
  }

  function paint() {
    const { where = "", error, matched, complete, kept = 0, range_ms: range, window: chosen, windows: names = [] } = model.state;
    if (where !== shown && !error) {
      input.value = where;
      shown = where;
    }
    box.classList.toggle("used", !!where && !error);
    box.classList.toggle("wrong", !!error);
    box.classList.toggle("edited", input.value.trim() !== where && !error);
    clear.hidden = !where && !error;
    const share = kept ? ` (${((100 * matched) / kept).toFixed(matched === kept ? 0 : 1)} %)` : "";
    put(status, error ? "" : matched !== null && matched !== undefined ? complete ? `${count(matched)} of ${count(kept)}${share}` : `${count(matched)} so far …` : "");
    chip.hidden = !range;
    if (range) put(chip.firstChild, range.map((ms) => new Date(ms).toISOString().slice(11, 23)).join(" – "));
    problem.hidden = !error;
    if (error) {
      const at = error.position ?? error.text.length;
      problem.replaceChildren(
        h("span", {}, error.message),
        h("code", { class: "where" }, error.text.slice(0, at), h("mark", {}, error.text.slice(at, at + 1) || " "), error.text.slice(at + 1)));
    }
    paintWindows(names, chosen);
  }

  model.on("state", paint);
  paint();
  return root;
}
