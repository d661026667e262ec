/**
 * The end of an event-loop turn: one setImmediate for everything that waits for it.
 * `runs` come first (a machine hands over what it gathered), then `flushes` (sockets send what was written),
 * so that whatever a run writes still leaves in the same turn.
 */
let runs: (() => void)[] = [];
let flushes: (() => void)[] = [];
let armed = false;

/** Calls `run` once, after all I/O callbacks of this turn. */
export function atEndOfTurn(run: () => void): void {
  runs.push(run);
  arm();
}

/** Calls `flush` once, after everything given to {@link atEndOfTurn} in this turn. */
export function afterEndOfTurn(flush: () => void): void {
  flushes.push(flush);
  arm();
}

function arm(): void {
  if (armed) return;
  armed = true;
  setImmediate(finishTurn);
}

function finishTurn(): void {
  armed = false;
  const nowRuns = runs;
  runs = [];
  callAll(nowRuns);
  // Runs may have asked for flushes: those belong to this turn. Runs asked for by runs belong to the next one.
  const nowFlushes = flushes;
  flushes = [];
  callAll(nowFlushes);
}

/** If one throws, the rest still run, in a turn of their own, and the error surfaces as uncaught. */
function callAll(list: readonly (() => void)[]): void {
  let index = 0;
  try {
    while (index < list.length) (list[index++] as () => void)();
  } finally {
    if (index < list.length) {
      const rest = list.slice(index);
      setImmediate(() => callAll(rest));
    }
  }
}
