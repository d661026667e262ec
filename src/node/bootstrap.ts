/**
 * The founding of a cluster: once enough fresh nodes see each other, the one with the lowest name founds it, alone, and
 * the others register with it. Each of them first promises to found nothing else while that process lives, so that two
 * nodes that count differently do not found two clusters.
 */
import { messageOf, TroupeError } from '../base/errors.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';

export interface BootstrapOptions {
  readonly self: string;
  readonly instance: string;
  /** 0: never found a cluster. */
  readonly expect: number;
  readonly sync?: { readonly mandatory: readonly string[]; readonly optional: readonly string[]; readonly timeoutMs: number };
}

export interface BootstrapMember {
  readonly name: string;
  readonly instance: string;
  readonly cluster: string;
  readonly expect: string;
}

export interface BootstrapSurroundings {
  /** This node belongs to no group yet. */
  isFresh(): boolean;
  /** Live Troupe nodes, this one among them. */
  members(): BootstrapMember[];
  askPromise(node: string): Promise<boolean>;
  found(): Promise<void>;
  /** The barrier cannot be passed. */
  fail(error: TroupeError): void;
}

const tickMs = 100;
const namesMax = 8;
/** Nodes that are started together have met by then; what still stands in the way is told. */
const tellAfterMs = 3000;

export class Bootstrap {
  readonly #options: BootstrapOptions;
  readonly #around: BootstrapSurroundings;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #startedAt: number;
  #promisedTo: { name: string; instance: string } | undefined;
  #busy = false;
  #told: string | undefined;
  /** Who did not promise when this node wanted to found a cluster. */
  #unpromised: readonly string[] = [];
  #stopped = false;
  #timer: Timer | undefined;

  constructor(options: BootstrapOptions, around: BootstrapSurroundings, clock: Clock, log: Log) {
    this.#options = options;
    this.#around = around;
    this.#clock = clock;
    this.#log = log;
    this.#startedAt = clock.now();
    if (options.expect > 0 || options.sync !== undefined) this.#tick();
  }

  /** Another node is about to found a cluster. */
  promise(name: string, instance: string): boolean {
    if (!this.#around.isFresh()) return false;
    const held = this.#promisedTo;
    const binding = held !== undefined && held.instance !== instance && (held.name === this.#options.self || this.#around.members().some((member) => member.instance === held.instance));
    if (binding) return false;
    this.#promisedTo = { name, instance };
    return true;
  }

  #tick(): void {
    if (this.#stopped || !this.#around.isFresh()) return;
    if (!this.#busy) void this.#try();
    this.#tell();
    this.#timer = this.#clock.at(this.#clock.now() + tickMs, () => this.#tick());
  }

  /** In words, what stands between this node and a cluster. Only to be asked while it belongs to none. */
  waitsFor(): string {
    const { self, sync, expect } = this.#options;
    const members = this.#around.members();
    const present = members.map((member) => member.name).toSorted();
    const cluster = members.find((member) => member.cluster !== '');
    if (cluster !== undefined) return `it waits for '${cluster.name}' and its cluster to take it in`;
    if (sync !== undefined) {
      const missing = [...new Set([...sync.mandatory, ...sync.optional])].filter((name) => name !== self && !present.includes(name));
      return missing.length === 0 ? 'it is about to begin' : `it waits for ${missing.join(', ')} (sync)`;
    }
    if (expect === 0) return 'it founds none (bootstrap.expect is 0): it waits for one that takes it in';
    const alike = members.filter((member) => member.expect === String(expect)).map((member) => member.name).toSorted();
    const others = members.filter((member) => member.expect !== '' && member.expect !== '0' && member.expect !== String(expect)).map((member) => `'${member.name}' expects ${member.expect}`);
    const differ = others.length === 0 ? '' : `; ${others.slice(0, namesMax).join(', ')}: give all the same number`;
    const here = `${alike.length} of the ${expect} nodes that it expects are here (${alike.slice(0, namesMax).join(', ')})${differ}`;
    if (alike.length < expect) return here;
    if (alike[0] !== self) return `${here}; '${alike[0]}' is to found the cluster: its log says why it does not`;
    return this.#unpromised.length === 0 ? here : `${here}; no promise from ${this.#unpromised.slice(0, namesMax).join(', ')}: can this node connect to the address and peer port that they advertise`;
  }

  #tell(): void {
    if (this.#clock.now() - this.#startedAt < tellAfterMs || !this.#around.isFresh()) return;
    const words = this.waitsFor();
    if (words === this.#told) return;
    this.#told = words;
    this.#log.info(`this node belongs to no cluster yet: ${words}`);
  }

  async #try(): Promise<void> {
    const members = this.#around.members();
    // There is a cluster: this node will be taken in.
    if (members.some((member) => member.cluster !== '')) return;
    const founders = this.#founders(members);
    if (founders === undefined || founders[0] !== this.#options.self) return;
    if (this.#promisedTo !== undefined && this.#promisedTo.instance !== this.#options.instance && members.some((member) => member.instance === this.#promisedTo?.instance)) return;
    this.#busy = true;
    this.#promisedTo = { name: this.#options.self, instance: this.#options.instance };
    try {
      const others = founders.filter((name) => name !== this.#options.self);
      const promises = await Promise.all(others.map((name) => this.#around.askPromise(name).catch(() => false)));
      this.#unpromised = others.filter((_, index) => promises[index] !== true);
      if (promises.every(Boolean) && this.#around.isFresh() && !this.#stopped) {
        this.#log.info('founding a cluster', { nodes: founders });
        await this.#around.found();
      } else this.#promisedTo = undefined;
    } catch (error) {
      this.#promisedTo = undefined;
      this.#log.error('cannot found a cluster', { reason: messageOf(error) });
    } finally {
      this.#busy = false;
    }
  }

  /** Names of those who found the cluster, lowest first; undefined while the barrier stands. */
  #founders(members: readonly BootstrapMember[]): string[] | undefined {
    const { sync, expect } = this.#options;
    const present = members.map((member) => member.name).toSorted();
    if (sync === undefined) {
      const ready = members.filter((member) => member.expect === String(expect)).map((member) => member.name).toSorted();
      return ready.length >= expect ? ready : undefined;
    }
    const named = [...new Set([this.#options.self, ...sync.mandatory, ...sync.optional])];
    const here = named.filter((name) => present.includes(name)).toSorted();
    if (here.length === named.length) return here;
    if (this.#clock.now() - this.#startedAt < sync.timeoutMs) return undefined;
    const missing = sync.mandatory.filter((name) => !present.includes(name));
    if (missing.length === 0) return here;
    this.#stopped = true;
    this.#around.fail(new TroupeError('SYNC_TIMEOUT', `cannot start: the mandatory nodes ${missing.join(', ')} have not come up within ${sync.timeoutMs} ms`, { missing }));
    return undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}
