/** The rows on the screen: as many elements as fit, filled anew as the list moves. `textOf(row, name, index)` gives a cell's
 *  text, `version(index)` what else it depends on. */
function listRows({ columns, store, textOf, version }) {
  const layer = h("div", { class: "layer" });
  let pool = [];

  function slot(k) {
    while (pool.length <= k) {
      const cells = columns.names().map((name, column) =>
        h("span", { class: columnClass(name), role: "gridcell", "aria-colindex": column + 1, "data-name": name }));
      const element = h("div", { class: "row", role: "row", id: `row-${pool.length}` }, ...cells);
      layer.append(element);
      pool.push({ element, cells, shown: undefined });
    }
    return pool[k];
  }

  function fill({ element, cells, shown }, index, first) {
    const row = store.get(index);
    const gone = store.isGone(index);
    const key = `${index}:${!!row}:${gone}:${version(index)}`;
    if (shown === key) return key;
    element.dataset.index = index;
    element.setAttribute("aria-rowindex", index - first + 1);
    element.setAttribute("aria-description", row?.problem ?? "");
    element.className = ["row", row ? `p-${row.family}` : gone ? "gone" : "loading", row?.grade ?? ""].join(" ").trim();
    for (const cell of cells) put(cell, row ? textOf(row, cell.dataset.name, index) : "");
    return key;
  }

  layer.addEventListener("mouseover", ({ target }) => {
    if (target.role !== "gridcell") return;
    const row = store.get(Number(target.parentElement.dataset.index));
    const cut = target.scrollWidth > target.clientWidth ? target.textContent : "";
    target.title = row ? [cut, target.dataset.name === "ts" ? stamp(row) : "", row.problem].filter(Boolean).join("\n") : "";
  });

  return {
    layer,
    /** Shows rows [from, to); `top` is the one at the upper edge, `current` the one that is looked at, `cell` a column of it. */
    paint({ from, to, top, first, current, cell }) {
      let active = null;
      for (let index = from; index < to; index += 1) {
        const each = slot(index - from);
        each.shown = fill(each, index, first);
        each.element.hidden = false;
        each.element.style.transform = `translateY(${Math.round((index - top) * ROW)}px)`;
        each.element.classList.toggle("current", index === current);
        each.element.setAttribute("aria-selected", index === current);
        for (const one of each.cells) one.classList.toggle("at", index === current && one.dataset.name === cell);
        if (index === current) active = each.element.id;
      }
      for (let k = Math.max(0, to - from); k < pool.length; k += 1) pool[k].element.hidden = true;
      return active;
    },
    /** Other columns: all elements are made anew. */
    rebuild() {
      for (const { element } of pool) element.remove();
      pool = [];
    },
    elementOf: (index) => pool.find(({ element }) => !element.hidden && Number(element.dataset.index) === index)?.element,
    /** The px that a column would fill. */
    widest(name) {
      const cells = pool.filter(({ element }) => !element.hidden).map(({ cells: all }) => all.find((cell) => cell.dataset.name === name));
      return Math.max(40, ...cells.filter(Boolean).map((cell) => {
        const range = document.createRange();
        range.selectNodeContents(cell);
        return range.getBoundingClientRect().width + 14;
      }));
    },
  };
}
