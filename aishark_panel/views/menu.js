/** Makes `panel` open below `button`, at its right edge or its left one, and calls `onopen` each time; gives the panel. */
function menu(button, panel, onopen, left = false) {
  panel.popover = "auto";
  button.setAttribute("aria-haspopup", "dialog");
  button.onclick = () => panel.togglePopover();
  panel.addEventListener("toggle", (event) => {
    if (event.newState !== "open") return;
    const at = button.getBoundingClientRect();
    panel.style.top = `${at.bottom + 6}px`;
    if (left) panel.style.left = `${Math.max(8, at.left)}px`;
    else panel.style.right = `${Math.max(8, innerWidth - at.right)}px`;
    onopen?.();
  });
  return panel;
}
