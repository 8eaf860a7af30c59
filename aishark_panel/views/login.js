// Login card. state: {title, text, ask, accepted, busy}. An accepted token goes to /login for a cookie, where that exists.

export function render({ model }) {
  const title = h("h1");
  const text = h("p");
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", class: "mono", required: true });
  const button = h("button", { class: "primary", type: "submit" }, "Open");
  const fields = h("div", { class: "fields" }, h("label", { htmlFor: "token" }, "Start token"), token, button,
    h("p", { class: "muted" }, "It was printed in the terminal where the hub was started."));
  const form = h("form", {
    class: "card",
    onsubmit: (event) => {
      event.preventDefault();
      model.send_msg({ token: token.value.trim() });
    },
  }, h("div", { class: "brand" }, icon("fin"), "aishark"), title, text, fields);

  function paint() {
    const { title: name = "", text: said = "", ask = false, accepted = false } = model.state;
    put(title, name);
    put(text, said);
    text.hidden = !said;
    fields.hidden = !ask;
    if (accepted && model.remember) location.replace(new URL(`login?token=${encodeURIComponent(token.value.trim())}`, document.baseURI));
  }

  model.on("state", paint);
  paint();
  return h("div", { class: "root" }, form);
}
