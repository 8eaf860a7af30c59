/** Which packets a file is to hold: all that are kept, or those that the page shows. */
function exportScope(name, state, changed) {
  const all = h("input", { type: "radio", name, checked: true, onchange: changed });
  const shown = h("input", { type: "radio", name, onchange: changed });
  const allText = h("span");
  const shownText = h("span");
  const shownLine = h("label", {}, shown, shownText);
  return {
    root: h("div", { class: "scope" }, h("label", {}, all, allText), shownLine),
    get shown() { return shown.checked && !shownLine.hidden; },
    /** About how many packets that is, in words. */
    get text() {
      const { kept, matched, matched_complete } = state();
      if (!this.shown) return count(kept);
      return `${matched_complete ? "" : "at least "}${count(matched)}`;
    },
    paint() {
      const { kept, matched, matched_complete, filtered, ranged } = state();
      const which = [filtered ? "match the display filter" : "", ranged ? "lie in the chosen time" : ""].filter(Boolean).join(" and ");
      put(allText, `all ${count(kept)} packets kept`);
      shownLine.hidden = matched === null;
      put(shownText, `the ${matched_complete ? "" : "at least "}${count(matched)} that ${which}`);
    },
    open() {
      this.paint();
      (state().matched === null ? all : shown).checked = true;
    },
  };
}

/** The dialog of exports: format, which packets, and how far those are that were begun. */
function exportMenu(send, state) {
  const button = h("button", { title: "Export packets to a file", "aria-label": "Export packets to a file" },
    icon("download"), h("span", { class: "label" }, "Export"));
  const scope = exportScope("export", state, paintButton);
  const formats = h("div", { class: "formats", role: "radiogroup", "aria-label": "Format", onchange: paintButton });
  const start = h("button", { class: "primary", onclick: () => send({ export: chosen(), shown: scope.shown, purpose: "download" }) });
  const list = h("ul", { class: "exports", "aria-label": "Exports" });
  const panel = menu(button, h("div", { class: "menu wide" }, h("h2", {}, "Export"), formats, scope.root,
    h("div", { class: "buttons" }, start), list), () => { scope.open(); paintButton(); });

  const chosen = () => formats.querySelector(":checked")?.value ?? "pcapng";

  function paintButton() {
    put(start, `Download ${scope.text} packets`);
    start.disabled = !state().kept || (scope.shown && !state().matched && state().matched_complete);
  }

  const STATES = {
    waiting: () => "waiting for the browser to fetch it …",
    writing: (e) => `${count(e.looked_at)} of ${count(e.total)} packets looked at, ${count(e.written)} written, ${si(e.bytes, "B")}`,
    done: (e) => `${count(e.written)} packets, ${si(e.bytes, "B")}`,
    failed: (e) => `not whole: ${e.reason}`,
    cancelled: (e) => `cancelled after ${count(e.written)} packets`,
  };

  function line({ ticket, session, format }) {
    const facts = h("span", { class: "facts", role: "status" });
    const bar = h("progress", { max: 1, "aria-label": `Progress of ${session}.${format}` });
    const stop = h("button", { class: "dismiss", onclick: () => send({ export_cancel: ticket }) }, icon("close"));
    const element = h("li", {}, h("b", {}, `${session}.${format}`), facts, stop, bar);
    return { element, fill(item) {
      const goesOn = ["waiting", "writing"].includes(item.state);
      const missed = item.missed ? `; ${count(item.missed)} were evicted while it was written` : "";
      element.dataset.state = item.missed && item.state === "done" ? "warn" : item.state;
      put(facts, STATES[item.state](item) + missed);
      bar.hidden = item.state !== "writing";
      bar.value = item.total ? item.looked_at / item.total : 0;
      stop.title = goesOn ? "Cancel this export" : "Take it off the list";
      stop.setAttribute("aria-label", `${stop.title}: ${session}.${format}`);
    } };
  }

  return {
    button, panel, scope,
    begun(path) {
      h("a", { href: new URL(path, document.baseURI).href, download: "" }).click();
    },
    paint(s) {
      const before = formats.dataset.names ?? "";
      const names = Object.keys(s.formats ?? {});
      if (names.join() !== before) {
        formats.dataset.names = names.join();
        formats.replaceChildren(...names.map((name, place) => h("label", {},
          h("input", { type: "radio", name: "format", value: name, checked: place === 0 }), h("b", {}, name), h("span", { class: "muted" }, s.formats[name]))));
      }
      if (panel.matches(":popover-open")) scope.paint();
      paintButton();
      keyed(list, s.exports ?? [], (each) => each.ticket, line);
      list.hidden = !list.childElementCount;
      const goOn = (s.exports ?? []).filter((each) => ["waiting", "writing"].includes(each.state)).length;
      button.classList.toggle("busy", goOn > 0);
      button.title = goOn ? `${count(goOn)} ${goOn === 1 ? "export goes" : "exports go"} on` : "Export packets to a file";
    },
  };
}
