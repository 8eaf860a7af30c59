// Login card. state: {title, text, ask, accepted, by_name, provider, again}. An accepted token goes to /login for a cookie,
// where that exists; a name and a password go to /login/name, never over the page's own socket.

export function render({ model }) {
  const address = (path) => new URL(path, document.baseURI);
  const title = h("h1");
  const text = h("p", { role: "alert" });
  const token = h("input", { id: "token", type: "password", autocomplete: "off", class: "mono", required: true });
  const name = h("input", { id: "name", type: "text", autocomplete: "username", required: true, spellcheck: false, autocapitalize: "off" });
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { class: "primary", type: "submit" }, "Log in");
  const provider = h("a", { class: "button provider", href: address("login/provider").href, onclick: keepLink });
  const byName = h("form", { class: "fields", onsubmit: logIn }, h("label", { htmlFor: "name" }, "Name"), name,
    h("label", { htmlFor: "password" }, "Password"), password, button);
  const byToken = h("form", { class: "fields", onsubmit: (event) => {
    event.preventDefault();
    model.send_msg({ token: token.value.trim() });
  } }, h("label", { htmlFor: "token" }, "Start token"), token, h("button", { class: "primary", type: "submit" }, "Open"),
    h("p", { class: "muted" }, "It was printed in the terminal where the hub was started."));
  const other = h("button", { class: "link", type: "button", onclick: () => { wantsToken = !wantsToken; paint(); } });
  const card = h("div", { class: "card" }, h("div", { class: "brand" }, icon("fin"), "aishark"), title, text, provider, byName, byToken, other);
  let wantsToken = false;
  let tried = false;

  /** What the address names is followed after a login that leads away from it (address.js); never a token. */
  function keepLink() {
    const query = new URLSearchParams(location.search);
    query.delete("token");
    try {
      sessionStorage.setItem("aishark.link", query.toString());
    } catch {
      // Nothing can be kept here: then the page opens as it does without a link.
    }
  }

  async function logIn(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await fetch(address("login/name"), { method: "POST", body: JSON.stringify({ name: name.value.trim(), password: password.value }) });
      if (answer.ok) {
        location.reload();
        return;
      }
      say((await answer.json().catch(() => ({}))).error ?? "The hub cannot be reached.");
    } catch {
      say("The page's server cannot be reached.");
    }
    button.disabled = false;
    password.value = "";
    password.focus();
  }

  function say(reason) {
    text.hidden = !reason;
    put(text, reason);
  }

  async function again() {
    tried = true;
    const answer = await fetch(address("login/again"), { method: "POST" }).catch(() => null);
    if (answer?.ok) location.reload();
    else paint();
  }

  function paint() {
    const s = stateOf(model);
    const waits = s.again && !tried;
    const named = s.by_name || s.provider;
    put(title, waits ? "Welcome back …" : s.title ?? "");
    say(waits ? "" : s.text ?? "");
    provider.hidden = !s.ask || waits || !s.provider;
    put(provider, `Log in with ${s.provider}`);
    byName.hidden = !s.ask || waits || !s.by_name || wantsToken;
    byToken.hidden = !s.ask || waits || (named && !wantsToken);
    other.hidden = !s.ask || waits || !named;
    put(other, wantsToken ? "Back" : "Use a token instead");
    if (s.accepted && model.remember) {
      keepLink();
      location.replace(address(`login?token=${encodeURIComponent(token.value.trim())}`));
    }
    if (waits) again();
  }

  model.on("state", paint);
  paint();
  return h("div", { class: "root" }, card);
}
