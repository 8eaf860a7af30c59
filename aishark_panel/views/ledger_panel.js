/** The loss indicator: how many packets are known to be lost, as a button that opens the ledger: where every packet is. */
function ledgerPanel(send) {
  const number = h("b");
  const button = h("button", { class: "figure lost" }, number, h("span", { class: "muted" }, "lost"));
  const verdict = h("p", { class: "verdict" });
  const causes = h("ul", { class: "causes", "aria-label": "Lost, by cause" });
  const groups = h("div", { class: "groups" });
  const gaps = h("ul", { class: "gaps", "aria-label": "Times without packets" });
  const panel = menu(button, h("div", { class: "menu ledger" }, h("h2", {}, "Where every packet is"), verdict, causes, groups, gaps),
    () => send({ ledger: true }));
  panel.addEventListener("toggle", (event) => { if (event.newState === "closed") send({ ledger: false }); });
  let drawn = "";

  const line = ({ name, packets, kind }) => h("li", { class: "part", title: kind ?? "" },
    h("span", { class: "mono" }, count(packets)), h("span", {}, name));

  function section({ title, note, stages }) {
    return h("section", {}, h("h3", {}, title, h("span", { class: "muted" }, note)), ...stages.map((stage) =>
      h("div", { class: "stage" }, h("div", { class: "whole" }, h("span", { class: "mono" }, count(stage.packets)), h("span", {}, stage.name)),
        h("ul", {}, ...stage.parts.map((part) => {
          const item = line(part);
          item.dataset.kind = part.kind;
          return item;
        })))));
  }

  function fill(ledger, lost) {
    const sum = ledger.lost.reduce((total, each) => total + each.packets, 0);
    const known = Math.max(sum, lost);
    put(verdict, known ? `${count(known)} packets were lost:` : "No packet is known to be lost: each is in one of these places.");
    verdict.classList.toggle("bad", known > 0);
    causes.replaceChildren(...ledger.lost.map((each) => line({ ...each, kind: "lost" })));
    for (const each of causes.children) each.dataset.kind = "lost";
    groups.replaceChildren(...ledger.groups.map(section));
    if (ledger.earlier_runs) groups.append(h("p", { class: "muted" }, `${count(ledger.earlier_runs)} earlier runs of agents are in the sums above.`));
    if (ledger.late) groups.append(h("p", { class: "muted" }, `${count(ledger.late)} packets came too late to be sorted in by time.`));
    gaps.replaceChildren(...ledger.gaps.map((text) => h("li", {}, text)));
    gaps.hidden = !ledger.gaps.length;
  }

  return {
    button, panel,
    paint({ lost = 0, ledger, ledger_problem: problem }) {
      put(number, count(lost));
      button.classList.toggle("bad", lost > 0);
      button.title = lost ? `${count(lost)} packets are known to be lost on their way here; click for where` : "No packet is known to be lost; click for where every packet is";
      button.setAttribute("aria-label", `${count(lost)} packets lost: where every packet is`);
      const text = JSON.stringify([ledger, lost, problem]);
      if (text === drawn) return;
      drawn = text;
      if (problem) put(verdict, problem);
      else if (ledger) fill(ledger, lost);
    },
  };
}
