/** The menu that silences an alert's key, or its whole rule, for a time. */
function silencing(send) {
  const TIMES = [["15 min", 900], ["1 h", 3600], ["1 day", 86400]];
  const ofKey = h("input", { type: "radio", name: "silence" });
  const ofRule = h("input", { type: "radio", name: "silence" });
  const key = h("code");
  const rule = h("code");
  const keyLine = h("label", {}, ofKey, h("span", {}, "only for ", key));
  const reason = h("input", { type: "text", placeholder: "why (others see it)", "aria-label": "Reason", maxLength: 200 });
  const panel = h("div", { class: "menu silencing", popover: "auto", role: "dialog", "aria-label": "Silence" },
    h("h2", {}, "Silence"), h("p", { class: "muted" }, "Nobody is told of it meanwhile; alerts are listed all the same."),
    keyLine, h("label", {}, ofRule, h("span", {}, "all that ", rule, " finds")), reason,
    h("div", { class: "buttons" }, ...TIMES.map(([text, for_s]) => h("button", { onclick: () => {
      send({ silence: number, key: ofKey.checked, for_s, reason: reason.value });
      reason.value = "";
      panel.hidePopover();
    } }, text))));
  let number = 0;
  let back = null;

  panel.addEventListener("toggle", ({ newState }) => { if (newState === "closed") back?.focus(); });

  return { panel, open(item, button) {
    number = item.number;
    back = button;
    put(key, item.facts.slice(0, item.keys).map(([name, value]) => `${name} ${value}`).join(", "));
    put(rule, item.rule);
    keyLine.hidden = !item.keys;
    (item.keys ? ofKey : ofRule).checked = true;
    panel.showPopover();
    const at = button.getBoundingClientRect();
    panel.style.top = `${Math.max(8, Math.min(at.bottom + 6, innerHeight - panel.offsetHeight - 8))}px`;
    panel.style.left = `${Math.max(8, Math.min(at.left, innerWidth - panel.offsetWidth - 8))}px`;
    panel.querySelector("button").focus();
  } };
}
