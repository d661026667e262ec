import { encodeUtf8 } from '../wire/msgpack.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import { isGone } from '../swim/member-table.ts';
import type { Swim } from '../swim/swim.ts';
import type { Timers } from '../swim/timers.ts';
import type { LogLevel, RandomSource, SwimNode } from '../swim/types.ts';
import { decodeConflictAnswer } from './queries.ts';
import type { Queries } from './queries.ts';
import type { SerfEvent } from './types.ts';

/** The same claim is told, and acted upon, at most this often (ms). */
const quietMs = 60_000;
const claimsRemembered = 256;
/** A claimant that was not heard of for longer than this is not asked any more when the name becomes free (ms). */
const claimKeptMs = 600_000;
/** Who knows of a claimant asks it after a random part of this, times the live members (ms), unless another did meanwhile; at most the second (ms). */
const askSpreadMs = 20;
const askSpreadMaxMs = 10_000;

export interface DisputePorts {
  readonly swim: Swim;
  readonly queries: Queries;
  readonly random: RandomSource;
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
  /** Who claimed a name last that another had. */
  readonly #claimants = new Map<string, { readonly at: Endpoint; readonly since: number }>();
  #busy = false;

  constructor(ports: DisputePorts) {
    this.#ports = ports;
  }

  conflict(known: SwimNode, claimed: Endpoint): void {
    if (known !== this.#ports.swim.table.self) this.#remember(known.name, claimed);
    if (!this.#isNews(`${known.name}\n${claimed.host}\n${claimed.port}`)) return;
    const own = known === this.#ports.swim.table.self;
    const here = `${known.endpoint.host}:${known.endpoint.port}`;
    const there = `${claimed.host}:${claimed.port}`;
    this.#ports.log('error', `the name '${known.name}' is claimed by ${there} while ${own ? 'this node has it' : `${here} has it`}: give each node its own name`, { node: known.name, known: here, claimed: there, own });
    this.#ports.emit({ type: 'name-conflict', name: known.name, known: known.endpoint, claimed, own });
    if (own) this.#defend(claimed);
    else this.#checkHolder(known);
  }

  /**
   * The member that had the name is gone. Whoever claimed it in vain does not know, and nobody looks for it at its address: they
   * would meet at the claimant's own next exchange of state, up to half a minute later. So one who remembers it exchanges now.
   */
  nameIsFree(node: SwimNode): void {
    const { swim, timers, random } = this.#ports;
    const claimant = this.#claimants.get(node.name);
    if (claimant === undefined || timers.now - claimant.since > claimKeptMs) return;
    timers.after(random.float() * Math.min(askSpreadMaxMs, askSpreadMs * swim.table.live), () => {
      const found = swim.table.get(node.name);
      if ((found !== undefined && !isGone(found)) || !this.#ports.running()) return;
      swim.pushPull(claimant.at, false, (failure) => {
        if (failure !== undefined) this.#ports.log('debug', `who claimed the name '${node.name}' is not to be reached: ${failure.message}`, { node: node.name, code: failure.code });
      });
    });
  }

  #remember(name: string, at: Endpoint): void {
    this.#claimants.delete(name);
    this.#claimants.set(name, { at, since: this.#ports.timers.now });
    if (this.#claimants.size > claimsRemembered) this.#claimants.delete(this.#claimants.keys().next().value as string);
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
