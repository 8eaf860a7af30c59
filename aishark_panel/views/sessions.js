// Sessions. state: {sessions: [{id, name, owner, state, source, packets, kept, kept_bytes, agents, may, started, answer}], shown,
// open (id), makes, person, uploads, filter, formats, recordings, shares, links, made, making, agents, profiles, answer, problem}

const SESSION_STATES = { capturing: "live", waiting: "waiting", stopped: "stopped", ended: "ended" };

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const note = h("span", { class: "muted" });
  const create = h("button", { class: "primary", onclick: () => send({ making: true }) }, icon("add"), "New session");
  const file = h("input", { type: "file", hidden: true, "aria-label": "File to open", onchange: () => {
    // The header sends it: its line shows how far it is, whichever tab is in sight.
    if (file.files.length) window.dispatchEvent(new CustomEvent("aishark:upload", { detail: file.files[0] }));
    file.value = "";
  } });
  const upload = h("button", { onclick: () => file.click(), title: "A capture file becomes a session; it can also be dropped anywhere on the page" },
    icon("file"), "Open a capture file");
  const fresh = newSession(send, () => stateOf(model));
  const columns = h("div", { class: "row head", role: "row" }, ...["Session", "State", "Packets", "Kept", "Agents", "First packet", ""].map((text) =>
    h("span", { role: "columnheader" }, text)));
  const list = h("ul", { class: "list", "aria-label": "Sessions" });
  const empty = h("div", { class: "empty" });
  const root = h("section", { class: "root", "aria-label": "Sessions" },
    h("div", { class: "heading" }, h("b", {}, "Sessions"), note, h("span", { class: "spacer" }), create, upload, file),
    h("div", { class: "scroll" }, fresh.root, columns, list, empty));

  /** A question below a button, before something that cannot be undone. */
  function asking(button, question, yes, act) {
    const text = h("p");
    const panel = menu(button, h("div", { class: "menu" }, text, h("div", { class: "buttons" },
      h("button", { onclick: () => panel.hidePopover() }, "Keep"),
      h("button", { class: "danger", onclick: () => { panel.hidePopover(); act(); } }, yes))), () => put(text, question()));
    return panel;
  }

  /** What throws packets of a session away; `now()` tells of it. */
  function packetsPart(now) {
    const { id, name } = now();
    const clear = h("button", {}, icon("clear"), "Clear");
    const remove = h("button", { class: "danger" }, icon("close"), "Delete");
    return h("div", { class: "part" }, h("h3", {}, "Packets"), h("div", { class: "line" }, clear, remove,
      asking(clear, () => `Forget the ${count(now().kept)} packets of '${name}' that the hub keeps? The session goes on; they cannot be brought back.`, "Clear", () => send({ clear: id })),
      asking(remove, () => `Delete '${name}' with its ${count(now().kept)} packets, its shares and links? Its agents stop. Recorded files stay.`, "Delete", () => send({ delete: id }))));
  }

  function session(first) {
    let now = first;
    const { id, name } = first;
    const title = h("button", { class: "name", onclick: () => send({ show: id }) }, h("b", {}, name), h("span", { class: "muted" }));
    const state = h("span", { class: "how" }, h("i", { class: "lamp" }), h("span"));
    const [packets, kept, agents, started] = ["packets", "kept", "feeders", "started"].map((cls) => h("span", { class: cls }));
    const run = h("button", { class: "run", onclick: () => send({ [now.state === "stopped" ? "start" : "stop"]: id }) });
    const more = h("button", { class: "more", "aria-label": `More of ${name}`, title: "Recordings, sharing, clearing and deleting",
      onclick: () => send({ open: stateOf(model).open === id ? "" : id }) }, icon("more"));
    const answer = h("p", { class: "answer", role: "status" });
    const inside = h("div", { class: "inside", hidden: true });
    let parts = null; // of an open session only: there may be many
    const element = h("li", { class: "one" }, h("div", { class: "row" }, title, state, packets, kept, agents, started,
      h("span", { class: "actions" }, run, more)), answer, inside);
    return { element, fill(item) {
      now = item;
      const s = stateOf(model);
      const may = (right) => item.may.includes(right) || item.may.includes("admin");
      const isOpen = s.open === id;
      element.dataset.state = item.state;
      element.classList.toggle("shown", s.shown === id);
      title.title = s.shown === id ? "This session is shown" : `Show ${name}`;
      title.setAttribute("aria-current", s.shown === id);
      put(title.lastChild, [item.owner && item.owner !== s.person ? `of ${item.owner}` : "", s.shown === id ? "shown" : ""].filter(Boolean).join(", "));
      put(state.lastChild, SESSION_STATES[item.state] ?? item.state);
      put(packets, count(item.packets));
      packets.title = `${count(item.kept)} kept of ${count(item.packets)} that came`;
      put(kept, si(item.kept_bytes, "B"));
      kept.title = `${count(item.kept)} packets in the hub's memory`;
      put(agents, item.agents.join(", ") || "none");
      agents.title = item.agents.join("\n");
      put(started, item.started || "none yet");
      const stopped = item.state === "stopped";
      run.hidden = !may("capture") || item.state === "ended";
      const label = stopped ? "Start" : "Stop";
      if (run.textContent !== label) run.replaceChildren(icon(stopped ? "record" : "stop"), label);
      run.setAttribute("aria-label", `${label} ${name}`);
      more.setAttribute("aria-expanded", isOpen);
      answer.hidden = !item.answer?.text;
      answer.className = `answer ${item.answer?.kind ?? ""}`;
      put(answer, item.answer?.text ?? "");
      inside.hidden = !isOpen;
      if (isOpen && !parts) {
        parts = { recordings: recordingsPart(send, () => ({ ...stateOf(model), session: now })), sharing: sharingPart(send), packets: packetsPart(() => now) };
        inside.append(parts.recordings.root, parts.sharing.root, parts.packets);
      }
      if (!isOpen) {
        inside.replaceChildren();
        parts = null;
        return;
      }
      parts.recordings.paint(may);
      parts.sharing.root.hidden = parts.packets.hidden = !may("capture");
      parts.sharing.paint(s);
    } };
  }

  function paintEmpty(s) {
    empty.hidden = s.sessions.length > 0;
    const key = `${s.makes} ${s.uploads} ${s.problem}`;
    if (empty.hidden || empty.dataset.key === key) return;
    empty.dataset.key = key;
    if (s.problem) empty.replaceChildren(h("p", {}, s.problem));
    else if (s.makes) empty.replaceChildren(h("p", {}, "There is no session yet. Make one, or open a capture file; an agent that comes makes one too."),
      h("button", { class: "primary", onclick: () => send({ making: true }) }, icon("add"), "New session"));
    else empty.replaceChildren(h("p", {}, "No session is yours to look at yet. Whoever owns one can share it with you:"),
      h("code", { class: "example" }, `aishark session share SESSION ${s.person || "YOUR-NAME"}`));
  }

  function paint() {
    const s = { sessions: [], ...stateOf(model) };
    create.hidden = !s.makes || s.making;
    upload.hidden = !s.uploads;
    put(note, s.sessions.length ? `${count(s.sessions.length)}, ${count(s.sessions.filter((each) => each.state === "capturing").length)} live` : "");
    columns.hidden = !s.sessions.length;
    fresh.paint(s);
    keyed(list, s.sessions, (each) => each.id, session);
    paintEmpty(s);
  }

  model.on("msg:custom", ({ download }) => {
    if (download) h("a", { href: new URL(download, document.baseURI).href, download: "" }).click();
  });
  model.on("state", paint);
  paint();
  return root;
}
