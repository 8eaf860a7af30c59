// What all views share. Text only ever becomes a text node: packets carry what strangers sent.

const ICONS = {
  pause: "M3 2h3v10H3zM8 2h3v10H8z",
  play: "M3 1.5v11l9-5.5z",
  stop: "M2.5 2.5h9v9h-9z",
  record: "M7 2a5 5 0 1 1 0 10A5 5 0 0 1 7 2z",
  clear: "M5 1h4l1 1h3v1.5H1V2h3zM2 4.5h10L11.3 13H2.7zM5 6.5v4.5h1V6.5zm3 0v4.5h1V6.5z",
  download: "M6 1h2v5.5h2.6L7 10.6 3.4 6.5H6zM1.5 11.5h11V13h-11z",
  fin: "M1 12.5C3.5 11 5 8 5.6 1.2 9.8 3.4 12.4 7.3 13 12.5c-2 .7-4-.6-6-.6s-4 1.3-6 .6z",
  add: "M6.2 1.5h1.6v4.7h4.7v1.6H7.8v4.7H6.2V7.8H1.5V6.2h4.7z",
  file: "M3 1h5l3 3v9H3zM7.5 2v2.6H10z",
  more: "M7 2.2a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4zm0 3.6a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4zm0 3.6a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4z",
  contrast: "M7 1a6 6 0 1 0 0 12A6 6 0 0 0 7 1zm0 1.5v9a4.5 4.5 0 0 1 0-9z",
  sun: "M7 4a3 3 0 1 1 0 6 3 3 0 0 1 0-6zM6.3.5h1.4v2H6.3zm0 11h1.4v2H6.3zM.5 6.3h2v1.4h-2zm11 0h2v1.4h-2zM2 3l1-1 1.4 1.4-1 1zm7.6 7.6 1-1L12 11l-1 1zM11 2l1 1-1.4 1.4-1-1zM3.4 9.6l1 1L3 12l-1-1z",
  moon: "M9.6 1.6A6 6 0 1 0 12.7 9 5 5 0 0 1 9.6 1.6z",
  info: "M7 1a6 6 0 1 1 0 12A6 6 0 0 1 7 1zM6.2 6v4.4h1.6V6zm0-2.6V5h1.6V3.4z",
  warning: "M7 .8 13.6 13H.4zM6.2 5v4h1.6V5zm0 5v1.6h1.6V10z",
  critical: "M4.4.8h5.2l3.6 3.6v5.2l-3.6 3.6H4.4L.8 9.6V4.4zM6.2 3.4v4.8h1.6V3.4zm0 5.8v1.6h1.6V9.2z",
  check: "M5.4 11.6 1.2 7.4l1.4-1.4 2.8 2.8L11.4 2.8l1.4 1.4z",
  bell: "M6.2 1h1.6v.9A4 4 0 0 1 11 5.8V9l1.5 1.6v.9h-11v-.9L3 9V5.8a4 4 0 0 1 3.2-3.9zM5.3 12.3h3.4a1.7 1.7 0 0 1-3.4 0z",
  edit: "M10.3.9 13.1 3.7 4.6 12.2l-3.7.9.9-3.7zM9 4.2 10 5l1-1-1-.9z",
  box: "M1 2h12v3H1zM2 6h10v7H2zM5 7.5V9h4V7.5z",
  list: "M1 2.5h12V4H1zm0 4h12V8H1zm0 4h12V12H1z",
  close: "M3.2 2.2 7 6l3.8-3.8 1 1L8 7l3.8 3.8-1 1L7 8l-3.8 3.8-1-1L6 7 2.2 3.2z",
};

/** Element `tag` with properties (`class`, `on*`, ARIA and data attributes included) and children. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, value);
  }
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 14 14");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

/** Sets text only where it differs, so that a selection in the page survives an update. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const parsed = new WeakMap();

/** What a view is to show: the object that the text `state` of its model stands for, read once for each change. */
function stateOf(model) {
  const text = model.state;
  if (parsed.get(model)?.text !== text) parsed.set(model, { text, object: JSON.parse(text) });
  return parsed.get(model).object;
}

const grouped = new Intl.NumberFormat("en");
const count = (value) => grouped.format(value ?? 0);

/** Makes the children of `list` those of `items`, in their order; an element goes with its key, so that focus stays.
 *  `make(item)` gives {element, fill(item)}. */
function keyed(list, items, key, make) {
  const before = list.rows ?? new Map();
  list.rows = new Map();
  items.forEach((item, place) => {
    const name = key(item);
    const row = before.get(name) ?? make(item);
    list.rows.set(name, row);
    row.fill(item);
    if (list.children[place] !== row.element) list.insertBefore(row.element, list.children[place] ?? null);
  });
  for (const [name, row] of before) if (!list.rows.has(name)) row.element.remove();
}

/** SI prefix with three figures: si(84200000, "bit/s") is "84.2 Mbit/s". */
function si(value, unit) {
  const prefixes = ["", "k", "M", "G", "T"];
  let power = 0;
  while (value >= 999.5 && power < prefixes.length - 1) {
    value /= 1000;
    power += 1;
  }
  const text = power === 0 ? String(Math.round(value)) : value.toPrecision(3);
  return `${text} ${prefixes[power]}${unit}`.trim();
}

/** A chart takes colours when it paints, which it does not do by itself while nothing moves. */
function repaintCharts() {
  for (const model of (globalThis.Bokeh?.documents ?? []).flatMap((each) => [...each._all_models.values()])) {
    if (model.type === "Figure") model.change.emit();
  }
}
