/** Rows that this browser knows, and the questions for others: one at a time, the latest wish winning.
 *  `columns()`: the names of the columns that are asked for. */
function listStore(send, columns) {
  const KEEP_ROWS = 4000;
  const ANSWER_MS = 5000;
  let known = new Map();
  let asked = 0;  // when the question was asked that is under way
  let outdated = false;  // its answer has other columns
  let barren = false;  // it brought nothing: asking again is of no use before the next tick
  let kept = 0;  // rows before this one have left the ring

  function take({ first, kept: oldest, rows }, top) {
    const { number = [], cells, ...facts } = rows;
    kept = Math.max(kept, oldest);
    if (known.size > KEEP_ROWS) for (const k of known.keys()) if (Math.abs(k - top) > KEEP_ROWS / 4) known.delete(k);
    number.forEach((value, k) => {
      const row = { number: value, cells: {} };
      for (const [name, values] of Object.entries(facts)) row[name] = values[k];
      for (const [name, values] of Object.entries(cells)) row.cells[name] = values[k];
      known.set(first + k, row);
    });
  }

  return {
    take,
    get: (index) => known.get(index),
    has: (index) => known.has(index),
    isGone: (index) => index < kept && !known.has(index),
    get waits() { return asked > 0; },
    /** Asks for those of rows [from, to) that are not known; false if there is nothing to ask now. */
    ask(from, to, epoch) {
      if (barren || (asked && performance.now() - asked < ANSWER_MS)) return false;
      from = Math.max(from, kept);
      while (from < to && known.has(from)) from += 1;
      while (to > from && known.has(to - 1)) to -= 1;
      if (from >= to) return false;
      asked = performance.now();
      send({ rows: [from, to - from], epoch, columns: columns() });
      return true;
    },
    answered(answer, top) {
      asked = 0;
      if (!outdated) {
        take(answer, top);
        barren = !answer.rows.number?.length;
      }
      outdated = false;
    },
    tick() { barren = false; },
    /** The rows have other columns now. */
    forget() {
      known = new Map();
      outdated = asked > 0;
    },
    /** The rows are others now; what is under way is answered to nobody. */
    clear() {
      known = new Map();
      asked = kept = 0;
      outdated = barren = false;
    },
  };
}
