/** Profiles: settings under a name, for any agent. */
function agentProfiles(send) {
  const list = h("ul", { class: "profiles", "aria-label": "Profiles" });
  const none = h("p", { class: "muted" }, "No profile yet. A profile keeps a capture filter, and how much is sent, under a name; any agent can be started with it.");
  const name = h("input", { type: "text", placeholder: "name", "aria-label": "Name of the profile", maxLength: 200, required: true });
  const filter = h("input", { type: "text", class: "mono", spellcheck: false, autocomplete: "off", autocapitalize: "off",
    placeholder: "capture filter (BPF)", "aria-label": "Profile's capture filter" });
  const settings = agentSettings("of the profile");
  const answer = h("p", { class: "answer bad", role: "alert" });
  const form = h("form", { class: "profile-form", "aria-label": "New profile", onsubmit: (event) => {
    event.preventDefault();
    send({ profile: name.value, filter: filter.value, settings: settings.values });
    form.reset();
  } }, h("div", { class: "line" }, name, h("label", { class: "filter" }, h("span", { class: "muted" }, "capture filter"), filter), h("button", { type: "submit" }, icon("add"), "Save profile")),
    settings.root);
  const root = h("details", { class: "part" }, h("summary", {}, "Profiles", h("span", { class: "muted" })), list, none, answer, form);

  function profile({ name: title }) {
    const text = h("span", { class: "muted" });
    return { element: h("li", {}, h("b", {}, title), text, h("button", { title: `Forget the profile ${title}`, "aria-label": `Forget the profile ${title}`,
      onclick: () => send({ profile_delete: title }) }, icon("close"))), fill: (item) => put(text, item.text) };
  }

  return { root, paint({ profiles = [], profile_answer = "", may }) {
    root.hidden = !may;
    put(root.querySelector("summary .muted"), profiles.length ? count(profiles.length) : "");
    keyed(list, profiles, (each) => each.name, profile);
    none.hidden = profiles.length > 0;
    answer.hidden = !profile_answer;
    put(answer, profile_answer);
  } };
}
