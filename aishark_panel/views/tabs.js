// Tabs. state: {chosen, tabs: [{name, count, urgent}]}. Arrow keys move along them (ARIA's tab pattern).

export function render({ model }) {
  const root = h("div", { class: "root", role: "tablist", "aria-label": "Views of the session" });

  let shown = "";

  const choose = (name) => model.send_msg({ tab: name });

  root.addEventListener("keydown", ({ key }) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    const buttons = [...root.children];
    const at = buttons.findIndex((button) => button.getAttribute("aria-selected") === "true");
    if (!step || at < 0) return;
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });

  function tab({ name }) {
    const number = h("span", { class: "count" });
    const element = h("button", { role: "tab", "aria-label": name, onclick: () => choose(name) }, h("span", {}, name), number);
    return { element, fill(item) {
      const chosen = item.name === stateOf(model).chosen;
      element.setAttribute("aria-selected", chosen);
      element.tabIndex = chosen ? 0 : -1;
      put(number, item.count ? count(item.count) : "");
      number.hidden = !item.count;
      number.classList.toggle("urgent", item.urgent);
    } };
  }

  function paint() {
    const { tabs = [], chosen } = stateOf(model);
    keyed(root, tabs, (item) => item.name, tab);
    if (chosen !== shown) {
      shown = chosen;
      const at = root.rows.get(chosen)?.element;
      if (at) root.scrollLeft = at.offsetLeft - (root.clientWidth - at.offsetWidth) / 2;
    }
    // What calls for somebody is seen on the browser's own tab too.
    const urgent = tabs.find((item) => item.urgent && item.count);
    document.title = urgent ? `(${count(urgent.count)}) aishark` : "aishark";
  }

  model.on("state", paint);
  paint();
  return root;
}
