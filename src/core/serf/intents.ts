export interface Intent {
  /** An exchange of state has the time of an intent and does not say which it was. */
  readonly type: 'join' | 'leave' | 'unsaid';
  readonly lamportTime: number;
  readonly at: number;
}

const intentsMax = 4096;
/** How long an intent waits for the member that it is about (ms). */
export const intentLifeMs: number = 5 * 60_000;

/** Intents about members that are not known yet: gossip may bring them before the member itself. */
export class Intents {
  readonly #byName = new Map<string, Intent>();

  /** True when it is newer than what was known. */
  add(name: string, intent: Intent): boolean {
    const known = this.#byName.get(name);
    if (known !== undefined && !supersedes(intent, known)) return false;
    this.#byName.delete(name);
    this.#byName.set(name, intent);
    if (this.#byName.size > intentsMax) this.#byName.delete(this.#byName.keys().next().value as string);
    return true;
  }

  take(name: string): Intent | undefined {
    const intent = this.#byName.get(name);
    this.#byName.delete(name);
    return intent;
  }

  expire(now: number): void {
    for (const [name, intent] of this.#byName) if (now - intent.at > intentLifeMs) this.#byName.delete(name);
  }
}

function supersedes(intent: Intent, known: Intent): boolean {
  return intent.lamportTime > known.lamportTime || (intent.lamportTime === known.lamportTime && known.type === 'unsaid' && intent.type === 'leave');
}
