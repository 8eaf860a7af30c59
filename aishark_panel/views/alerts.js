// Alerts and rules. state: {alerts: [{number, state, severity, rule, headline, facts, keys (how many of the facts are the
// key), date, began, lasted, acknowledged, silenced, archived, evidence}], hidden, forgotten, state, counts, rule, open
// (number), detail, rules, silences, acts, shows, edits, exports, undelivered, undelivered_reason, answer, empty: {text, do}}

const LISTS = { all: "All", firing: "Firing", pending: "Pending", resolved: "Resolved", archived: "Archived" };

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const state = () => stateOf(model);
  const lists = h("div", { class: "lists", role: "group", "aria-label": "Alerts to list" });
  const ofRule = h("button", { class: "of-rule", title: "Show the alerts of all rules", onclick: () => send({ of_rule: "" }) }, h("span"), icon("close"));
  const note = h("span", { class: "muted note" });
  const bad = h("p", { class: "bad", role: "status" });
  const list = h("ol", { class: "list", "aria-label": "Alerts" });
  const emptyText = h("p");
  const emptyDo = h("button", { onclick: () => send(state().empty.do === "new" ? { new: true } : { states: "all" }) });
  const more = h("p", { class: "more muted" });
  const empty = h("div", { class: "empty muted" }, emptyText, emptyDo);
  const silence = silencing(send);
  const rules = ruleList(send, state);
  const root = h("section", { class: "root", "aria-label": "Alerts" },
    h("div", { class: "main" }, h("div", { class: "heading" }, lists, ofRule, note), bad, h("div", { class: "scroll" }, list, more, empty)),
    rules.root, silence.panel);

  function alert({ number }) {
    let now = {};
    let detail = null;
    const mark = h("span", { class: "mark" });
    const [severity, rule, headline, began, phase, tags] = ["severity", "rule", "headline", "began", "phase", "tags"].map((name) =>
      h("span", { class: name }));
    const facts = h("span", { class: "facts" });
    const button = h("button", { class: "alert", "data-number": number, onclick: () => send({ open: state().open === number ? 0 : number }) },
      h("span", { class: "line" }, mark, severity, rule, headline), h("span", { class: "second" }, facts, tags), h("span", { class: "when" }, phase, began));
    const action = (name, iconName, text, act) => h("button", { "data-do": name, onclick: act }, icon(iconName), h("span", {}, text));
    const show = action("show", "list", "Show packets", () => send({ show: number }));
    const evidence = action("evidence", "download", "Evidence", () => send({ evidence: number }));
    const acknowledge = action("acknowledge", "check", "Acknowledge", () => send({ acknowledge: number, on: !now.acknowledged }));
    const hush = action("silence", "bell", "Silence …", () => silence.open(now, hush));
    const archive = action("archive", "box", "Archive", () => send({ archive: number, on: !now.archived }));
    const edit = action("edit", "edit", "Edit the rule", () => send({ edit: now.rule }));
    const actions = h("div", { class: "actions" }, show, evidence, acknowledge, hush, archive, edit);
    const element = h("li", {}, button);

    button.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const s = state();
      const act = { f: s.shows && (() => send({ show: number })), a: s.acts && (() => send({ acknowledge: number, on: !now.acknowledged })),
        s: s.acts && (() => silence.open(now, button)), x: s.acts && (() => send({ archive: number, on: !now.archived })) }[event.key.toLowerCase()];
      if (!act) return;
      event.preventDefault();
      act();
    });

    function paintFacts(item) {
      const text = JSON.stringify(item.facts);
      if (text === facts.dataset.text) return;
      facts.dataset.text = text;
      facts.replaceChildren(...item.facts.map(([name, value], place) =>
        h("span", { class: place < item.keys ? "fact key" : "fact" }, h("span", { class: "muted" }, name), h("code", {}, value))));
    }

    function paintDetail(item) {
      const s = state();
      const isOpen = s.open === number && !!s.detail;
      button.setAttribute("aria-expanded", isOpen);
      if (!isOpen) {
        detail?.root.remove();
        detail = null;
        return;
      }
      if (!detail) {
        detail = alertDetail(send, number);
        detail.root.prepend(actions);
        element.append(detail.root);
        requestAnimationFrame(() => detail?.root.scrollIntoView({ block: "nearest" }));
      }
      detail.paint(s.detail);
      show.hidden = !s.shows || !s.detail.filter;
      show.title = s.detail.gone ? "Its packets are no longer in the hub's memory" : "Sets the display filter and the time, and opens the packet list (F)";
      show.disabled = s.detail.gone;
      evidence.hidden = !s.exports || s.detail.evidence === "none";
      evidence.disabled = s.detail.evidence !== "saved";
      evidence.title = s.detail.evidence_text;
      acknowledge.hidden = hush.hidden = archive.hidden = !s.acts;
      put(acknowledge.lastChild, item.acknowledged ? "Take back" : "Acknowledge");
      acknowledge.title = item.acknowledged ? "Nobody looks after it after all (A)" : "Say that somebody looks after it (A)";
      put(archive.lastChild, item.archived ? "Back to the list" : "Archive");
      archive.title = item.archived ? "List it again (X)" : "Take it off the list (X)";
      hush.title = "Tell nobody of it for a while (S)";
      edit.hidden = !s.edits || !s.rules.some((each) => each.name === item.rule && each.kept);
    }

    return { element, fill(item) {
      now = item;
      button.dataset.severity = item.severity;
      button.dataset.state = item.state;
      button.classList.toggle("seen", item.acknowledged || item.silenced);
      if (mark.dataset.severity !== item.severity) {
        mark.dataset.severity = item.severity;
        mark.replaceChildren(icon(item.severity));
      }
      put(severity, item.severity);
      put(rule, item.rule);
      put(headline, item.headline);
      headline.title = item.headline;
      put(phase, item.state);
      put(began, { firing: `since ${item.began}, ${item.lasted}`, pending: `since ${item.began}`, resolved: `${item.began}, for ${item.lasted}` }[item.state]);
      began.title = `${item.date} ${item.began} UTC`;
      put(tags, [item.acknowledged && "acknowledged", item.silenced && "silenced", item.archived && "archived", item.evidence === "saved" && "packets kept"].filter(Boolean).join(" · "));
      paintFacts(item);
      paintDetail(item);
    } };
  }

  list.addEventListener("keydown", (event) => {
    if (!event.target.classList.contains("alert")) return;
    const buttons = [...list.querySelectorAll(".alert")];
    const at = buttons.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[Math.max(0, Math.min(to, buttons.length - 1))].focus();
  });

  function choice({ name }) {
    const number = h("span", { class: "count" });
    const element = h("button", { onclick: () => send({ states: name }) }, LISTS[name], number);
    return { element, fill({ counted }) {
      put(number, counted ? count(counted) : "");
      element.setAttribute("aria-pressed", state().state === name);
      element.dataset.list = name;
    } };
  }

  function paint() {
    const s = state();
    keyed(lists, Object.keys(LISTS).map((name) => ({ name, counted: s.counts?.[name] })), (item) => item.name, choice);
    ofRule.hidden = !s.rule;
    put(ofRule.firstChild, s.rule ?? "");
    const focused = root.getRootNode().activeElement;
    keyed(list, s.alerts ?? [], (item) => item.number, alert);
    // An element that changes its place loses the focus.
    if (list.contains(focused) && root.getRootNode().activeElement !== focused) focused.focus({ preventScroll: true });
    rules.paint();
    put(note, s.alerts?.length ? "times in UTC" : "");
    put(more, [s.hidden && `${count(s.hidden)} older ones are not listed.`, s.forgotten && `${count(s.forgotten)} were let go: the hub keeps the newest.`]
      .filter(Boolean).join(" "));
    more.hidden = !more.textContent || !s.alerts?.length;
    const trouble = s.answer?.text || (s.undelivered ? `${count(s.undelivered)} messages about alerts were not delivered. ${s.undelivered_reason}` : "");
    bad.hidden = !trouble;
    put(bad, trouble);
    empty.hidden = !s.empty;
    put(emptyText, s.empty?.text ?? "");
    emptyDo.hidden = !s.empty?.do;
    put(emptyDo, s.empty?.do === "new" ? "New rule" : "Show all alerts");
  }

  model.on("msg:custom", ({ download }) => {
    if (download) h("a", { href: new URL(download, document.baseURI).href, download: "" }).click();
  });
  model.on("state", paint);
  paint();
  return root;
}
