const capacityMin = 16;

/**
 * A map from numbers to values for what comes and goes with every request. A `Map` in that part leaves tables behind
 * each time it is rehashed, and those that the collector has promoted keep alive whatever is put in later.
 * Open addressing with linear probing; deleting closes the gap, so nothing is left over and nothing is allocated
 * but when it grows. It does not shrink. Values must not be undefined; keys are numbers other than NaN.
 */
export class NumberMap<V> {
  #keys: Float64Array = new Float64Array(0);
  #values: (V | undefined)[] = [];
  #mask = -1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: number): V | undefined {
    if (this.#size === 0) return undefined;
    return this.#values[this.#find(key)];
  }

  has(key: number): boolean {
    return this.get(key) !== undefined;
  }

  set(key: number, value: V): void {
    if (this.#size * 2 > this.#mask) this.#grow();
    const at = this.#find(key);
    if (this.#values[at] === undefined) {
      this.#keys[at] = key;
      this.#size++;
    }
    this.#values[at] = value;
  }

  /** False when it was not there. */
  delete(key: number): boolean {
    if (this.#size === 0) return false;
    let gap = this.#find(key);
    if (this.#values[gap] === undefined) return false;
    const mask = this.#mask;
    // What was pushed past the gap by a collision moves back into it.
    for (let at = (gap + 1) & mask; this.#values[at] !== undefined; at = (at + 1) & mask) {
      const home = this.#home(this.#keys[at] as number);
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      this.#keys[gap] = this.#keys[at] as number;
      this.#values[gap] = this.#values[at];
      gap = at;
    }
    this.#values[gap] = undefined;
    this.#size--;
    return true;
  }

  clear(): void {
    if (this.#size === 0) return;
    this.#values.fill(undefined);
    this.#size = 0;
  }

  /** Where the key is, or the free place where it would be. */
  #find(key: number): number {
    let at = this.#home(key);
    while (this.#values[at] !== undefined && this.#keys[at] !== key) at = (at + 1) & this.#mask;
    return at;
  }

  #home(key: number): number {
    const mixed = Math.imul(key | 0, 0x9e37_79b1);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    const capacity = Math.max(capacityMin, values.length * 2);
    this.#keys = new Float64Array(capacity);
    this.#values = Array.from<V | undefined>({ length: capacity });
    this.#mask = capacity - 1;
    for (let i = 0; i < values.length; i++) {
      if (values[i] === undefined) continue;
      const at = this.#find(keys[i] as number);
      this.#keys[at] = keys[i] as number;
      this.#values[at] = values[i];
    }
  }
}
