/** What one can do with a value of the packet list: a menu on right click (and the menu key), a '+' on the value itself.
 *  `back()` gives the focus to where it was. */
function listMenu(send, say, back) {
  let at = null;
  const item = (text, act, key = "") => h("button", { role: "menuitem", onclick: () => { panel.hidePopover(); act(); } }, h("span", {}, text), h("span", { class: "muted" }, key));
  const filter = (exclude) => send({ filter: at.column, packet: at.number, exclude });
  const only = item("", () => filter(false));
  const not = item("", () => filter(true));
  const panel = h("div", { class: "menu row-menu", role: "menu", popover: "auto" }, only, not,
    item("Only this conversation", () => send({ filter: "conversation_id", packet: at.number, exclude: false })),
    h("hr"),
    item("Copy value", () => copy(at.value)),
    item("Copy row", () => copy(at.line, "Ctrl+C"), "Ctrl+C"),
    item("Copy as filter", () => send({ copy: "filter", column: at.column, packet: at.number })),
    item("Copy command for Wireshark", () => send({ copy: "wireshark", packet: at.number })),
    item("Copy bytes (hex)", () => send({ copy: "bytes", packet: at.number })));
  const plus = h("button", { class: "plus", tabIndex: -1, title: "Add to the display filter; with Alt: exclude" }, icon("add"));

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("The browser did not allow to copy: click into the page and try again");
    }
  }

  panel.addEventListener("toggle", ({ newState }) => {
    // The focus is still on what is hidden now, unless somebody clicked into something else.
    if (newState === "closed" && (panel.contains(panel.getRootNode().activeElement) || document.activeElement === document.body)) back();
  });
  panel.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const items = [...panel.querySelectorAll("button:not(:disabled)")];
    if (!by) return;
    event.preventDefault();
    items[(items.indexOf(panel.getRootNode().activeElement) + by + items.length) % items.length].focus();
  });

  return {
    panel, plus, copy,
    /** `cell`: {column, title, number, value, line}; at px x, y of the window. */
    open(cell, x, y) {
      at = cell;
      const short = cell.value.length > 40 ? `${cell.value.slice(0, 39)}…` : cell.value;
      const [with_, without] = cell.column === "ts" ? ["From", "Before"] : [`Only ${cell.title}`, `Not ${cell.title}`];
      put(only.firstChild, `${with_} ${short}`);
      put(not.firstChild, `${without} ${short}`);
      only.disabled = not.disabled = cell.column === "info" || !cell.value;
      panel.showPopover();
      panel.style.left = `${Math.max(8, Math.min(x, innerWidth - panel.offsetWidth - 8))}px`;
      panel.style.top = `${Math.max(8, Math.min(y, innerHeight - panel.offsetHeight - 8))}px`;
      panel.querySelector("button:not(:disabled)").focus();
    },
  };
}
