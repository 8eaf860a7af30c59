/** Recordings of a session into files on the hub's disk: those there are, and a form for another. `state()` has `session` too. */
function recordingsPart(send, state) {
  const list = h("ul", { class: "recordings", "aria-label": "Recordings" });
  const none = h("p", { class: "muted" }, "Not recorded. A recording writes packets to files on the hub's disk as they come, until it is stopped.");
  const field = (label, props) => {
    const input = h("input", { type: "number", min: 0, step: "any", ...props });
    return { input, root: h("label", { class: "option" }, h("span", { class: "muted" }, label), input) };
  };
  const format = h("select", { "aria-label": "Format of the recording" });
  const shown = h("input", { type: "checkbox" });
  const shownText = h("code");
  const shownLine = h("label", { class: "option" }, shown, h("span", {}, "only what matches the display filter"), shownText);
  const oldest = h("input", { type: "checkbox" });
  const options = {
    rotate_bytes: field("new file after MiB", { title: "A file ends with the packet that makes it this long. Empty: 1 GiB, Parquet 64 MiB" }),
    rotate_s: field("or seconds", { title: "And at this age. Empty: never, Parquet 10 s, or 10 min where the hub keeps a journal" }),
    rotate_packets: field("or packets", { title: "And with so many packets, at least 1,000. Empty: any number" }),
    max_files: field("keep at most files", { title: "The oldest finished files are deleted. Empty: all are kept" }),
  };
  const form = h("form", { class: "record", "aria-label": "New recording", onsubmit: (event) => {
    event.preventDefault();
    const given = Object.entries(options).filter(([, { input }]) => Number(input.value) > 0)
      .map(([name, { input }]) => [name, name === "rotate_bytes" ? Math.round(Number(input.value) * 2 ** 20) : Number(input.value)]);
    send({ record: format.value, where: shown.checked && !shownLine.hidden ? state().filter : "", oldest: oldest.checked, options: Object.fromEntries(given) });
  } }, h("div", { class: "line" }, format, ...Object.values(options).map((each) => each.root)),
    h("div", { class: "line" }, h("label", { class: "option" }, oldest, h("span", {}, "begin with the oldest packet kept")), shownLine),
    h("div", { class: "line" }, h("button", { type: "submit", class: "primary" }, icon("record"), "Record")));
  const root = h("div", { class: "part" }, h("h3", {}, "Recordings"), list, none, form);

  function recording({ id, format: name }) {
    let canFetch = false;
    const facts = h("span", { class: "facts" });
    const where = h("code");
    const stop = h("button", { "aria-label": `Stop the ${name} recording`, onclick: () => send({ record_stop: id }) }, icon("stop"), "Stop");
    const place = h("code", { class: "folder muted" });
    const reason = h("p", { class: "bad" });
    const files = h("ul", { class: "files", "aria-label": "Files" });
    const more = h("p", { class: "muted" });
    const element = h("li", {}, h("div", { class: "line" }, h("i", { class: "lamp" }), h("b", {}, name), facts, where, stop), place, reason, files, more);
    function file({ name: title }) {
      const size = h("span", { class: "muted" });
      const fetchIt = h("button", { title: `Download ${title}`, "aria-label": `Download ${title}`, onclick: () => send({ fetch: title, recording: id }) }, icon("download"));
      return { element: h("li", {}, h("span", { class: "mono" }, title), size, fetchIt), fill(item) {
        put(size, `${count(item.packets)} packets, ${si(item.bytes, "B")}`);
        fetchIt.hidden = !canFetch;
      } };
    }
    return { element, fill(item) {
      canFetch = item.canFetch;
      element.dataset.state = item.state;
      put(facts, `${item.state}: ${count(item.written)} packets${item.failed ? `, ${count(item.failed)} failed` : ""}, ${si(item.bytes, "B")}`);
      put(where, item.where);
      where.hidden = !item.where;
      stop.hidden = !item.canStop || !["recording", "waiting"].includes(item.state);
      put(place, [item.folder, item.current_file].filter(Boolean).join("/"));
      place.hidden = !place.textContent;
      put(reason, item.reason);
      reason.hidden = !item.reason;
      keyed(files, item.files, (each) => each.name, file);
      put(more, `and ${count(item.more_files)} older files`);
      more.hidden = !item.more_files;
    } };
  }

  return { root, paint(may) {
    const { recordings, formats, filter, session } = state();
    const rights = { canStop: may("capture"), canFetch: may("export") };
    keyed(list, recordings.map((each) => ({ ...each, ...rights })), (each) => each.id, recording);
    none.hidden = recordings.length > 0;
    form.hidden = !may("capture") || session.state === "ended";
    if (format.childElementCount !== formats.length) format.replaceChildren(...formats.map((name) => h("option", { value: name }, name)));
    shownLine.hidden = !filter;
    put(shownText, filter);
  } };
}

/** With whom a session is shared, and links to it. */
function sharingPart(send) {
  const HOURS = [[1, "1 hour"], [8, "8 hours"], [24, "1 day"], [168, "7 days"], [2160, "90 days"]];
  const people = h("ul", { class: "shares", "aria-label": "Shared with" });
  const person = h("input", { type: "text", placeholder: "name of a person", "aria-label": "Person to share with", maxLength: 200, required: true, spellcheck: false, autocapitalize: "off" });
  const exporting = h("input", { type: "checkbox" });
  const form = h("form", { class: "line", "aria-label": "Share with a person", onsubmit: (event) => {
    event.preventDefault();
    send({ share: person.value, export: exporting.checked });
    person.value = "";
  } }, person, h("label", { class: "option" }, exporting, "may export"), h("button", { type: "submit" }, icon("add"), "Share"));
  const links = h("ul", { class: "shares", "aria-label": "Links" });
  const life = h("select", { "aria-label": "How long the link is good" }, ...HOURS.map(([hours, text]) => h("option", { value: hours, selected: hours === 24 }, text)));
  const make = h("button", { onclick: () => send({ link: Number(life.value) }) }, icon("add"), "Make a link");
  const box = copyBox("the link");
  const made = h("div", { class: "made", hidden: true }, h("p", {}), box.root);
  const root = h("div", { class: "part" }, h("h3", {}, "Sharing"), people, form,
    h("p", { class: "muted" }, "Whoever has a link may look at this session and do nothing else, until the link ends or is revoked."), links,
    h("div", { class: "line" }, make, h("span", { class: "muted" }, "good for"), life), made);

  const line = (text, title, message) => h("li", {}, h("span", {}, text), h("button", { title, "aria-label": title, onclick: () => send(message) }, icon("close"), "Revoke"));

  return { root, paint({ shares, links: good, made: fresh, uploads }) {
    const key = JSON.stringify([shares, good, fresh]);
    if (root.dataset.key === key) return;
    root.dataset.key = key;
    people.replaceChildren(...shares.map((each) => line(`${each.person} may ${each.capabilities.join(" and ")}`, `Share with ${each.person} no longer`, { unshare: each.person })));
    links.replaceChildren(...good.map((each) => line(`made by ${each.person || "the hub's owner"}, good until ${each.until}`, "Revoke this link", { unlink: each.id })));
    made.hidden = !fresh;
    if (!fresh) return;
    put(made.firstChild, `This link is shown this once. It is good until ${fresh.until}.`);
    // A notebook's page has no login: there the token itself is what one passes on.
    box.set(uploads ? new URL(`login?token=${encodeURIComponent(fresh.token)}`, document.baseURI).href : fresh.token);
  } };
}
