// Alerts and rules. state: {alerts: [{number, state, severity, rule, headline, explanation, facts, filter, date, began,
// ended}], hidden, firing, rules: [{name, description, severity, state, reason}], undelivered, undelivered_reason, empty}

export function render({ model }) {
  const list = h("ol", { class: "list", "aria-label": "Alerts" });
  const note = h("span", { class: "muted" });
  const undelivered = h("p", { class: "bad", role: "status" });
  const empty = h("div", { class: "empty muted" });
  const rules = h("ul", { class: "rules" });
  const ruleCount = h("span", { class: "muted" });
  const root = h("section", { class: "root", "aria-label": "Alerts" },
    h("div", { class: "main" }, h("div", { class: "heading" }, h("b", {}, "Alerts"), note), undelivered,
      h("div", { class: "scroll" }, list, empty)),
    h("aside", { "aria-label": "Rules" }, h("div", { class: "heading" }, h("b", {}, "Rules"), ruleCount), rules));

  function alert({ number }) {
    const [severity, rule, headline, began, phase] = ["severity", "rule", "headline", "began", "phase"].map((name) =>
      h("span", { class: name }));
    const facts = h("span", { class: "facts" });
    const button = h("button", { class: "alert", onclick: (event) => model.send_msg({ filter: number, exclude: event.altKey }) },
      h("span", { class: "line" }, severity, rule, headline), facts, h("span", { class: "when" }, phase, began));
    return { element: h("li", {}, button), fill(item) {
      button.dataset.severity = item.severity;
      button.dataset.state = item.state;
      button.disabled = !item.filter;
      put(severity, item.severity);
      put(rule, item.rule);
      put(headline, item.headline);
      put(phase, item.state);
      put(began, item.ended ? `${item.began} to ${item.ended}` : item.state === "firing" ? `since ${item.began}` : item.began);
      began.title = `${item.date} ${item.began} UTC`;
      button.title = [item.explanation, item.filter && `${item.filter}\nClick: show only these packets. Alt+click: hide them.`]
        .filter(Boolean).join("\n\n");
      const text = JSON.stringify(item.facts);
      if (text === facts.dataset.text) return;
      facts.dataset.text = text;
      facts.replaceChildren(...item.facts.map(([name, value]) =>
        h("span", { class: "fact" }, h("span", { class: "muted" }, name), h("code", {}, value))));
    } };
  }

  function rule() {
    const [severity, name, phase] = ["severity", "name", "phase"].map((each) => h("span", { class: each }));
    const text = h("p", { class: "muted" });
    const element = h("li", {}, h("div", { class: "line" }, severity, name, phase), text);
    return { element, fill(item) {
      element.dataset.severity = item.severity;
      put(severity, item.severity);
      put(name, item.name);
      put(phase, item.reason ? item.state : "");
      put(text, [item.description, item.reason].filter(Boolean).join(" "));
      element.classList.toggle("bad", !!item.reason);
    } };
  }

  function paint() {
    const s = stateOf(model);
    const alerts = s.alerts ?? [];
    keyed(list, alerts, (item) => item.number, alert);
    keyed(rules, s.rules ?? [], (item) => item.name, rule);
    put(note, alerts.length ? `${count(s.firing)} firing; times in UTC; click one to see its packets${s.hidden ? `; ${count(s.hidden)} older ones are not listed` : ""}` : "");
    put(ruleCount, s.rules?.length ? `${count(s.rules.length)} watch this session` : "none");
    undelivered.hidden = !s.undelivered;
    put(undelivered, s.undelivered ? `${count(s.undelivered)} messages to the webhook were not delivered. ${s.undelivered_reason}` : "");
    empty.hidden = !s.empty;
    put(empty, s.empty ?? "");
  }

  model.on("state", paint);
  paint();
  return root;
}
