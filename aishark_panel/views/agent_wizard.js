/** Adding an agent: a name, the commands for its host, and the wait until it says hello. */
function agentWizard(send) {
  const title = h("h3");
  const name = h("input", { type: "text", placeholder: "name, such as the host's", "aria-label": "Name of the agent", maxLength: 200, required: true, spellcheck: false, autocapitalize: "off" });
  const network = h("input", { type: "text", class: "mono", "aria-label": "Interface to capture on", required: true, spellcheck: false, autocapitalize: "off", title: "'any' is all interfaces; ip link lists them" });
  const problem = h("p", { class: "problem", role: "alert" });
  const form = h("form", { class: "line", "aria-label": "Register an agent", onsubmit: (event) => {
    event.preventDefault();
    send({ register: name.value, interface: network.value.trim() });
  } }, h("label", { class: "setting" }, h("span", { class: "muted" }, "name"), name),
    h("label", { class: "setting" }, h("span", { class: "muted" }, "interface"), network), h("button", { type: "submit", class: "primary" }, "Register"));
  const first = h("div", { class: "step" }, h("p", { class: "muted" }, "An agent captures on a host and sends what it sees here. It gets a key of its own, which lets it send packets and nothing else."), form, problem);

  const choices = h("div", { class: "ways", role: "tablist", "aria-label": "Ways to start it" });
  const note = h("p", { class: "muted" });
  const steps = h("ol", { class: "steps" });
  const key = copyBox("the key");
  const keyLine = h("div", { class: "key" }, h("p", {}, "Its key, which is shown this once; the commands below have it:"), key.root);
  const status = h("p", { class: "status", role: "status" }, h("i", { class: "lamp" }), h("span"));
  const second = h("div", { class: "step" }, keyLine, choices, note, steps);
  const close = h("button", { type: "button", onclick: () => send({ wizard: "close" }) });
  const root = h("section", { class: "wizard", "aria-label": "Add an agent", hidden: true }, h("div", { class: "line" }, title, close), status, first, second);
  let way = 0;
  let drawn = "";

  function paintWay(ways) {
    choices.replaceChildren(...ways.map((each, place) => h("button", { type: "button", role: "tab", "aria-selected": place === way,
      onclick: () => { way = place; paintWay(ways); } }, each.name)));
    put(note, ways[way].note);
    note.hidden = !ways[way].note;
    steps.replaceChildren(...ways[way].steps.map((step, place) => {
      const box = copyBox(`step ${place + 1}`);
      box.set(step.command);
      return h("li", {}, h("p", {}, step.text), box.root);
    }));
  }

  return { root, paint(wizard) {
    const opens = root.hidden && wizard;
    root.hidden = !wizard;
    if (opens) root.scrollIntoView({ block: "nearest" });
    if (opens && wizard.step === "name") {
      name.value = "";
      network.value = wizard.interface;
      name.focus();
    }
    if (!wizard) {
      drawn = "";
      return;
    }
    const asking = wizard.step === "name";
    first.hidden = !asking;
    status.hidden = asking;
    second.hidden = asking;
    problem.hidden = !wizard.problem;
    put(problem, wizard.problem ?? "");
    put(title, asking ? "Add an agent" : `Agent ${wizard.name}`);
    put(close, wizard.step === "here" ? "Done" : asking ? "Cancel" : "Close");
    close.classList.toggle("primary", wizard.step === "here");
    if (asking) return;
    key.set(wizard.key);
    if (drawn !== wizard.key) {
      drawn = wizard.key;
      way = 0;
      paintWay(wizard.ways);
    }
    const here = wizard.step === "here";
    keyLine.hidden = choices.hidden = steps.hidden = here;
    note.hidden = here || !wizard.ways[way].note;
    status.dataset.here = here;
    put(status.lastChild, here ? wizard.here : `Waiting for ${wizard.name} to say hello …`);
  } };
}
