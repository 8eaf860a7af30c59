/** Puts text on the clipboard, also where the page is not a secure one and has no clipboard of its own. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, style: "position:fixed;opacity:0" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** A text to copy, such as a command, and the button that does it. */
function copyBox(name = "") {
  const code = h("code", { class: "copied" });
  const button = h("button", { type: "button", class: "copy", onclick: async () => {
    await copyText(code.textContent);
    put(button, "Copied");
    setTimeout(() => put(button, "Copy"), 2000);
  } }, "Copy");
  if (name) button.setAttribute("aria-label", `Copy ${name}`);
  return { root: h("div", { class: "copy-box" }, code, button), button, set: (text) => put(code, text) };
}
