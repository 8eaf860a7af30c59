
// A chart's heading. state: {title, unit, value, choices: [{name, label, options, chosen}], actions: [{name, text, title}],
// legend: [{name, colour, title}]}. Sends {name: value}, {do: name}, {key: name, exclude}.

export function render({ model }) {
  const title = h("b");
  const unit = h("span", { class: "unit" });
  const value = h("span", { class: "value" });
  const legend = h("span", { class: "legend" });
  const actions = h("span", { class: "actions" });
  const choices = h("span", { class: "choices" });
  const root = h("div", { class: "heading" }, title, unit, legend, value, actions, choices);

  function key({ name }) {
    const dot = h("i", { class: "dot" });
    const text = h("span", {}, name);
    const element = h("button", { class: "key", onclick: (event) => model.send_msg({ key: name, exclude: event.altKey }) }, dot, text);
    return { element, fill(item) {
      dot.style.background = item.colour;
      element.title = item.title ?? name;
      element.disabled = !item.title;
    } };
  }

  function action({ name }) {
    const element = h("button", { onclick: () => model.send_msg({ do: name }) });
    return { element, fill(item) {
      put(element, item.text);
      element.title = item.title;
      element.setAttribute("aria-label", item.title);
      element.classList.toggle("primary", Boolean(item.primary));
    } };
  }

  function choice({ name, label, options }) {
    const element = h("select", { "aria-label": label, title: label, onchange: () => model.send_msg({ [name]: element.value }) },
      ...options.map((option) => h("option", { value: option }, option)));
    return { element, fill(item) {
      if (element.value !== item.chosen) element.value = item.chosen;
    } };
  }

  function draw() {
    put(title, stateOf(model).title ?? "");
    put(unit, stateOf(model).unit ?? "");
    put(value, stateOf(model).value ?? "");
    unit.title = unit.textContent;
    keyed(legend, stateOf(model).legend ?? [], (item) => item.name, key);
    keyed(actions, stateOf(model).actions ?? [], (item) => item.name, action);
    keyed(choices, stateOf(model).choices ?? [], (item) => item.name, choice);
  }

  model.on("state", draw);
  draw();
  return root;
}
