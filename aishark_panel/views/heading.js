
// A chart's heading. state: {title, unit, value}

export function render({ model }) {
  const title = h("b");
  const unit = h("span", { class: "unit" });
  const value = h("span", { class: "value" });
  const root = h("div", { class: "heading" }, title, unit, value);

  function draw() {
    put(title, model.state.title ?? "");
    put(unit, model.state.unit ?? "");
    put(value, model.state.value ?? "");
  }

  model.on("state", draw);
  draw();
  return root;
}
