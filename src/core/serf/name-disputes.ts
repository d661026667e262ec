import { encodeUtf8 } from '../wire/msgpack.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import type { Swim } from '../swim/swim.ts';
import type { Timers } from '../swim/timers.ts';
import type { LogLevel, SwimNode } from '../swim/types.ts';
import { decodeConflictAnswer } from './queries.ts';
import type { Queries } from './queries.ts';
import type { SerfEvent } from './types.ts';

/** The same claim is told, and acted upon, at most this often (ms). */
const quietMs = 60_000;
const claimsRemembered = 256;

export interface DisputePorts {
  readonly swim: Swim;
  readonly queries: Queries;
  readonly timers: Timers;
  readonly gossipIntervalMs: number;
  emit(event: SerfEvent): void;
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** This node neither leaves nor has left. */
  running(): boolean;
  noteDead(name: string, reason: string): void;
  /** Exchanges state with a member and tells all that this node is there. */
  exchange(peer: Endpoint): void;
}

/**
 * One name claimed from two addresses: either two nodes were given the same name, or one restarted elsewhere and
 * nobody has noticed yet that its old life is over.
 */
export class NameDisputes {
  readonly #ports: DisputePorts;
  readonly #claims = new Map<string, number>();
  #busy = false;

  constructor(ports: DisputePorts) {
    this.#ports = ports;
  }

  conflict(known: SwimNode, claimed: Endpoint): void {
    if (!this.#isNews(`${known.name}\n${claimed.host}\n${claimed.port}`)) return;
    const own = known === this.#ports.swim.table.self;
    const here = `${known.endpoint.host}:${known.endpoint.port}`;
    const there = `${claimed.host}:${claimed.port}`;
    this.#ports.log('error', `the name '${known.name}' is claimed by ${there} while ${own ? 'this node has it' : `${here} has it`}: give each node its own name`, { node: known.name, known: here, claimed: there, own });
    this.#ports.emit({ type: 'name-conflict', name: known.name, known: known.endpoint, claimed, own });
    if (own) this.#defend(claimed);
    else this.#checkHolder(known);
  }

  #isNews(key: string): boolean {
    const { now } = this.#ports.timers;
    if (now - (this.#claims.get(key) ?? -Infinity) < quietMs) return false;
    this.#claims.delete(key);
    this.#claims.set(key, now);
    if (this.#claims.size > claimsRemembered) this.#claims.delete(this.#claims.keys().next().value as string);
    return true;
  }

  /** If the kernel at the old address refuses connections, the old life is over, and the name is free at once. */
  #checkHolder(known: SwimNode): void {
    const { endpoint } = known;
    this.#ports.swim.checkProcess(known.name, endpoint, (refused) => {
      if (refused && known.endpoint === endpoint) this.#ports.noteDead(known.name, 'another process has its name, and its address refuses connections');
    });
  }

  #defend(claimed: Endpoint): void {
    const { swim, timers, gossipIntervalMs } = this.#ports;
    if (this.#busy) return;
    this.#busy = true;
    swim.checkProcess(swim.table.self.name, claimed, (refused) => {
      this.#busy = false;
      if (!this.#ports.running()) return;
      if (refused) timers.after(2 * gossipIntervalMs, () => this.#announceAgain());
      else this.#askOthers();
    });
  }

  /** The others have found our old life dead by now: tells one of them where we are. */
  #announceAgain(): void {
    const { table } = this.#ports.swim;
    const [peer] = table.pick(1, (node) => node !== table.self && node.state === 'alive');
    if (peer !== undefined && this.#ports.running()) this.#ports.exchange(peer.endpoint);
  }

  /** Asks whom the others know under our name. Without a majority for us, we are the newcomer. */
  #askOthers(): void {
    const { name, endpoint } = this.#ports.swim.table.self;
    let responses = 0;
    let matching = 0;
    this.#busy = true;
    this.#ports.queries.ask('_serf_conflict', encodeUtf8(name), {}, (record) => {
      if (record.type === 'response') {
        const known = decodeConflictAnswer(record.payload);
        responses++;
        if (known?.host === endpoint.host && known.port === endpoint.port) matching++;
      } else if (record.type === 'done') {
        this.#busy = false;
        this.#settle(name, matching, responses);
      }
    });
  }

  #settle(name: string, matching: number, responses: number): void {
    const majority = Math.floor(responses / 2) + 1;
    if (matching >= majority) {
      this.#ports.log('info', `${matching} of ${responses} members that answered know this node under the name '${name}'`, { name, matching, responses });
      return;
    }
    this.#ports.log('error', `only ${matching} of ${responses} members that answered know this node under the name '${name}': stop it, and start it again under another name`, { name, matching, responses });
    this.#ports.emit({ type: 'name-lost', name, matching, responses });
  }
}
