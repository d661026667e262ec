const linesKept = 400;

/** Everything that happened in a run, as one number (equal runs have equal numbers) and as its last lines. */
export class Trace {
  #first = 0x811c9dc5;
  #second = 0x9747b28c;
  #lines: string[] = [];
  #count = 0;
  readonly #now: () => number;
  readonly #onLine: ((line: string) => void) | undefined;

  constructor(now: () => number, onLine?: (line: string) => void) {
    this.#now = now;
    this.#onLine = onLine;
  }

  add(text: string): void {
    const line = `${this.#now().toFixed(3)} ${text}`;
    this.hash(line);
    this.#lines.push(line);
    if (this.#lines.length > 2 * linesKept) this.#lines = this.#lines.slice(-linesKept);
    this.#onLine?.(line);
  }

  /** Counts for the number only. */
  hash(text: string): void {
    this.#count++;
    let first = this.#first;
    let second = this.#second;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      first = Math.imul(first ^ code, 0x01000193);
      second = Math.imul(second ^ code, 0x5bd1e995) ^ (second >>> 15);
    }
    this.#first = first;
    this.#second = second;
  }

  get digest(): string {
    return [this.#first, this.#second, this.#count].map((part) => (part >>> 0).toString(16).padStart(8, '0')).join('');
  }

  get tail(): readonly string[] {
    return this.#lines.slice(-linesKept);
  }
}
