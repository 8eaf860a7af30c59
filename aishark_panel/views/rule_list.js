/** The rules, each with a switch, and what is silenced. */
function ruleList(send, state) {
  const note = h("span", { class: "muted" });
  const fresh = h("button", { onclick: () => send({ new: true }) }, icon("add"), "New rule");
  const list = h("ul", { class: "rules", "aria-label": "Rules" });
  const silences = h("ul", { class: "silences", "aria-label": "Silences" });
  const silent = h("div", { class: "silent" }, h("h3", {}, "Silenced"), silences);
  const root = h("aside", { "aria-label": "Rules" },
    h("div", { class: "heading" }, h("b", {}, "Rules"), note, h("span", { class: "spacer" }), fresh), h("div", { class: "scroll" }, silent, list));

  /** A question below a button, before something that cannot be undone. */
  function asking(button, question, yes, act) {
    const panel = menu(button, h("div", { class: "menu" }, h("p", {}, question), h("div", { class: "buttons" },
      h("button", { onclick: () => panel.hidePopover() }, "Keep"),
      h("button", { class: "danger", onclick: () => { panel.hidePopover(); act(); } }, yes))));
    return panel;
  }

  function rule({ name, replaces }) {
    let now = {};
    const onOff = h("button", { class: "switch", role: "switch", "aria-label": `Watch with ${name}`, onclick: () => send({ rule: name, on: !now.on }) }, h("i"));
    const mark = h("span", { class: "mark" });
    const title = h("button", { class: "name", title: `Show only the alerts of ${name}`, onclick: () => send({ of_rule: state().rule === name ? "" : name }) }, name);
    const raised = h("span", { class: "raised" });
    const edit = h("button", { class: "small", title: `Edit ${name}`, "aria-label": `Edit ${name}`, onclick: () => send({ edit: name }) }, icon("edit"));
    const remove = h("button", { class: "small" , title: replaces ? `Go back to the ${name} that came with the hub` : `Delete ${name}`,
      "aria-label": `Delete ${name}` }, icon("close"));
    const question = replaces ? `Delete your own ${name}? The one that came with the hub watches again.`
      : `Delete the rule ${name}? Its alerts stay in the list.`;
    const text = h("p", { class: "muted" });
    const facts = h("p", { class: "facts" });
    const element = h("li", {}, h("div", { class: "line" }, onOff, mark, title, raised, edit, remove), text, facts,
      asking(remove, question, "Delete", () => send({ delete: name })));
    return { element, fill(item) {
      now = item;
      const s = state();
      element.dataset.severity = item.severity;
      element.classList.toggle("off", !item.on);
      element.classList.toggle("bad", !!item.problem);
      onOff.setAttribute("aria-checked", item.on);
      onOff.disabled = !s.edits || !item.kept;
      onOff.title = item.on ? "It watches; click to switch it off" : "It is off; click to switch it on";
      if (mark.dataset.severity !== item.severity) {
        mark.dataset.severity = item.severity;
        mark.title = item.severity;
        mark.replaceChildren(icon(item.severity));
      }
      title.setAttribute("aria-pressed", s.rule === name);
      put(raised, item.alerts ? count(item.alerts) : "");
      raised.title = `${count(item.alerts)} alerts in this session`;
      edit.hidden = !s.edits || !item.kept;
      remove.hidden = !s.edits || !item.own;
      put(text, item.description);
      text.title = item.description;
      text.hidden = !item.description;
      put(facts, [item.source, item.on && !item.here && "not in this session", item.keys && `${count(item.keys)} ${item.keys === 1 ? "key" : "keys"}`].filter(Boolean).join(" · "));
      if (item.problem || item.trouble) facts.append(h("span", { class: "bad" }, ` ${item.problem ? `switched off: ${item.problem}` : item.trouble}`));
    } };
  }

  function silence({ id }) {
    const what = h("span");
    const until = h("span", { class: "muted" });
    const end = h("button", { class: "end", onclick: () => send({ unsilence: id }) }, "End");
    return { element: h("li", {}, icon("bell"), h("div", {}, what, until), end), fill(item) {
      put(what, [item.what, item.key].filter(Boolean).join(": "));
      put(until, [`until ${item.until}`, item.by && `by ${item.by}`, item.reason].filter(Boolean).join(", "));
      end.hidden = !state().acts;
      end.setAttribute("aria-label", `End the silence of ${what.textContent}`);
    } };
  }

  return { root, paint() {
    const { rules = [], silences: known = [], edits } = state();
    const on = rules.filter((item) => item.on).length;
    put(note, rules.length ? `${count(on)} of ${count(rules.length)} on` : "none");
    fresh.hidden = !edits;
    silent.hidden = !known.length;
    keyed(silences, known, (item) => item.id, silence);
    keyed(list, rules, (item) => `${item.name} ${item.replaces}`, rule);
  } };
}
