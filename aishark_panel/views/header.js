// Header: session, state, counters, actions; below it the agents with their capture filters. state: see header.py.

export function render({ model }) {
  const send = (message) => model.send_msg(message);
  const action = (name, text, title, onclick) => {
    const label = h("span", { class: "label" }, text);
    const button = h("button", { title, "aria-label": title, onclick }, icon(name), label);
    return Object.assign(button, { set(name_, text_, title_) {
      if (label.textContent === text_) return;
      button.firstChild.replaceWith(icon(name_));
      put(label, text_);
      button.title = title_;
      button.setAttribute("aria-label", title_);
    } });
  };

  const session = sessionMenu(send);
  const state = h("span", { class: "state", role: "status" }, h("i", { class: "lamp" }), h("span"));
  const badge = h("span", { class: "badge" });
  const sampled = h("span", { class: "sampled" });
  const recording = h("span", { class: "recording" }, h("i", { class: "lamp" }), "rec");
  const figure = (cls, unit) => h("span", { class: `figure ${cls}` }, h("b"), h("span", { class: "muted" }, unit));
  const rate = figure("rate", "packets/s");
  const bits = figure("bits", "");
  const total = figure("total", "packets");
  const ledger = ledgerPanel(send);
  const theme = themeButton();
  const keys = h("button", { class: "theme", title: "Keyboard (?)", "aria-label": "Keyboard", hidden: theme.hidden,
    onclick: () => window.dispatchEvent(new Event("aishark:keys")) }, "?");

  const pause = action("pause", "Pause", "Pause this page; the capture goes on", () => send({ pause: !stateOf(model).paused }));
  const wanted = () => ["capturing", "waiting"].includes(stateOf(model).capture);
  const capture = action("stop", "Stop", "Stop the capture", () => send({ capture: wanted() ? "stop" : "start" }));

  const clear = action("clear", "Clear", "Forget all packets of this session");
  const clearText = h("p");
  const clearMenu = menu(clear, h("div", { class: "menu" }, clearText,
    h("div", { class: "buttons" },
      h("button", { onclick: () => clearMenu.hidePopover() }, "Keep them"),
      h("button", { class: "danger", onclick: () => { send({ clear: true }); clearMenu.hidePopover(); } }, "Clear"))),
  () => put(clearText, `Forget the ${count(stateOf(model).kept)} packets the hub keeps? They cannot be brought back.`));

  const exports = exportMenu(send, () => stateOf(model));

  const wireshark = action("fin", "Wireshark", "Open in Wireshark");
  const command = copyBox("the command");
  const ask = () => {
    command.set("…");
    send({ export: "pcapng", shown: scope.shown, purpose: "wireshark" });
  };
  const scope = exportScope("wireshark", () => stateOf(model), ask);
  const wiresharkMenu = menu(wireshark, h("div", { class: "menu wide" }, h("h2", {}, "Open in Wireshark"),
    h("p", { class: "muted" }, "Run this where Wireshark is installed. The address works once."),
    scope.root, command.root), () => { scope.open(); ask(); });

  const agents = h("ul", { class: "agents", "aria-label": "Agents and their capture filters" });
  const reason = h("span", { class: "reason" });
  const live = h("button", { class: "live", onclick: () => send({ live: true }) }, "Back to live");
  const root = h("header", { class: "root" },
    h("div", { class: "bar" },
      h("span", { class: "brand" }, icon("fin"), "aishark"), session.button, state, badge, sampled, recording, rate, bits, total, ledger.button,
      h("div", { class: "actions", role: "toolbar", "aria-label": "Capture" }, pause, capture, clear, exports.button, wireshark, theme, keys)),
    h("div", { class: "sources" }, session.progress, reason, live, agents),
    clearMenu, exports.panel, wiresharkMenu, ledger.panel, ...session.parts);

  model.on("msg:custom", ({ download, wireshark: path }) => {
    if (download) exports.begun(download);
    if (path) {
      const url = new URL(path, document.baseURI).href.replaceAll("'", "%27");
      command.set(`curl -s '${url}' | wireshark -k -i -`);
    }
  });

  const STATES = { capturing: "live", waiting: "waiting", stopped: "stopped", ended: "ended" };

  function paintRights(may) {
    const has = (right) => may.includes(right) || may.includes("admin");
    capture.hidden = clear.hidden = !has("capture");
    exports.button.hidden = wireshark.hidden = !has("export");
  }

  function paintState(s) {
    const kind = !s.connected ? "lost" : s.paused ? "paused" : s.history ? "history" : s.capture || "waiting";
    state.dataset.kind = kind;
    put(state.lastChild, kind === "lost" ? "not connected" : kind === "paused" ? "paused by you" : STATES[kind] ?? kind);
    live.hidden = kind !== "history" || s.capture !== "capturing";
    const said = s.paused && s.connected && s.capture === "capturing" ? "This page is paused; the capture goes on." : s.reason;
    put(reason, said ?? "");
    reason.dataset.kind = kind;
    reason.hidden = !said;
    recording.hidden = !s.recordings;
    recording.title = `${count(s.recordings)} ${s.recordings === 1 ? "recording goes" : "recordings go"} on; see Sessions`;
    badge.hidden = !s.badge;
    put(badge, s.badge ?? "");
    sampled.hidden = !s.sampled;
    put(sampled, s.sampled?.text ?? "");
    sampled.title = "The agents leave out part of the traffic, as they were told to: numbers here are of what was kept.";
  }

  function paintFigures(s) {
    const moving = s.capture === "capturing";
    rate.hidden = bits.hidden = !moving;
    // What agents leave out by a known factor is estimated; by an unknown one, what came is the least there was.
    const factor = s.sampled?.factor || 1;
    const mark = !s.sampled ? "" : s.sampled.factor ? "≈ " : "≥ ";
    for (const [element, value, unit] of [[rate, s.packets_per_s ?? 0, ""], [bits, s.bits_per_s ?? 0, "bit/s"]]) {
      put(element.firstChild, mark + si(value * factor, unit));
      element.title = factor > 1 ? `An estimate: ${count(factor)} times the ${si(value, unit || "packets/s")} that were kept` : "";
    }
    put(total.firstChild, count(s.packets));
    total.title = s.evicted ? `${count(s.kept)} kept; the oldest ${count(s.evicted)} have left the ring` : "all of them are kept";
    ledger.paint(s);
  }

  function paintAgents(list) {
    const key = JSON.stringify(list);
    if (key === agents.dataset.key) return;
    agents.dataset.key = key;
    agents.replaceChildren(...list.map((agent) => h("li", { class: agent.state, title: agent.reason },
      h("i", { class: "lamp" }), h("b", {}, agent.name),
      ...agent.interfaces.flatMap((i) => [h("span", { class: "mono" }, i.name),
        h("span", { class: "bpf", title: "Capture filter (BPF): what the agent takes at all" },
          h("span", {}, "capture filter"), h("code", {}, i.filter || "none"))]),
      agent.state === "away" ? h("span", {}, "not connected") : "")));
  }

  function paint() {
    const s = stateOf(model);
    root.inert = !!s.bare;
    root.classList.toggle("bare", !!s.bare);
    session.paint(s);
    exports.paint(s);
    paintRights(s.may ?? []);
    paintState(s);
    paintFigures(s);
    if (s.paused) pause.set("play", "Resume", "Show what is new again");
    else pause.set("pause", "Pause", "Pause this page; the capture goes on");
    if (wanted()) capture.set("stop", "Stop", "Stop the capture");
    else capture.set("record", "Start", "Start the capture");
    capture.classList.toggle("primary", s.capture === "stopped");
    pause.disabled = s.capture === "ended" && !s.paused;
    capture.disabled = !s.connected || !s.session || s.capture === "ended";
    for (const button of [clear, wireshark]) button.disabled = !s.connected || !s.kept;
    exports.button.disabled = !s.connected || !s.session;
    paintAgents(s.agents ?? []);
  }

  model.on("state", paint);
  model.on("remove", session.remove);
  paint();
  return root;
}
