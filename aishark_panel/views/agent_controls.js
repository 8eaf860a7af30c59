/** How much of the traffic is sent: fields that are left empty leave it as it is. */
function agentSettings(name) {
  const number = (label, props) => {
    const input = h("input", { type: "number", "aria-label": `${label}${name}`, ...props });
    return { input, root: h("label", { class: "setting" }, h("span", { class: "muted" }, label.trim()), input) };
  };
  const choice = (label, options) => {
    const input = h("select", { "aria-label": `${label}${name}` }, h("option", { value: "" }, "as it is"), ...options.map((each) => h("option", { value: each }, each)));
    return { input, root: h("label", { class: "setting" }, h("span", { class: "muted" }, label.trim()), input) };
  };
  const fields = {
    snaplen: number("bytes a packet ", { min: 14, max: 262144, placeholder: "snaplen", title: "Snaplen: most bytes kept of a frame, 14 to 262,144" }),
    payload: choice("payload ", ["full", "headers", "none"]),
    sampling: number("one in ", { min: 1, placeholder: "sampling", title: "Every how many-th packet, or conversation, is sent; 1: all" }),
    sampling_by: choice("sampled by ", ["packet", "conversation"]),
    max_packets_per_second: number("at most packets/s ", { min: 0, placeholder: "no limit", title: "What goes beyond it is left out and counted; 0: no limit" }),
  };
  const root = h("div", { class: "settings" }, ...Object.values(fields).map((each) => each.root));
  return {
    root,
    get values() {
      return Object.fromEntries(Object.entries(fields).filter(([, { input }]) => input.value !== "")
        .map(([key, { input }]) => [key, input.type === "number" ? Math.round(Number(input.value)) : input.value]));
    },
    clear() {
      for (const { input } of Object.values(fields)) input.value = "";
    },
  };
}

/** What one can ask of an agent: its capture filter, interfaces, a profile, how much it sends, to start and to stop. */
function agentControls(send, state, { id, name }) {
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
  const settings = agentSettings(`for ${name}`);
  const more = h("div", { class: "more", hidden: true }, settings.root);
  const order = (here) => {
    // A filter that was not touched leaves the word to the profile, if one is chosen.
    const wanted = profile.value && filter.dataset.edited !== "true" ? null : filter.value.trim();
    sent = known;
    send({ start: id, filter: wanted, profile: profile.value, here, interfaces: chosen(), settings: settings.values });
  };
  const attempt = h("button", { type: "button", class: "try", title: `Check this filter, and say what share of the traffic on ${name} it would keep; changes nothing`,
    onclick: () => send({ try: id, filter: filter.value.trim() }) }, "Try");
  const choose = h("button", { type: "button", class: "choose", title: `List the interfaces of ${name}, with what passes them`,
    onclick: () => send({ interfaces: id }) }, "Interfaces …");
  const sampling = h("button", { type: "button", class: "sampling", title: `How much of each packet, and of how many, ${name} sends`, "aria-expanded": false, onclick: () => {
    more.hidden = !more.hidden;
    sampling.setAttribute("aria-expanded", !more.hidden);
  } }, "Amount …");
  const start = h("button", { class: "start", type: "submit" });
  const stop = h("button", { type: "button", title: `Stop ${name}`, onclick: () => send({ stop: id }) }, icon("stop"), "Stop");
  const here = h("button", { type: "button", title: `Let ${name} capture into the session that is shown`, onclick: () => order(true) }, "Capture here");
  const form = h("form", { class: "controls", onsubmit: (event) => { event.preventDefault(); order(false); } },
    h("label", { class: "filter" }, h("span", { class: "muted" }, "capture filter"), filter), attempt, choose, sampling, profile, start, stop, here);

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

  function fillProfiles(profiles) {
    const key = JSON.stringify(profiles);
    if (profile.dataset.key === key) return;
    profile.dataset.key = key;
    const before = profile.value;
    profile.replaceChildren(h("option", { value: "" }, "no profile"), ...profiles.map((each) =>
      h("option", { value: each.name, title: each.text, "data-text": each.text }, each.name)));
    profile.value = [...profile.options].some((option) => option.value === before) ? before : "";
  }

  return { parts: [form, more, choice], fill(item) {
    const { profiles = [], may } = state();
    fillChoice(item.choice);
    fillProfiles(profiles);
    const connected = item.state !== "offline";
    const capturing = item.state === "capturing";
    const waiting = item.answer?.kind === "waiting";
    known = item.answer?.order ?? 0;
    if (sent !== null && known > sent && !waiting) {
      // What the agent refused stays in the box, to be corrected.
      if (item.answer.kind === "good") {
        filter.dataset.edited = false;
        profile.value = "";
        settings.clear();
      }
      sent = null;
    }
    form.hidden = !may || !connected || item.state === "ended";
    if (form.hidden) more.hidden = choice.hidden = true;
    if (filter.dataset.edited !== "true" && filter.getRootNode().activeElement !== filter) filter.value = item.filter;
    filter.dataset.known = item.filter;
    profile.hidden = profile.options.length < 2;
    const text = capturing ? "Apply" : "Start";
    if (start.textContent !== text) start.replaceChildren(...(capturing ? [] : [icon("record")]), text);
    start.title = capturing ? `Go on with this filter on ${item.name}` : `Start ${item.name}`;
    start.setAttribute("aria-label", start.title);
    start.classList.toggle("primary", !capturing);
    stop.setAttribute("aria-label", stop.title);
    stop.hidden = !capturing;
    here.hidden = item.here;
    attempt.hidden = choose.hidden = !item.live;
    for (const control of [filter, attempt, choose, sampling, profile, start, stop, here]) control.disabled = waiting;
  } };
}
