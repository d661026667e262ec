import type { Report } from './checker.ts';

/** One instance of an app, from the call of its start on. */
export interface AppLife {
  readonly app: string;
  readonly node: string;
  /** Of the process. */
  readonly instance: string;
  readonly epoch: number;
  readonly type: string;
  /** It can act: its process lives and runs, and it has not been told to end. */
  isActive(): boolean;
  /** Its node's lease holds, by the node's own clock. */
  hasRights(): boolean;
}

/** An app never runs on two nodes at once, and each start elsewhere has a higher epoch. */
export class OnePlace {
  readonly #report: Report;
  readonly #lives = new Map<string, AppLife[]>();
  readonly #newest = new Map<string, { epoch: number; instance: string }>();
  startCount = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  started(life: AppLife): void {
    this.startCount++;
    const { app, node, epoch, instance, type } = life;
    if (!life.hasRights()) this.#report('one-place', `${node} starts app ${app} under epoch ${epoch} although its lease has run out`);
    const newest = this.#newest.get(app);
    // After a failure there, or when its lease had run out for a moment, the same process may start it again.
    const again = newest !== undefined && newest.epoch === epoch && newest.instance === instance;
    if (newest !== undefined && !again && epoch <= newest.epoch) {
      this.#report('app-epochs', `${node} starts app ${app} (${type}) under epoch ${epoch}; one was started under epoch ${newest.epoch} before`);
    }
    this.#newest.set(app, { epoch, instance });
    const lives = (this.#lives.get(app) ?? []).filter((other) => other.isActive() || other.instance !== instance);
    this.#lives.set(app, [...lives.slice(-20), life]);
    this.check(app);
  }

  /** To be asked whenever an instance may have become able to act again. */
  check(app: string): void {
    const active = (this.#lives.get(app) ?? []).filter((life) => life.isActive());
    const [first, second] = active;
    if (first === undefined || second === undefined) return;
    this.#report('one-place', `app ${app} runs on ${first.node} under epoch ${first.epoch} and on ${second.node} under epoch ${second.epoch} at once`);
  }

  checkAll(): void {
    for (const app of this.#lives.keys()) this.check(app);
  }

  activeOn(app: string): string[] {
    return (this.#lives.get(app) ?? []).filter((life) => life.isActive()).map((life) => life.node);
  }
}
