// What was said in one conversation. state: {} or {conversation, protocol, family, numbers, kept, problem, filters}. The
// bytes come in pages: {conversation, a, b, pieces: [[number, time in µs, side, length, missing, cut, begins]], data
// (base64), cursor, more, problem}.

const MOST_BYTES = 4_000_000;  // kept in one page; who wants more exports
const MOST_FOUND = 2_000;
const LINE = 16;

export function render({ model }) {
  const title = h("b");
  const ends = h("span", { class: "ends mono" });
  const close = h("button", { class: "close", "aria-label": "Close", title: "Close (Esc)", onclick: () => model.send_msg({ close: true }) }, icon("close"));
  const which = h("select", { "aria-label": "Which side" }, h("option", { value: "" }, "both sides"),
    h("option", { value: "0" }, "only a → b"), h("option", { value: "1" }, "only b → a"));
  const form = h("select", { "aria-label": "How bytes are shown" }, h("option", { value: "text" }, "as text"), h("option", { value: "hex" }, "as hex"));
  const search = h("input", { type: "search", placeholder: "Find", "aria-label": "Find in what was said" });
  const found = h("span", { class: "found muted", role: "status" });
  const only = h("button", { title: "Add this conversation to the display filter. Alt+click: hide it.",
    onclick: (event) => model.send_msg({ only: event.altKey }) }, "Show only this conversation");
  const save = h("button", { title: "The bytes that are shown here, as a file", onclick: saveFile }, icon("download"), "Save");
  const body = h("div", { class: "said", tabIndex: 0, role: "log", "aria-label": "What was said" });
  const more = h("button", { onclick: () => ask() });
  const end = h("p", { class: "end muted" });
  const numbers = conversationNumbers();
  const root = h("section", { class: "root", role: "dialog", "aria-label": "Conversation", hidden: true },
    h("div", { class: "heading" }, title, ends, close),
    numbers.element,
    h("div", { class: "tools" }, which, form, search, found, only, save),
    body, h("div", { class: "foot" }, end, more));
  let shown = null;
  let pages = [];
  let size = 0;
  let cursor = "";
  let asked = false;
  let ready = true;
  let decoders = [];
  let matches = [];
  let match = -1;
  let opener = null;

  function ask() {
    if (asked) return;
    asked = true;
    model.send_msg({ page: cursor, conversation: shown });
  }

  const printable = (text) => text.replace(/[^\P{C}\n\t]|\ufffd/gu, (char) => (char === "\r" ? "" : "·"));

  function hexLines(bytes) {
    const lines = [];
    for (let at = 0; at < bytes.length; at += LINE) {
      const part = [...bytes.subarray(at, at + LINE)];
      const text = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
      lines.push(`${at.toString(16).padStart(4, "0")}  ${part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(3 * LINE)} ${text}`);
    }
    return lines.join("\n");
  }

  const clock = (us) => `${new Date(us / 1000).toISOString().slice(11, 19)}.${String(us % 1_000_000).padStart(6, "0")} UTC`;

  const aside = (text) => h("p", { class: "aside", role: "note" }, text);

  /** Appends pieces; neighbours of one side become one block. */
  function add({ pieces, bytes }) {
    let at = 0;
    for (const [number, us, side, length, missing, cut, begins] of pieces) {
      const data = bytes.subarray(at, at + length);
      at += length;
      if (which.value && Number(which.value) !== side) continue;
      if (begins) body.append(aside("A new connection between the same ports"));
      if (missing) body.append(aside(`${count(missing)} ${missing === 1 ? "byte" : "bytes"} missing here (${side ? "b → a" : "a → b"})`));
      let block = body.lastElementChild;
      if (!block || block.side !== side || form.value === "hex") {
        const go = h("button", { class: "number", title: `${clock(us)}: show packet ${count(number)}`, onclick: () => model.send_msg({ select: number }) }, count(number));
        block = h("div", { class: `block ${side ? "b" : "a"}` }, go, h("pre", { class: "mono" }));
        block.side = side;
        body.append(block);
      }
      const text = form.value === "hex" ? hexLines(data) : printable(decoders[side].decode(data, { stream: true }));
      const piece = h("span", { title: `Packet ${count(number)}, ${clock(us)}, ${count(length)} bytes; double-click to show it` }, text);
      piece.dataset.number = number;
      block.lastChild.append(piece);
      if (cut) {
        body.append(aside(`${count(cut)} more bytes of packet ${count(number)} were cut off by the capture, or are in later fragments`));
      }
    }
  }

  function again() {
    decoders = [0, 1].map(() => new TextDecoder());
    body.replaceChildren();
    for (const page of pages) add(page);
    find();
    status();
  }

  function status() {
    const full = size >= MOST_BYTES;
    put(more, ready ? "Look for newer bytes" : "Show more");
    more.disabled = asked || full;
    const kinds = body.childElementCount;
    put(end, full ? `${count(size)} bytes are shown, as many as fit here; export this conversation for the rest.`
      : asked && !pages.length ? "Reading …"
        : !kinds ? "No payload of this conversation is in the ring." : `${count(size)} bytes${ready ? "" : ", and more follow"}`);
  }

  function find() {
    matches = [];
    match = -1;
    CSS.highlights?.delete("aishark-found");
    const text = search.value.toLowerCase();
    if (text) {
      const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode() && matches.length < MOST_FOUND) {
        const node = walker.currentNode;
        if (node.parentNode.localName !== "span") continue;
        const within = node.data.toLowerCase();
        for (let at = within.indexOf(text); at >= 0 && matches.length < MOST_FOUND; at = within.indexOf(text, at + text.length)) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, Math.min(at + text.length, node.data.length));
          matches.push(range);
        }
      }
      if (window.Highlight) CSS.highlights.set("aishark-found", new Highlight(...matches));
    }
    put(found, !text ? "" : !matches.length ? "not found" : `${count(matches.length)}${matches.length === MOST_FOUND ? " or more" : ""} found`);
  }

  function step(by) {
    if (!matches.length) return;
    match = (match + by + matches.length) % matches.length;
    const range = matches[match];
    const box = range.getBoundingClientRect();
    body.scrollTop += box.top - body.getBoundingClientRect().top - body.clientHeight / 3;
    if (window.Highlight) CSS.highlights.set("aishark-here", new Highlight(range));
    put(found, `${count(match + 1)} of ${count(matches.length)}`);
  }

  function saveFile() {
    const parts = [];
    for (const { pieces, bytes } of pages) {
      let at = 0;
      for (const [, , side, length] of pieces) {
        if (!which.value || Number(which.value) === side) parts.push(bytes.subarray(at, at + length));
        at += length;
      }
    }
    const link = h("a", { href: URL.createObjectURL(new Blob(parts, { type: "application/octet-stream" })),
      download: `conversation-${shown}${which.value ? `-${"ab"[which.value]}` : ""}.bin` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  body.addEventListener("dblclick", (event) => {
    const number = event.target.dataset?.number;
    if (number) model.send_msg({ select: Number(number) });
  });
  which.addEventListener("change", again);
  form.addEventListener("change", again);
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
  });
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();  // the page's keys are not meant while this is open
    if (event.key !== "Escape") return;
    if (event.target === search && search.value) {
      search.value = "";
      find();
    } else model.send_msg({ close: true });
  });

  model.on("msg:custom", (page) => {
    if (page.conversation !== shown) return;
    asked = false;
    if (page.problem) {
      put(end, page.problem);
      more.disabled = false;
      return;
    }
    cursor = page.cursor;
    ready = !page.more;
    put(ends, `a ${page.a}, b ${page.b}`);
    ends.title = `a, who sent the first packet: ${page.a}\nb: ${page.b}`;
    const bytes = Uint8Array.from(atob(page.data), (char) => char.charCodeAt(0));
    if (bytes.length || page.pieces.length) {
      pages.push({ pieces: page.pieces, bytes });
      size += bytes.length;
      add(pages.at(-1));
      if (search.value) find();
    }
    status();
  });

  function paint() {
    const s = stateOf(model);
    const open = s.conversation ?? null;
    if (open !== shown) {
      shown = open;
      pages = [];
      size = 0;
      cursor = "";
      asked = false;
      ready = true;
      search.value = "";
      put(ends, "");
      again();
      if (open && root.hidden) opener = document.activeElement;
      root.hidden = !open;
      if (open) {
        ask();
        status();
        body.focus();
      } else opener?.focus?.();
    }
    if (!open) return;
    root.className = `root p-${s.family}`;
    put(title, s.protocol ? `${s.protocol} conversation` : "Conversation");
    only.hidden = !s.filters;
    numbers.fill(s.numbers, s.kept, "from a to b", "from b to a");
    if (s.problem) put(end, s.problem);
  }

  model.on("state", paint);
  paint();
  return root;
}
