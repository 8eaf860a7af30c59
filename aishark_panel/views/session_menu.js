/** The session shown, and a menu of all others, of making a new one and of opening a capture file. */
function sessionMenu(send) {
  const name = h("span");
  const button = h("button", { class: "session", title: "Choose a session, make one, or open a capture file", "aria-label": "Session" },
    name, h("i", { class: "arrow" }, "▾"));
  const list = h("ul", { class: "sessions", "aria-label": "Sessions" });
  const created = h("input", { type: "text", placeholder: "name of a new session", "aria-label": "Name of the new session", maxLength: 200 });
  const form = h("form", { class: "new", onsubmit: (event) => {
    event.preventDefault();
    send({ create: created.value.trim() });
    created.value = "";
    panel.hidePopover();
  } }, created, h("button", { type: "submit" }, icon("add"), "New session"));
  const file = h("input", { type: "file", hidden: true, "aria-label": "Capture file", onchange: () => {
    if (file.files.length) upload(file.files[0]);
    file.value = "";
  } });
  const open = h("button", { class: "open", onclick: () => file.click() }, icon("file"), "Open a capture file");
  const dropHint = h("span", { class: "muted" }, "or drop one anywhere on the page");
  const openLine = h("div", { class: "new" }, open, dropHint, file);
  const who = h("span", { class: "muted" });
  const logOutButton = h("button", { onclick: logOut }, "Log out");
  const person = h("div", { class: "new person" }, who, logOutButton);
  const panel = menu(button, h("div", { class: "menu wide" }, h("h2", {}, "Sessions"), list, form, openLine, person), null, true);

  const progressText = h("span");
  const bar = h("progress", { max: 1 });
  const dismiss = h("button", { class: "dismiss", onclick: () => {
    if (running) running.abort();
    else progress.hidden = true;
  } }, icon("close"));
  const progress = h("div", { class: "upload", role: "status", hidden: true }, progressText, bar, dismiss);
  const veil = h("div", { class: "veil", hidden: true }, "Drop a capture file to open it as a new session");
  let running = null;
  let allowed = false;

  async function logOut() {
    await fetch(new URL("logout", document.baseURI), { method: "POST" }).catch(() => null);
    location.reload();
  }

  function show(kind, text, share) {
    progress.hidden = false;
    progress.dataset.kind = kind;
    put(progressText, text);
    bar.hidden = share === undefined;
    if (share !== undefined) bar.value = share;
    dismiss.title = running ? "Give it up" : "Close";
    dismiss.setAttribute("aria-label", `${dismiss.title}: upload`);
  }

  async function upload(chosen) {
    if (running) return;
    panel.hidePopover();
    running = new AbortController();
    show("busy", `Sending ${chosen.name} …`, 0);
    try {
      const status = await uploadFile(chosen, ({ state, size, offset, progress: share }) => show("busy", state === "parsing"
        ? `Reading ${chosen.name} …` : `Sending ${chosen.name}: ${si(offset, "B")} of ${si(size, "B")}`, share), running.signal);
      running = null;
      send({ session: status.session });
      if (status.warning) show("warn", `${chosen.name}: ${count(status.packets)} packets. ${status.warning}`);
      else progress.hidden = true;
    } catch (error) {
      const given_up = error.name === "AbortError";
      running = null;
      if (given_up) progress.hidden = true;
      else show("bad", `${chosen.name} was not opened: ${error.message}`);
    }
  }

  const holdsFile = (event) => allowed && event.dataTransfer?.types.includes("Files");
  const over = (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    veil.hidden = false;
  };
  const leave = (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  };
  const drop = (event) => {
    if (!holdsFile(event)) return;
    event.preventDefault();
    veil.hidden = true;
    if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  };
  const sent = (event) => { if (allowed) upload(event.detail); };
  const listeners = { dragover: over, dragleave: leave, drop, "aishark:upload": sent };
  for (const [type, listener] of Object.entries(listeners)) window.addEventListener(type, listener);

  function line({ id }) {
    const label = h("b");
    const facts = h("span", { class: "muted" });
    const choose = h("button", { onclick: () => { send({ session: id }); panel.hidePopover(); } }, h("i", { class: "lamp" }), label, facts);
    return { element: h("li", {}, choose), fill(item) {
      choose.setAttribute("aria-current", item.current);
      choose.dataset.kind = item.state;
      put(label, item.name);
      const owner = item.owner && item.several ? `of ${item.owner}, ` : "";
      put(facts, `${owner}${item.state === "capturing" ? "live" : item.state}, ${count(item.packets)} packets`);
    } };
  }

  return {
    parts: [panel, veil], button, progress,
    paint(s) {
      const sessions = s.sessions ?? [];
      const current = sessions.find((each) => each.id === s.session);
      // The default session alone needs no name: the state beside it says all.
      const plain = sessions.length < 2 && (!current || current.name === s.default_session);
      put(name, plain ? "Session" : current?.name ?? "");
      button.classList.toggle("plain", plain);
      button.title = `${current ? `${current.name}\n` : ""}Choose a session, make one, or open a capture file`;
      const several = new Set(sessions.map((each) => each.owner)).size > 1;
      keyed(list, sessions.map((each) => ({ ...each, several, current: each.id === s.session })).reverse(), (each) => each.id, line);
      allowed = !!s.uploads && s.connected && s.makes;
      form.hidden = !s.makes;
      openLine.hidden = !s.uploads || !s.makes;
      person.hidden = !s.person || !s.uploads;
      put(who, `You are ${s.person}.`);
    },
    remove() {
      for (const [type, listener] of Object.entries(listeners)) window.removeEventListener(type, listener);
      running?.abort();
    },
  };
}
