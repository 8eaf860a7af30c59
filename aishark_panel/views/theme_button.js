/** Light, dark, or as the system has it: remembered by the browser. Only where the page's style is ours (page.css). */
function themeButton() {
  const KEY = "aishark.theme";
  const THEMES = { "": ["contrast", "as the system has it"], light: ["sun", "light"], dark: ["moon", "dark"] };
  const page = document.documentElement;
  const button = h("button", { class: "theme" }, icon("contrast"));

  function paint() {
    const [name, words] = THEMES[page.dataset.theme ?? ""] ?? THEMES[""];
    button.replaceChildren(icon(name));
    button.title = `Colours: ${words}. Click for others.`;
    button.setAttribute("aria-label", button.title);
  }

  button.onclick = () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(page.dataset.theme ?? "") + 1) % names.length];
    if (next) page.dataset.theme = next;
    else delete page.dataset.theme;
    try {
      if (next) localStorage.setItem(KEY, next);
      else localStorage.removeItem(KEY);
    } catch {
      // Nothing can be kept here: the choice holds until the page is closed.
    }
    paint();
    repaintCharts();
  };
  button.hidden = !getComputedStyle(page).getPropertyValue("--bg");
  paint();
  return button;
}
