/** Part of the export menu: recordings into files on the hub's disk, which go on while packets arrive. */
function recordMenu(send, scope) {
  const format = h("select", { "aria-label": "Format of the recording" }, ...["pcapng", "parquet"].map((name) => h("option", { value: name }, name)));
  const start = h("button", { class: "primary", onclick: () => send({ record: format.value, shown: scope.shown }) }, icon("record"), "Record");
  const list = h("ul", { class: "recordings", "aria-label": "Recordings" });
  const problem = h("p", { class: "bad", role: "alert" });
  const root = h("div", { class: "record" }, h("h2", {}, "Record on the hub"),
    h("p", { class: "muted" }, "Writes new packets, all or those that match as chosen above, to files on the hub's disk until you stop it."),
    list, problem, h("div", { class: "buttons" }, format, start));

  function recording({ id, format: name }) {
    const facts = h("span", { class: "facts" });
    const stop = h("button", { title: "Stop this recording", "aria-label": `Stop the ${name} recording`,
      onclick: () => send({ record_stop: id }) }, icon("stop"), "Stop");
    const where = h("code");
    const reason = h("p", { class: "bad" });
    const element = h("li", {}, h("div", {}, h("i", { class: "lamp" }), h("b", {}, name), facts, stop), where, reason);
    return { element, fill(item) {
      element.dataset.state = item.state;
      const failed = item.failed ? `, ${count(item.failed)} failed` : "";
      put(facts, `${item.state}: ${count(item.written)} packets${failed}, ${si(item.bytes, "B")}`);
      stop.hidden = !["recording", "waiting"].includes(item.state);
      put(where, [item.folder, item.file].filter(Boolean).join("/"));
      put(reason, item.reason);
      reason.hidden = !item.reason;
    } };
  }

  return {
    root,
    paint(s) {
      keyed(list, s.recordings ?? [], (each) => each.id, recording);
      put(problem, s.recording_problem ?? "");
      problem.hidden = !s.recording_problem;
      start.disabled = format.disabled = !s.connected || s.capture === "ended";
    },
  };
}
