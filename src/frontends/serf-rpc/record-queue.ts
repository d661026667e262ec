/** Records that wait because the client does not read. */
export class RecordQueue {
  readonly #records: Uint8Array[] = [];
  #bytes = 0;

  get count(): number {
    return this.#records.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(record: Uint8Array): void {
    this.#records.push(record);
    this.#bytes += record.length;
  }

  shift(): Uint8Array | undefined {
    const record = this.#records.shift();
    this.#bytes -= record?.length ?? 0;
    return record;
  }
}
