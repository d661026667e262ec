const rememberedMax = 1000;

/** Instances whose processes are known to have ended. The oldest are forgotten first: an instance's name is never used again. */
export class DeadInstances {
  readonly #instances = new Set<string>();

  add(instance: string): void {
    this.#instances.add(instance);
    if (this.#instances.size > rememberedMax) this.#instances.delete(this.#instances.values().next().value as string);
  }

  /** It answers: whatever was taken for its death was none. */
  delete(instance: string): void {
    this.#instances.delete(instance);
  }

  has(instance: string): boolean {
    return this.#instances.has(instance);
  }
}
