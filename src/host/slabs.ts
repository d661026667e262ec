/**
 * Buffers in which a turn's small writes gather, so that they leave in one system call and cost no allocation.
 * A slab goes back once the kernel has taken it.
 */
export const slabBytes: number = 32 * 1024;
/** More than this many idle slabs are left to the collector. */
const idleSlabCountMax = 64;

export class SlabPool {
  readonly #idle: Buffer[] = [];

  take(): Buffer {
    return this.#idle.pop() ?? Buffer.allocUnsafeSlow(slabBytes);
  }

  give(slab: Buffer): void {
    if (this.#idle.length < idleSlabCountMax) this.#idle.push(slab);
  }
}
