/** What is below an alert that is open. `act(name)` does one of: show, evidence, acknowledge, archive, silence, edit. */
function alertDetail(send, number) {
  const text = h("p", { class: "explanation" });
  const runbook = h("a", { target: "_blank", rel: "noopener noreferrer" }, "What to do about it: the runbook");
  const lists = Object.fromEntries(["key", "values", "moments", "labels", "notes"].map((name) => [name, h("dl", {})]));
  const part = (title, list) => h("div", { class: "part" }, h("h3", {}, title), list);
  const parts = { key: part("For", lists.key), values: part("With", lists.values), moments: part("When", lists.moments),
    labels: part("Labels", lists.labels), notes: part("Notes", lists.notes) };
  const kept = h("p", { class: "muted" });
  const seen = h("p", { class: "muted" });
  const root = h("div", { class: "detail", role: "region", "aria-label": "About the alert" },
    text, runbook, h("div", { class: "parts" }, ...Object.values(parts)), seen, kept);

  function fill(name, pairs) {
    parts[name].hidden = !pairs.length;
    const known = JSON.stringify(pairs);
    if (lists[name].known === known) return;
    lists[name].known = known;
    lists[name].replaceChildren(...pairs.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, name === "key"
      ? h("button", { class: "value mono", title: "Add to the display filter; with Alt: exclude",
        onclick: (event) => send({ filter: number, column: term, exclude: event.altKey }) }, value)
      : name === "values" || name === "moments" ? h("code", {}, value) : value)]));
  }

  return { root, paint(detail) {
    put(text, detail.explanation);
    text.hidden = !detail.explanation;
    runbook.hidden = !/^https?:\/\//i.test(detail.runbook);
    if (!runbook.hidden) runbook.href = runbook.title = detail.runbook;
    for (const name of Object.keys(lists)) fill(name, detail[name]);
    put(seen, detail.seen ? `Acknowledged by ${detail.seen}.` : "");
    seen.hidden = !detail.seen;
    put(kept, `Evidence: ${detail.evidence_text}${detail.gone ? " Its packets are no longer in the hub's memory." : ""}`);
  } };
}
