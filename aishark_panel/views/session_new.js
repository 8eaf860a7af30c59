/** The form of a new session: its name, which agents are to capture into it, and what. */
function newSession(send, state) {
  const name = h("input", { type: "text", placeholder: "name; empty: the time", "aria-label": "Name of the session", maxLength: 200 });
  const boxes = h("div", { class: "boxes" });
  const none = h("p", { class: "muted" }, "No agent is connected. The session waits for one that names it: aishark agent --session NAME. The tab Agents adds one.");
  const filter = h("input", { type: "text", class: "mono", spellcheck: false, autocomplete: "off", autocapitalize: "off",
    placeholder: "capture filter (BPF), e.g. tcp port 443", "aria-label": "New session's capture filter",
    title: "Capture filter (BPF): what the agents take at all. Empty: what their own configuration says." });
  const attempt = h("button", { type: "button", title: "Check the filter, and say what share of the traffic it would keep; changes nothing",
    onclick: () => send({ try: chosen().find((id) => live(id)), filter: filter.value }) }, "Check");
  const profile = h("select", { "aria-label": "New session's profile" });
  const answer = h("p", { class: "answer", role: "status" });
  const start = h("button", { type: "submit", class: "primary" }, "Start");
  const root = h("form", { class: "fresh", "aria-label": "New session", hidden: true, onsubmit: (event) => {
    event.preventDefault();
    send({ create: name.value, agents: chosen(), filter: filter.value, profile: profile.value });
  }, oninput: paintChoice },
    h("label", { class: "field" }, h("span", { class: "muted" }, "Name"), name),
    h("div", { class: "field" }, h("span", { class: "muted" }, "Agents"), boxes, none),
    h("label", { class: "field bpf" }, h("span", { class: "muted" }, "Capture filter"), filter, attempt),
    h("label", { class: "field" }, h("span", { class: "muted" }, "Profile"), profile),
    answer, h("div", { class: "line" }, start, h("button", { type: "button", onclick: () => send({ making: false }) }, "Cancel")));

  const chosen = () => [...boxes.querySelectorAll(":checked")].map((box) => box.value);
  const live = (id) => state().agents.find((agent) => agent.id === id)?.live;

  function paintChoice() {
    const ids = chosen();
    filter.disabled = profile.disabled = !ids.length;
    attempt.disabled = !ids.some(live) || !filter.value.trim();
    start.disabled = answer.classList.contains("waiting");
    put(start, ids.length ? `Start with ${count(ids.length)} ${ids.length === 1 ? "agent" : "agents"}` : "Make it");
  }

  function box({ id, name: text }) {
    const doing = h("span", { class: "muted" });
    return { element: h("label", {}, h("input", { type: "checkbox", value: id }), h("b", {}, text), doing), fill: (item) => put(doing, item.doing) };
  }

  return { root, paint({ making, agents, profiles, answer: said }) {
    if (root.hidden && making) {
      root.reset();
      setTimeout(() => name.focus());
    }
    root.hidden = !making;
    if (!making) return;
    keyed(boxes, agents ?? [], (each) => each.id, box);
    none.hidden = agents.length > 0;
    const key = JSON.stringify(profiles);
    if (profile.dataset.key !== key) {
      profile.dataset.key = key;
      profile.replaceChildren(h("option", { value: "" }, "none"), ...profiles.map((each) => h("option", { value: each }, each)));
    }
    profile.parentNode.hidden = !profiles.length;
    answer.hidden = !said?.text;
    answer.className = `answer ${said?.kind ?? ""}`;
    put(answer, said?.text ?? "");
    paintChoice();
  } };
}
