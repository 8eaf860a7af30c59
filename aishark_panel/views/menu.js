/**
 * Makes `panel` open below `button`, at its right edge or its left one but never beyond the screen's, and calls `onopen`
 * each time; gives the panel.
 */
function menu(button, panel, onopen, left = false) {
  panel.popover = "auto";
  button.setAttribute("aria-haspopup", "dialog");
  button.onclick = () => panel.togglePopover();
  const place = () => {
    const at = button.getBoundingClientRect();
    const most = innerWidth - panel.offsetWidth - 8;
    panel.style.top = `${at.bottom + 6}px`;
    panel.style.left = `${Math.max(8, Math.min(left ? at.left : at.right - panel.offsetWidth, most))}px`;
  };
  panel.addEventListener("toggle", (event) => {
    const opened = event.newState === "open";
    window[opened ? "addEventListener" : "removeEventListener"]("resize", place);
    if (!opened) return;
    onopen?.();
    place();
  });
  return panel;
}
