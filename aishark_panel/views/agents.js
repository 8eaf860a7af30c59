// Agents. state: {agents: [{id, name, registered, state, since, reason, origin, here, session, live, filter, sends, packets, packets_per_s,
// interfaces: [{name, filter, packets_per_s, bits_per_s}], choice: null or {order, interfaces: [{name, up, addresses, packets_per_s,
// bits_per_s, captured, allowed}]}, lost, left_out, round_trip_ms, clock_offset_ms, answer: {order, kind, text}}],
// profiles: [{name, text}], profile_answer, wizard, may, problem}

export function render({ model }) {
  const list = h("ul", { class: "list", "aria-label": "Agents" });
  const note = h("span", { class: "muted" });
  const problem = h("p", { class: "problem", role: "alert" });
  const send = (message) => model.send_msg(message);
  const adding = () => send({ wizard: "open" });
  const add = h("button", { class: "primary", onclick: adding }, icon("add"), "Add an agent");
  const addFirst = h("button", { class: "primary", onclick: adding }, icon("add"), "Add an agent");
  const emptyText = h("p");
  const empty = h("div", { class: "empty" }, emptyText, addFirst);
  const wizard = agentWizard(send);
  const profiles = agentProfiles(send);
  const root = h("section", { class: "root", "aria-label": "Agents" },
    h("div", { class: "heading" }, h("b", {}, "Agents"), note, h("span", { class: "spacer" }), add), problem,
    h("div", { class: "scroll" }, wizard.root, list, empty, profiles.root));

  const figure = (cls, unit) => h("span", { class: `figure ${cls}` }, h("b"), h("span", { class: "muted" }, unit));

  function agent(first) {
    const state = h("span", { class: "doing" });
    const origin = h("span", { class: "muted" });
    const reason = h("span", { class: "why" });
    const interfaces = h("span", { class: "interfaces" });
    const [rate, packets, lost, left, trip, clock] = [figure("rate", "packets/s"), figure("packets", "packets"), figure("lost", "lost"),
      figure("left", "left out"), figure("trip", "ms round trip"), figure("clock", "clock")];
    const controls = agentControls(send, () => stateOf(model), first);
    const sends = h("span", { class: "sends", title: "What it leaves out of what it captures" });
    const advice = h("p", { class: "advice" });
    const status = copyBox("the command");
    status.set("aishark agent --status");
    const newKey = h("button", { title: `Give ${first.name} another key, and show how to start it`, onclick: () => send({ new_key: first.id }) }, "New key …");
    const forget = h("button", { class: "danger" }, icon("close"), "Remove");
    const question = menu(forget, h("div", { class: "menu" }, h("p", {}, `Remove ${first.name}? Its key is good no longer, and its connection ends. What it sent stays.`),
      h("div", { class: "buttons" }, h("button", { onclick: () => question.hidePopover() }, "Keep"),
        h("button", { class: "danger", onclick: () => { question.hidePopover(); send({ forget: first.id }); } }, "Remove"))));
    const away = h("div", { class: "away" }, advice, status.root, h("div", { class: "line" }, newKey, forget, question));
    const answer = h("p", { class: "answer", role: "status" });
    const element = h("li", { class: "agent" },
      h("div", { class: "line" }, h("i", { class: "lamp" }), h("b", {}, first.name), state, origin, reason),
      h("div", { class: "line figures" }, rate, packets, lost, left, trip, clock, sends, interfaces), ...controls.parts, away, answer);
    return { element, fill(item) {
      element.dataset.state = item.state;
      put(state, item.state === "capturing" && !item.here ? `capturing into ${item.session}` : item.state);
      put(origin, item.origin);
      put(reason, item.reason);
      rate.hidden = item.state !== "capturing" || item.packets_per_s === null;
      put(rate.firstChild, si(item.packets_per_s ?? 0, ""));
      packets.hidden = lost.hidden = item.state === "offline" && !item.packets;
      put(packets.firstChild, count(item.packets));
      put(lost.firstChild, count(item.lost));
      lost.title = item.lost ? "Dropped by the kernel or because the agent's memory was full" : "no packet is known to be lost";
      lost.classList.toggle("bad", item.lost > 0);
      left.hidden = !item.left_out;
      put(left.firstChild, count(item.left_out));
      left.title = "By sampling or a rate limit, as it was told to";
      trip.hidden = !item.round_trip_ms || item.state === "offline";
      put(trip.firstChild, String(item.round_trip_ms));
      const off = Math.abs(item.clock_offset_ms);
      clock.hidden = !off || item.state === "offline";
      put(clock.firstChild, off < 1000 ? `${off} ms` : `${si(off / 1000, "")} s`);
      put(clock.lastChild, item.clock_offset_ms > 0 ? " slow" : " fast");
      clock.title = "How far this host's clock is from the hub's. Packets of several agents are merged by the hub's clock; their times stay as they are.";
      clock.classList.toggle("bad", off >= 1000);
      put(sends, item.sends);
      sends.hidden = !item.sends;
      keyed(interfaces, item.interfaces, (each) => each.name, network);
      controls.fill(item);
      const offline = item.state === "offline";
      away.hidden = !stateOf(model).may || !item.registered;
      advice.hidden = status.root.hidden = !offline;
      newKey.hidden = !offline;
      put(advice, item.since ? `Last seen ${item.since}. On its host this says how it is, and starting it again is enough: it knows its key.`
        : "It has not said hello yet. If its key is gone, give it another one; if it was started, its host says here what is wrong:");
      answer.hidden = !item.answer?.text;
      answer.className = `answer ${item.answer?.kind ?? ""}`;
      put(answer, item.answer?.text ?? "");
    } };
  }

  function network({ name }) {
    const rate = h("span", { class: "muted" });
    const code = h("code");
    return { element: h("span", { class: "interface" }, h("span", { class: "mono" }, name), rate,
      h("span", { class: "bpf", title: "Capture filter in force: what the agent takes at all" }, h("span", {}, "capture filter"), code)),
    fill(item) {
      rate.hidden = item.packets_per_s === null;
      put(rate, item.packets_per_s === null ? "" : `${si(item.packets_per_s, "")} packets/s, ${si(item.bits_per_s, "bit/s")}`);
      code.title = item.filter;
      put(code, item.filter || "none");
    } };
  }

  function paint() {
    const { agents = [], problem: why = "", may } = stateOf(model);
    wizard.paint(stateOf(model).wizard);
    profiles.paint(stateOf(model));
    add.hidden = !may || !agents.length || !!stateOf(model).wizard;
    addFirst.hidden = !may;
    const connected = agents.filter((each) => each.state !== "offline").length;
    keyed(list, agents, (each) => each.id, agent);
    put(note, agents.length ? `${count(connected)} of ${count(agents.length)} connected` : "");
    problem.hidden = !why;
    put(problem, why);
    empty.hidden = agents.length > 0 || !!why || !!stateOf(model).wizard;
    put(emptyText, may ? "No agent is registered or connected. Add one for the host whose traffic you want to see."
      : "No agent is yours. Whoever runs this hub can let you capture: aishark user add, or aishark token issue, with --may view,capture.");
  }

  model.on("state", paint);
  paint();
  return root;
}
