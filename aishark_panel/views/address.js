// Keeps the address true to what the page shows. state: {query, notice}. A change of session can be gone back from;
// everything else takes the place of what stood there. The address holds our query only, so a token does not stay in it.

const LINK = "aishark.link";
const sessionOf = (search) => new URLSearchParams(search).get("session") ?? "";

/** The query that somebody came with before they had to log in, once. */
function linkBeforeLogin() {
  try {
    const query = sessionStorage.getItem(LINK) ?? "";
    sessionStorage.removeItem(LINK);
    return query;
  } catch {
    return "";
  }
}

export function render({ model }) {
  const text = h("span");
  const root = h("div", { class: "notice", role: "status", hidden: true }, text,
    h("button", { title: "Close", "aria-label": "Close: about this address", onclick: () => model.send_msg({ read: true }) }, icon("close")));
  const went = () => model.send_msg({ went: location.search.slice(1) });
  let before = linkBeforeLogin();

  function paint() {
    const { query = "", notice = "" } = stateOf(model);
    put(text, notice);
    root.hidden = !notice;
    const url = new URL(location.href);
    url.search = query;
    if (url.href === location.href) return;
    const [was, is] = [location.search, url.search].map(sessionOf);
    history[was && is && was !== is ? "pushState" : "replaceState"](history.state, "", url);
  }

  window.addEventListener("popstate", went);
  model.on("state", paint);
  model.on("remove", () => window.removeEventListener("popstate", went));
  if (before && !sessionOf(location.search)) model.send_msg({ went: before });
  else paint();
  before = "";
  return root;
}
