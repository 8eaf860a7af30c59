// Agents. state: {agents: [{id, name, state, reason, origin, here, session, interfaces: [{name, filter}], filter, packets,
// live, choice: null or {order, interfaces: [{name, up, addresses, packets_per_s, bits_per_s, captured, allowed}]},
// packets_per_s, lost, left_out, round_trip_ms, clock_offset_ms, answer: {order, kind, text}}], profiles: [{name, text}], problem, hub}

export function render({ model }) {
  const list = h("ul", { class: "list", "aria-label": "Agents" });
  const note = h("span", { class: "muted" });
  const problem = h("p", { class: "problem", role: "alert" });
  const command = h("code", { class: "example" });
  const empty = h("div", { class: "empty" },
    h("p", {}, "No agent is registered or connected. Start one on the host whose traffic you want to see:"), command,
    h("p", { class: "muted" }, "AISHARK_TOKEN holds the hub's token, or a key of the agent's own: aishark agents register NAME."));
  const root = h("section", { class: "root", "aria-label": "Agents" },
    h("div", { class: "heading" }, h("b", {}, "Agents"), note), problem, h("div", { class: "scroll" }, list, empty));

  const figure = (cls, unit) => h("span", { class: `figure ${cls}` }, h("b"), h("span", { class: "muted" }, unit));

  function controls({ id, name }) {
    let known = 0;
    let sent = null;
    const filter = h("input", { type: "text", class: "mono", spellcheck: false, autocomplete: "off", autocapitalize: "off",
      placeholder: "capture filter (BPF), e.g. tcp port 443", "aria-label": `Capture filter of ${name}`,
      title: "Capture filter (BPF): what the agent takes at all. Empty: what its own configuration says.",
      oninput: () => { filter.dataset.edited = filter.value !== filter.dataset.known; } });
    const profile = h("select", { "aria-label": `Profile for ${name}`, onchange: () => {
      profile.title = profile.selectedOptions[0].dataset.text ?? "";
    } });
    const boxes = h("div", { class: "boxes" });
    const choice = h("fieldset", { class: "choice", hidden: true, oninput: () => { choice.dataset.edited = true; } },
      h("legend", { class: "muted" }, "interfaces; none: as its own configuration says"), boxes);
    const chosen = () => choice.dataset.edited === "true"
      ? [...boxes.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value) : null;
    const send = (here) => {
      // A filter that was not touched leaves the word to the profile, if one is chosen.
      const wanted = profile.value && filter.dataset.edited !== "true" ? null : filter.value.trim();
      sent = known;
      model.send_msg({ start: id, filter: wanted, profile: profile.value, here, interfaces: chosen() });
    };
    const attempt = h("button", { type: "button", class: "try", title: `Say what share of the traffic on ${name} this filter would keep; changes nothing`,
      onclick: () => model.send_msg({ try: id, filter: filter.value.trim() }) }, "Try");
    const choose = h("button", { type: "button", class: "choose", title: `List the interfaces of ${name}, with what passes them`,
      onclick: () => model.send_msg({ interfaces: id }) }, "Interfaces …");
    const start = h("button", { class: "start", type: "submit" });
    const stop = h("button", { type: "button", title: `Stop ${name}`, onclick: () => model.send_msg({ stop: id }) }, icon("stop"), "Stop");
    const here = h("button", { type: "button", title: `Let ${name} capture into the session that is shown`, onclick: () => send(true) }, "Capture here");
    const form = h("form", { class: "controls", onsubmit: (event) => { event.preventDefault(); send(false); } },
      h("label", { class: "filter" }, h("span", { class: "muted" }, "capture filter"), filter), attempt, choose, profile, start, stop, here);
    function fillChoice(given) {
      choice.hidden = !given;
      if ((given?.order ?? "") === choice.dataset.order) return;
      choice.dataset.order = given?.order ?? "";
      choice.dataset.edited = false;
      boxes.replaceChildren(...(given?.interfaces ?? []).map((each) => {
        const box = h("input", { type: "checkbox", value: each.name, checked: each.captured, disabled: !each.allowed });
        const rate = each.up ? `${si(each.packets_per_s, "")} packets/s, ${si(each.bits_per_s, "bit/s")}` : "down";
        return h("label", { title: each.allowed ? each.addresses.join(" ") : "The owner of the host does not allow it." },
          box, h("span", { class: "mono" }, each.name), h("span", { class: "muted" }, rate));
      }));
    }
    return { form, choice, fill(item) {
      fillChoice(item.choice);
      const connected = item.state !== "offline";
      const capturing = item.state === "capturing";
      const waiting = item.answer?.kind === "waiting";
      known = item.answer?.order ?? 0;
      if (sent !== null && known > sent && !waiting) {
        // What the agent refused stays in the box, to be corrected.
        if (item.answer.kind === "good") {
          filter.dataset.edited = false;
          profile.value = "";
        }
        sent = null;
      }
      form.hidden = item.state === "ended";
      if (filter.dataset.edited !== "true" && root.getRootNode().activeElement !== filter) filter.value = item.filter;
      filter.dataset.known = item.filter;
      const key = JSON.stringify(model.state.profiles);
      if (profile.dataset.key !== key) {
        profile.dataset.key = key;
        const chosen = profile.value;
        profile.replaceChildren(h("option", { value: "" }, "no profile"), ...(model.state.profiles ?? []).map((each) =>
          h("option", { value: each.name, title: each.text, "data-text": each.text }, each.name)));
        profile.value = [...profile.options].some((option) => option.value === chosen) ? chosen : "";
      }
      profile.hidden = profile.options.length < 2;
      const text = capturing ? "Apply" : "Start";
      if (start.textContent !== text) start.replaceChildren(...(capturing ? [] : [icon("record")]), text);
      start.title = capturing ? `Go on with this filter on ${item.name}` : `Start ${item.name}`;
      start.setAttribute("aria-label", start.title);
      start.classList.toggle("primary", !capturing);
      stop.setAttribute("aria-label", stop.title);
      stop.hidden = !capturing;
      here.hidden = item.here || !connected;
      attempt.hidden = choose.hidden = !item.live;
      choice.disabled = !connected || waiting;
      for (const control of [filter, attempt, choose, profile, start, stop, here]) control.disabled = !connected || waiting;
    } };
  }

  function agent(first) {
    const state = h("span", { class: "doing" });
    const origin = h("span", { class: "muted" });
    const reason = h("span", { class: "why" });
    const interfaces = h("span", { class: "interfaces" });
    const [rate, packets, lost, left, trip, clock] = [figure("rate", "packets/s"), figure("packets", "packets"), figure("lost", "lost"),
      figure("left", "left out"), figure("trip", "ms round trip"), figure("clock", "clock")];
    const form = controls(first);
    const answer = h("p", { class: "answer", role: "status" });
    const element = h("li", { class: "agent" },
      h("div", { class: "line" }, h("i", { class: "lamp" }), h("b", {}, first.name), state, origin, reason),
      h("div", { class: "line figures" }, rate, packets, lost, left, trip, clock, interfaces), form.form, form.choice, answer);
    return { element, fill(item) {
      element.dataset.state = item.state;
      put(state, item.state === "capturing" && !item.here ? `capturing into ${item.session}` : item.state);
      put(origin, item.origin);
      put(reason, item.reason);
      rate.hidden = item.state !== "capturing" || item.packets_per_s === null;
      put(rate.firstChild, si(item.packets_per_s ?? 0, ""));
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
      const key = JSON.stringify(item.interfaces);
      if (key !== interfaces.dataset.key) {
        interfaces.dataset.key = key;
        interfaces.replaceChildren(...item.interfaces.map((each) => h("span", { class: "interface" }, h("span", { class: "mono" }, each.name),
          h("span", { class: "bpf", title: "Capture filter in force: what the agent takes at all" },
            h("span", {}, "capture filter"), h("code", { title: each.filter }, each.filter || "none")))));
      }
      form.fill(item);
      answer.hidden = !item.answer?.text;
      answer.className = `answer ${item.answer?.kind ?? ""}`;
      put(answer, item.answer?.text ?? "");
    } };
  }

  function paint() {
    const { agents = [], problem: why = "", hub = "" } = model.state;
    const connected = agents.filter((each) => each.state !== "offline").length;
    keyed(list, agents, (each) => each.id, agent);
    put(note, agents.length ? `${count(connected)} of ${count(agents.length)} connected` : "");
    problem.hidden = !why;
    put(problem, why);
    empty.hidden = agents.length > 0 || !!why;
    put(command, `AISHARK_TOKEN=… aishark agent --hub ${hub} --interface eth0`);
  }

  model.on("state", paint);
  paint();
  return root;
}
