/** Keeps the last bytes of what is written to it. */
export class TailBuffer {
  readonly #bytes: Uint8Array;
  #total = 0;

  constructor(bytesMax: number) {
    this.#bytes = new Uint8Array(bytesMax);
  }

  /** Bytes written altogether. */
  get total(): number {
    return this.#total;
  }

  write(bytes: Uint8Array): void {
    const size = this.#bytes.length;
    const kept = bytes.length > size ? bytes.subarray(bytes.length - size) : bytes;
    const start = (this.#total + bytes.length - kept.length) % size;
    const first = Math.min(kept.length, size - start);
    this.#bytes.set(kept.subarray(0, first), start);
    this.#bytes.set(kept.subarray(first), 0);
    this.#total += bytes.length;
  }

  /** A copy, oldest first. */
  read(): Uint8Array {
    const size = this.#bytes.length;
    if (this.#total <= size) return this.#bytes.slice(0, this.#total);
    const start = this.#total % size;
    const out = new Uint8Array(size);
    out.set(this.#bytes.subarray(start));
    out.set(this.#bytes.subarray(0, start), size - start);
    return out;
  }
}
