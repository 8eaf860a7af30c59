/** Tells that a notebook's page has drawn a view, and gives the views the colours of JupyterLab's theme. */

const THEME_ID = "aishark-jupyterlab-theme";

export function render({ model }) {
  if (!document.getElementById(THEME_ID)) {
    document.head.append(h("style", { id: THEME_ID }, model.theme));
    new MutationObserver(repaintCharts).observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  }
  model.send_msg("drawn");
  return document.createElement("i");
}
