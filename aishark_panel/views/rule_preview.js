/** What a rule would have done: a button that tries it, how far that is, and what came of it. */
function rulePreview(onTry, onCancel) {
  const past = h("select", { "aria-label": "Try it on" });
  const start = h("button", { type: "button", class: "primary", onclick: () => onTry(past.value) }, icon("play"), "Try it on the past");
  const cancel = h("button", { type: "button", onclick: onCancel }, icon("stop"), "Stop");
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const progress = h("span", { class: "muted", role: "status" });
  const stale = h("p", { class: "stale" }, "The rule was changed since; this is of how it was before.");
  const noise = h("b", { class: "noise" });
  const verdict = h("p", { class: "verdict", role: "status" }, noise, h("span"));
  const advice = h("p", { class: "muted" });
  const bad = h("p", { class: "bad", role: "alert" });
  const lanes = h("div", { class: "lanes", role: "img" });
  const axis = h("div", { class: "axis muted" }, h("span"), h("span"));
  const list = h("ol", { class: "found", "aria-label": "Alerts it would have raised" });
  const more = h("p", { class: "muted" });
  const hint = h("p", { class: "muted hint" }, "See what it would have found before you save it: when it would have fired, for whom, how often. Nobody is told.");
  const found = h("div", { class: "result" }, stale, bad, verdict, advice, lanes, axis, list, more);
  const root = h("section", { class: "preview", "aria-label": "Preview" }, h("div", { class: "try" }, start, cancel, past), h("div", { class: "going" }, bar, progress), hint, found);
  let known = "";

  const lane = ({ key, alerts, bars }) => h("div", { class: "lane" }, h("span", { class: "key mono", title: `${key}: ${count(alerts)} alerts` }, key),
    h("span", { class: "track" }, ...bars.map(({ at, width, severity, title }) => {
      const mark = h("i", { title, "data-severity": severity });
      mark.style.left = `${at}%`;
      mark.style.width = `${width}%`;
      return mark;
    })));

  return { root, paint(tried, pasts, isStale, right) {
    if (!past.childElementCount) past.append(...Object.entries(pasts).map(([value, text]) => h("option", { value }, text)));
    const running = tried?.state === "running";
    start.disabled = !right || running;
    start.hidden = running;
    cancel.hidden = bar.hidden = !running;
    bar.parentElement.hidden = !tried;
    hint.hidden = !!tried;
    found.hidden = !tried;
    if (!tried) return;
    bar.value = tried.done;
    put(progress, running ? `${tried.progress} …` : tried.state === "cancelled" ? `Stopped after ${tried.progress}.` : "");
    stale.hidden = !isStale || running;
    bad.hidden = !tried.problem;
    put(bad, tried.problem);
    const text = JSON.stringify(tried);
    if (text === known) return;
    known = text;
    verdict.hidden = !tried.verdict;
    noise.hidden = !tried.noise;
    put(noise, tried.noise);
    noise.dataset.noise = tried.noise;
    put(verdict.lastChild, tried.verdict);
    put(advice, tried.advice);
    advice.hidden = !tried.advice;
    lanes.hidden = axis.hidden = !tried.lanes.length;
    lanes.setAttribute("aria-label", `When it would have fired, from ${tried.from} to ${tried.to}`);
    lanes.replaceChildren(...tried.lanes.map(lane));
    put(axis.firstChild, tried.from);
    put(axis.lastChild, tried.to);
    list.replaceChildren(...tried.alerts.map(({ at, headline, lasted }) =>
      h("li", {}, h("code", {}, at), h("span", { class: "headline", title: headline }, headline), h("span", { class: "muted" }, lasted))));
    more.hidden = !tried.more;
    put(more, `and ${count(tried.more)} more`);
  } };
}
