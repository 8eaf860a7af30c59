/** The list under a text box (ARIA's combobox pattern). Arrow keys go through it, Tab and Enter take what they chose, Esc
 *  closes it. Nothing is chosen by itself, so that Enter means what it means without a list.
 *
 *  `ask(text, cursor)` is called when something was typed; `show(answer)` shows what came back; `take(text, cursor)` hears
 *  of the new text. `recent()` gives whole texts for an empty box: [{text, kind, meaning, whole}]. */
function completion(input, { ask, take, recent }) {
  const id = `${input.id}-choices`;
  const list = h("ul", { id, role: "listbox", "aria-label": "What can stand here", class: "choices" });
  const note = h("p", { class: "note", hidden: true });
  const panel = h("div", { class: "completion", popover: "manual", onmousedown: (event) => event.preventDefault() }, list, note);
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": id, "aria-expanded": "false" })) {
    input.setAttribute(name, value);
  }
  let choices = [];
  let from = 0;
  let to = 0;
  let at = -1;
  let wanted = false;

  const isOpen = () => panel.matches(":popover-open");

  function close() {
    wanted = false;
    if (isOpen()) panel.hidePopover();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    at = -1;
  }

  function open() {
    if (!input.isConnected) return;
    if (!isOpen()) panel.showPopover();
    const box = input.parentElement.getBoundingClientRect();
    panel.style.top = `${box.bottom + 4}px`;
    panel.style.left = `${box.left}px`;
    panel.style.width = `${Math.min(box.width, 760)}px`;
    input.setAttribute("aria-expanded", "true");
  }

  function choose(index) {
    at = index;
    [...list.children].forEach((each, place) => each.setAttribute("aria-selected", place === at));
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[at].id);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function accept(index) {
    const { text, kind, whole } = choices[index];
    if (whole) {
      input.value = text;
    } else {
      // A space leads on to what comes next; behind a bracket or at the end of a condition it would be in the way.
      const space = /[([]$/.test(text) || kind === "protocol name" || input.value[to] === " " ? "" : " ";
      input.value = input.value.slice(0, from) + text + space + input.value.slice(to);
      const end = from + text.length + space.length;
      input.setSelectionRange(end, end);
    }
    close();
    wanted = !whole;
    take();
  }

  function fill(items) {
    choices = items;
    list.replaceChildren(...items.map(({ text, kind, meaning }, index) => h("li", {
      id: `${id}-${index}`, role: "option", "aria-selected": "false", title: meaning, onclick: () => accept(index),
    }, h("code", {}, text), h("span", { class: "kind" }, kind), h("span", { class: "meaning" }, meaning))));
    list.hidden = !items.length;
    list.scrollTop = 0;
    at = -1;
    input.removeAttribute("aria-activedescendant");
  }

  function say(text, bad) {
    put(note, text);
    note.hidden = !text;
    note.classList.toggle("bad", bad);
  }

  return {
    panel, close,
    /** Something was typed. */
    typed() {
      wanted = true;
      ask(input.value, input.selectionStart ?? input.value.length);
    },
    show({ start, end, choices: items, fault }) {
      if (!wanted) return;
      [from, to] = [start, end];
      fill(items);
      say(fault?.message ?? "", true);
      if (items.length || fault) open();
      else if (isOpen()) panel.hidePopover();
    },
    /** True if the key was for the list. */
    key(event) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && !isOpen()) {
        const items = input.value.trim() ? [] : recent();
        wanted = true;
        if (items.length) {
          fill(items);
          say("", false);
          open();
        } else ask(input.value, input.selectionStart ?? input.value.length);
        return true;
      }
      if (!isOpen()) return false;
      if (step && choices.length) {
        choose((at + step + choices.length + (at < 0 && step < 0 ? 1 : 0)) % choices.length);
        return true;
      }
      if (event.key === "Escape") {
        close();
        return true;
      }
      const first = event.key === "Tab" && !event.shiftKey && choices.length && from < to ? 0 : -1;
      if (["Enter", "Tab"].includes(event.key) && (at >= 0 || first >= 0)) {
        accept(at >= 0 ? at : first);
        return true;
      }
      return false;
    },
  };
}

/** Asks one question at a time, the latest wish winning: a slow hub is not asked for each letter. `send` gets the question
 *  with its `turn`, which the answer must carry. */
function oneAtATime(send) {
  let turn = 0;
  let asked = 0;
  let next = null;

  function go() {
    if (!next) return;
    turn += 1;
    asked = performance.now();
    send({ ...next, turn });
    next = null;
  }

  return {
    ask(question) {
      next = question;
      if (performance.now() - asked > 3000) go();
    },
    /** Whether that is the turn of the question asked last; asks the next one. */
    answered(which) {
      asked = 0;
      if (next) go();
      else return which === turn;
      return false;
    },
    /** Answers to what was asked before come too late. */
    forget() { turn += 1; },
  };
}

/** What is wrong, where, and a button for what was probably meant: {text, message, position, fix}. Of a text of several
 *  lines the one is shown that it is in. */
function faultParts({ text, message, position, fix }, use) {
  const at = position ?? text.length;
  const from = text.lastIndexOf("\n", at - 1) + 1;
  const end = text.indexOf("\n", at);
  const line = text.slice(from, end < 0 ? text.length : end);
  const place = at - from;
  return [h("span", {}, message),
    ...(text ? [h("code", { class: "where" }, line.slice(0, place), h("mark", {}, line.slice(place, place + 1) || " "), line.slice(place + 1))] : []),
    ...(fix ? [h("button", { type: "button", class: "fix", onclick: () => use(fix) }, "use", h("code", {}, fix))] : [])];
}
