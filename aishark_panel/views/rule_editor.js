// Rule editor. state: {serial, editing, title, form, yaml, pasts, session, tried, answer}. Messages up: {look, edit, cursor,
// turn} asks what may stand where somebody types, {check: draft, field, cursor, turn} what is wrong with it; {save}, {try,
// over}, {cancel}, {close}. A draft is {form: fields} or {yaml: text}: the one that somebody types in.
//
// What is typed belongs to the person: it outlives a dialog that is drawn anew.

const ruleDrafts = new Map();

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const boxes = {};
  let mode = "form";
  let wanted = mode;
  let serial = 0;
  let changed = false;
  let stale = false;
  let checked = { faults: [], right: false, save: "Save", note: "" };
  let timer = 0;

  const title = h("h2");
  const choose = (name, text) => h("button", { type: "button", onclick: () => switchTo(name) }, text);
  const modes = { form: choose("form", "Form"), yaml: choose("yaml", "YAML") };
  const preview = rulePreview((over) => {
    stale = false;
    send({ try: draft(), over });
  }, () => send({ cancel: true }));
  const problem = h("p", { class: "bad", role: "alert" });
  const note = h("p", { class: "muted fate" });
  const save = h("button", { type: "submit", class: "primary" }, "Save");
  const leave = h("span", { class: "leave" }, "Throw away what you changed?",
    h("button", { type: "button", onclick: () => { leave.hidden = true; } }, "Go on"),
    h("button", { type: "button", class: "danger", onclick: () => close() }, "Throw it away"));

  function field(name, label, { tag = "input", help = "", asks = false, recent = () => [], options = null, ...props } = {}) {
    const input = h(options ? "select" : tag, { id: `rule-${name}`, "aria-describedby": `rule-${name}-fault`, autocomplete: "off", spellcheck: false,
      ...props, ...(options ? {} : { class: props.class ?? "" }) }, ...(options ?? []).map((value) => h("option", { value }, value)));
    const fault = h("div", { class: "fault", id: `rule-${name}-fault`, role: "status" });
    const questions = oneAtATime((question) => send(question));
    const list = asks && completion(input, { ask: (edit, cursor) => questions.ask({ look: name, edit, cursor }), recent,
      take: () => { input.focus(); edited(name); if (input.value) list.typed(); } });
    input.addEventListener("input", () => { edited(name); if (list) list.typed(); });
    input.addEventListener("blur", () => { if (list) list.close(); check(name === "yaml" ? "yaml" : ""); });
    input.addEventListener("keydown", (event) => {
      if (list && list.key(event)) event.preventDefault();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
      else if (event.key === "Enter" && tag === "textarea" && asks) event.preventDefault();
    });
    boxes[name] = { input, fault, list, questions };
    return h("div", { class: `field f-${name}` }, h("label", { htmlFor: input.id }, label, help && h("span", { class: "muted" }, help)),
      h("div", { class: "input" }, input), fault, ...(list ? [list.panel] : []));
  }

  const expression = { tag: "textarea", rows: 1, asks: true, class: "mono" };
  const used = () => rememberedFilters().recent.slice(0, 10).map((text) => ({ text, kind: "recent", meaning: "", whole: true }));
  const words = h("p", { class: "muted words" });
  const form = h("div", { class: "fields" },
    field("name", "Name", { placeholder: "many_resets", maxLength: 64, class: "mono" }),
    field("severity", "Severity", { options: ["info", "warning", "critical"] }),
    field("description", "Description", { placeholder: "What it means, in a sentence" }),
    field("where", "Where", { ...expression, help: " packets that count, as in the display filter; empty: all", placeholder: "tcp.flags.reset == 1", recent: used }),
    field("by", "By", { asks: true, class: "mono", help: " each value on its own; empty: all together", placeholder: "src_ip, dst_ip" }),
    field("over", "Over", { help: " window", placeholder: "10s", class: "mono" }),
    field("having", "Having", { ...expression, help: " what the window must hold", placeholder: "packets >= 100 and nunique(dst_port) >= 20" }),
    field("for", "For", { help: " how long it must hold", placeholder: "at once", class: "mono" }),
    field("summary", "Summary", { help: " what the list shows", placeholder: "{src_ip} sent {packets} resets" }), words,
    h("details", {}, h("summary", {}, "More: explanation, runbook, damping"),
      field("explanation", "Explanation", { tag: "textarea", rows: 3, placeholder: "Why it matters and what to look at, for whoever sees it at night" }),
      field("runbook", "Runbook", { placeholder: "https://…", type: "url" }),
      field("keep_firing_for", "Keep firing for", { help: " after it last held", placeholder: "0s", class: "mono" }),
      field("rearm", "Rearm", { help: " quiet after it was resolved", placeholder: "0s", class: "mono" })));
  const text = h("div", { class: "yaml" }, field("yaml", "One rule, as in a rules file", { tag: "textarea", class: "mono", wrap: "off" }));
  const faults = h("div", { class: "others" });
  const dialog = h("dialog", { "aria-label": "Rule" }, h("form", { onsubmit: submit, noValidate: true },
    h("header", {}, title, h("div", { class: "modes", role: "group", "aria-label": "Write it as" }, modes.form, modes.yaml),
      h("button", { type: "button", class: "close", title: "Close (Esc)", "aria-label": "Close", onclick: () => tryToLeave() }, icon("close"))),
    h("div", { class: "body" }, h("div", { class: "left" }, form, text, faults), preview.root),
    h("footer", {}, problem, note, leave, h("button", { type: "button", onclick: () => tryToLeave() }, "Cancel"), save)));

  const checks = oneAtATime((question) => send(question));
  const values = () => Object.fromEntries(Object.entries(boxes).filter(([name]) => name !== "yaml").map(([name, { input }]) => [name, input.value]));
  const draft = () => (mode === "yaml" ? { yaml: boxes.yaml.input.value } : { form: values() });

  function fill(fields, yaml) {
    for (const [name, value] of Object.entries(fields ?? {})) if (boxes[name]) boxes[name].input.value = value;
    if (yaml !== undefined) boxes.yaml.input.value = yaml;
  }

  function edited(name) {
    changed = true;
    stale = true;
    leave.hidden = true;
    ruleDrafts.set(model.id, { serial, mode, ...draft() });
    clearTimeout(timer);
    timer = setTimeout(() => check(name), 250);
    paint();
  }

  /** `name`: the field somebody is in, where what is unfinished is not wrong yet. */
  function check(name = "") {
    clearTimeout(timer);
    checks.ask({ check: draft(), field: name, cursor: boxes[name]?.input.selectionStart ?? 0 });
  }

  function submit(event) {
    event.preventDefault();
    if (!save.disabled) send({ save: draft() });
  }

  /** Once what is typed has been read; a YAML text that is none stays. */
  function switchTo(name) {
    wanted = name;
    check();
  }

  function switchNow() {
    if (wanted !== mode && (mode === "form" || checked.form)) {
      mode = wanted;
      requestAnimationFrame(() => boxes[mode === "yaml" ? "yaml" : "name"].input.focus());
    }
    wanted = mode;
  }

  function close() {
    ruleDrafts.delete(model.id);
    changed = false;
    if (dialog.open) dialog.close();
    send({ close: true });
  }

  function tryToLeave() {
    if (!changed) close();
    else {
      leave.hidden = false;
      leave.querySelector("button").focus();
    }
  }

  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    tryToLeave();
  });
  dialog.addEventListener("close", () => { if (stateOf(model).editing) close(); });

  function open(s) {
    const kept = ruleDrafts.get(model.id);
    const again = kept?.serial === s.serial;
    serial = s.serial;
    wanted = mode = again ? kept.mode : "form";
    changed = again;
    stale = false;
    leave.hidden = true;
    fill(s.form, s.yaml);
    if (again) fill(kept.form, kept.yaml);
    checked = { faults: [], right: false, save: "Save", note: "" };
    if (!dialog.open) dialog.showModal();
    check();
    (s.form.name ? boxes.where : boxes.name).input.focus();
  }

  function paintFault({ fault, input, list }, told) {
    const isBad = !!told && !told.unfinished;
    input.setAttribute("aria-invalid", isBad);
    fault.hidden = !isBad || (list && input.getRootNode().activeElement === input && input.getAttribute("aria-expanded") === "true");
    const known = JSON.stringify(told ?? null);
    if (fault.known === known) return;
    fault.known = known;
    fault.replaceChildren(...(told ? faultParts({ ...told, text: told.position === null ? "" : told.text }, (fixed) => {
      input.value = fixed;
      input.focus();
      edited(input.id.replace("rule-", ""));
    }) : []));
  }

  function paintFaults() {
    const shown = mode === "yaml" ? { yaml: boxes.yaml } : boxes;
    const rest = checked.faults.filter((told) => !shown[told.field]);
    for (const [name, box] of Object.entries(boxes)) {
      paintFault(box, mode === "yaml" ? (name === "yaml" ? checked.faults[0] : null) : checked.faults.find((told) => told.field === name));
    }
    const others = mode === "yaml" ? checked.faults.slice(1) : rest;
    faults.replaceChildren(...others.map((told) => h("p", { class: "bad" }, `${told.field}: ${told.message}`)));
  }

  function paint() {
    const s = stateOf(model);
    if (!s.editing) {
      if (dialog.open) {
        ruleDrafts.delete(model.id);
        dialog.close();
      }
      return;
    }
    if (s.serial !== serial) open(s);
    put(title, s.title);
    form.hidden = mode !== "form";
    text.hidden = mode !== "yaml";
    for (const [name, button] of Object.entries(modes)) button.setAttribute("aria-pressed", mode === name);
    paintFaults();
    put(words, checked.words?.length ? `Words for it: ${checked.words.map((word) => `{${word}}`).join(" ")}` : "");
    words.hidden = !checked.words?.length;
    preview.paint(s.tried, s.pasts, stale, checked.right);
    save.disabled = !checked.right;
    put(save, checked.save ?? "Save");
    put(note, checked.note ?? "");
    problem.hidden = !s.answer.text;
    put(problem, s.answer.text ?? "");
  }

  model.on("state", paint);
  model.on("msg:custom", (message) => {
    if (message.look !== undefined) {
      const { list, questions } = boxes[message.look];
      if (questions.answered(message.turn)) list.show(message);
    } else if (message.checked !== undefined && checks.answered(message.checked)) {
      checked = message;
      if (mode === "yaml") fill(message.form);
      else fill({}, message.yaml);
      switchNow();
      paint();
    }
  });
  model.on("remove", () => clearTimeout(timer));
  paint();
  return h("div", {}, dialog);
}
