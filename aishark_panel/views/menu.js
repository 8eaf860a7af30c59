/**
 * Makes `panel` open below `button`, at its right edge or its left one but never beyond the screen, and calls `onopen`
 * each time; gives the panel.
 */
function menu(button, panel, onopen, left = false) {
  panel.popover = "auto";
  button.setAttribute("aria-haspopup", "dialog");
  const place = () => {
    const at = button.getBoundingClientRect();
    const most = innerWidth - panel.offsetWidth - 8;
    panel.style.top = `${Math.max(8, Math.min(at.bottom + 6, innerHeight - panel.offsetHeight - 8))}px`;
    panel.style.left = `${Math.max(8, Math.min(left ? at.left : at.right - panel.offsetWidth, most))}px`;
  };
  // Placed with the click: the toggle event comes a moment after the panel is on the screen, where it would be seen to jump.
  button.onclick = () => {
    panel.togglePopover();
    if (!panel.matches(":popover-open")) return;
    onopen?.();
    place();
  };
  panel.addEventListener("toggle", (event) => {
    window[event.newState === "open" ? "addEventListener" : "removeEventListener"]("resize", place);
  });
  return panel;
}
