/**
 * The file of live nodes: what an agent tells programs beside it, with which it shares nothing else. It is written from the
 * whole membership whenever that changes, never from the change alone: so a lost or reordered event cannot leave it wrong
 * for longer than until the next one. docs/live-nodes.md describes the form for programs in any language.
 */
import { messageOf, TroupeError } from '../base/errors.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Gossip, GossipEvent, Member } from './gossip-types.ts';
import { factsOf, userTagsOf } from './troupe-tags.ts';

/** A node that work may be sent to. */
export interface LiveNode {
  readonly name: string;
  /** Its gossip address, without the port; '' where only the name is known (of an expected node). */
  readonly address: string;
  /** Its gossip port; 0 where only the name is known. */
  readonly port: number;
  /** What its operator says about it; without Troupe's own facts. */
  readonly tags: Readonly<Record<string, string>>;
  /** `expected`: the agent has not spoken, and whoever reads was told to count on this node. */
  readonly status: 'alive' | 'expected';
}

/** What stands in the file. */
export interface LiveNodesDocument {
  /** Of this form: 1. A reader refuses any other. */
  readonly version: typeof liveNodesVersion;
  /** Milliseconds since 1970, by the clock of the agent's host, at which it was written. */
  readonly time: number;
  /** One more each time that this agent writes; begins anew with the agent's process. */
  readonly revision: number;
  /** The agent's own name. */
  readonly node: string;
  /** By name. */
  readonly nodes: readonly LiveNode[];
  /** Names that an event has held out of the list: for the agent's own next start. Default none. */
  readonly heldOut?: readonly HeldOut[];
}

/** A name that is held out, and which life of that node was meant: '' where that is not known. */
export interface HeldOut {
  readonly name: string;
  readonly instance: string;
}

export const liveNodesVersion = 1;
/** As many as a gossip pool has members. */
const nodesMax = 16_384;
/** Longer files are not read. */
export const liveNodesBytesMax: number = 16 << 20;
/** Names that are held out of the list; past it the oldest comes in again. */
const heldOutMax = 1024;

const nobody: ReadonlySet<string> = new Set();

/** User events and queries of these names rewrite the file; of the last two the payload is node names, separated by blanks. */
export const liveNodesEvent = { refresh: 'live-nodes-refresh', out: 'live-nodes-out', in: 'live-nodes-in' } as const;

/** Who may be sent work: alive, not held out, and not silent as far as the cluster's leader knows. */
export function liveNodesOf(members: readonly Member[], heldOut: { has(name: string): boolean }, silent: ReadonlySet<string> = nobody): LiveNode[] {
  return members
    .filter((member) => member.status === 'alive' && !heldOut.has(member.name) && !silent.has(member.name))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, address, tags }) => ({ name, address: address.host, port: address.port, tags: userTagsOf(tags), status: 'alive' }));
}

export function formatLiveNodes(document: LiveNodesDocument): string {
  const { nodes, heldOut = [], ...rest } = document;
  const head = heldOut.length === 0 ? rest : { ...rest, heldOut };
  // One node per line: for people, for `grep`, and for diffs.
  const lines = nodes.map((node) => `    ${JSON.stringify(node)}`).join(',\n');
  return `{\n${Object.entries(head).map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)},\n`).join('')}  "nodes": [${lines === '' ? '' : `\n${lines}\n  `}]\n}\n`;
}

/** Reads what `formatLiveNodes` writes, and what other writers make of docs/live-nodes.md: unknown keys are ignored. @throws TroupeError BAD_LIVE_NODES */
export function parseLiveNodes(text: string): LiveNodesDocument {
  if (text.length > liveNodesBytesMax) throw bad(`it has ${text.length} characters; at most ${liveNodesBytesMax} are read`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw bad(`it is not JSON: ${messageOf(error)}`);
  }
  if (!isObject(value)) throw bad('it is no JSON object');
  if (value['version'] !== liveNodesVersion) throw bad(`its version is ${JSON.stringify(value['version'])?.slice(0, 40)}; this reader knows version ${liveNodesVersion}`);
  const { time, revision, node, nodes } = value;
  if (typeof time !== 'number' || typeof revision !== 'number' || typeof node !== 'string') throw bad("'time' and 'revision' must be numbers, and 'node' must be text");
  if (!Array.isArray(nodes) || nodes.length > nodesMax) throw bad(`'nodes' must be a list of at most ${nodesMax}`);
  const heldOut = readHeldOut(value['heldOut']);
  return { version: liveNodesVersion, time, revision, node, nodes: nodes.map(readNode), ...(heldOut.length === 0 ? {} : { heldOut }) };
}

/** Whatever cannot be read of it holds nobody out. */
function readHeldOut(value: unknown): HeldOut[] {
  if (!Array.isArray(value)) return [];
  return value.slice(-heldOutMax).flatMap((each: unknown) => (isObject(each) && typeof each['name'] === 'string' && typeof each['instance'] === 'string' ? [{ name: each['name'], instance: each['instance'] }] : []));
}

/** Whom the agent's last life held out, as far as its list still says so. */
export function heldOutIn(text: string | undefined): readonly HeldOut[] {
  try {
    return text === undefined ? [] : (parseLiveNodes(text).heldOut ?? []);
  } catch {
    return []; // an old or a broken list is about to be replaced
  }
}

function readNode(value: unknown, index: number): LiveNode {
  const problem = (): TroupeError => bad(`nodes[${index}] must have a 'name', an 'address', a 'port', 'tags' of texts, and the status 'alive'`);
  if (!isObject(value)) throw problem();
  const { name, address, port, tags, status } = value;
  if (typeof name !== 'string' || name === '' || typeof address !== 'string' || !Number.isInteger(port) || (port as number) < 0 || (port as number) > 65_535 || status !== 'alive' || !isObject(tags)) throw problem();
  if (Object.values(tags).some((tag) => typeof tag !== 'string')) throw problem();
  return { name, address, port: port as number, tags: tags as Record<string, string>, status };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function bad(why: string): TroupeError {
  return new TroupeError('BAD_LIVE_NODES', `cannot read the list of live nodes: ${why}`, {});
}

export interface LiveNodesPorts {
  readonly gossip: Pick<Gossip, 'local' | 'members' | 'onEvent'>;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Nodes whose sessions ended because they do not answer. Leases find a frozen node within a second, where gossip must take
   * its time: a false alarm of a lease costs a move, one of gossip a member. Default: nobody.
   */
  readonly silent?: { names(): ReadonlySet<string>; onChange(listener: () => void): () => void };
  /** Replaces the file as a whole: a reader sees the old text or the new. */
  readonly write: (text: string) => Promise<void>;
  /** Who was held out when an earlier process of this agent ended; default nobody. */
  readonly heldOut?: readonly HeldOut[];
}

interface Held {
  readonly instance: string;
  /** Since before this process: that the node now joins, as far as this process can see, need not be news. */
  restored: boolean;
}

export interface LiveNodesTiming {
  /** A node that has just started and knows nobody yet says nothing for so long (ms); default 3000. Others would be given up for dead. */
  readonly settleMs: number;
  /** Written this often even if nothing changes (ms), should somebody have removed or changed the file; default 30,000. */
  readonly rewriteMs: number;
  /** After a failure it is tried again this soon (ms), then twice as late each time, up to `rewriteMs`; default 250. */
  readonly retryMs: number;
}

export const defaultLiveNodesTiming: LiveNodesTiming = { settleMs: 3000, rewriteMs: 30_000, retryMs: 250 };

type QueryAnswer = (payload: Uint8Array) => boolean;

/**
 * Keeps the file. All changes of one turn of the event loop go into one writing, and while one is being written the next
 * waits: so a burst costs two writings at most, and the newest state is on the disk as soon as the disk allows.
 */
export class LiveNodesFile {
  readonly #ports: LiveNodesPorts;
  readonly #timing: LiveNodesTiming;
  readonly #heldOut = new Map<string, Held>();
  readonly #stops: (() => void)[];
  /** The silent ones of the last list. */
  #silent: ReadonlySet<string> = nobody;
  /** Queries that are answered when what they asked for is written. */
  #answers: QueryAnswer[] = [];
  #speaks = false;
  #wanted = false;
  #armed = false;
  #writing: Promise<void> | undefined;
  #timer: Timer | undefined;
  #revision = 0;
  #failures = 0;
  #closed = false;

  constructor(ports: LiveNodesPorts, timing: Partial<LiveNodesTiming> = {}) {
    this.#ports = ports;
    this.#timing = { ...defaultLiveNodesTiming, ...timing };
    for (const { name, instance } of ports.heldOut ?? []) this.#heldOut.set(name, { instance, restored: true });
    for (const member of ports.gossip.members()) if (member.status === 'alive') this.#meet(member);
    this.#stops = [ports.gossip.onEvent((event) => this.#take(event))];
    if (ports.silent !== undefined) this.#stops.push(ports.silent.onChange(() => this.#lookForSilent()));
    if (this.#knowsOthers()) this.#speak();
    else this.#timer = ports.clock.at(ports.clock.now() + this.#timing.settleMs, () => this.#speak());
  }

  /** For `ps`. */
  get view(): { readonly revision: number; readonly failures: number; readonly heldOut: readonly string[]; readonly waiting: number } {
    return { revision: this.#revision, failures: this.#failures, heldOut: [...this.#heldOut.keys()], waiting: Number(this.#wanted) };
  }

  /** Writes what has changed last, and nothing from then on. */
  async close(): Promise<void> {
    if (this.#closed) return;
    for (const stop of this.#stops) stop();
    while (this.#writing !== undefined) await this.#writing;
    this.#closed = true;
    this.#timer?.cancel();
    if (this.#wanted && this.#speaks) await this.#write();
  }

  #take(event: GossipEvent): void {
    if (this.#applies(event)) this.#want();
  }

  #lookForSilent(): void {
    const names = this.#ports.silent?.names() ?? nobody;
    if (names.size !== this.#silent.size || [...names].some((name) => !this.#silent.has(name))) this.#want();
  }

  #want(): void {
    this.#wanted = true;
    if (!this.#speaks && this.#knowsOthers()) this.#speaks = true;
    if (this.#speaks) this.#arm();
  }

  /** Notes what the event says; false if it says nothing about who is live. */
  #applies(event: GossipEvent): boolean {
    switch (event.type) {
      case 'member-join':
        this.#meet(event.member);
        return true;
      case 'member-leave': case 'member-failed': case 'member-update': case 'member-reap': return true;
      case 'user': return this.#told(event.name, event.payload);
      case 'query':
        if (!this.#told(event.name, event.payload)) return false;
        if (this.#answers.length < 64) this.#answers.push((payload) => event.respond(payload));
        return true;
      default: return false;
    }
  }

  /** Whoever comes anew has a new life; but after a start of our own all come, with the lives they had. */
  #meet(member: Member): void {
    const held = this.#heldOut.get(member.name);
    if (held === undefined) return;
    const instance = instanceOf(member);
    if (held.restored && (held.instance === instance || held.instance === '' || instance === '')) held.restored = false;
    else this.#heldOut.delete(member.name);
  }

  #told(name: string, payload: Uint8Array): boolean {
    if (name === liveNodesEvent.refresh) return true;
    if (name !== liveNodesEvent.out && name !== liveNodesEvent.in) return false;
    const { gossip } = this.#ports;
    for (const each of new TextDecoder().decode(payload).split(/\s+/)) {
      // In again, or now the youngest.
      this.#heldOut.delete(each);
      if (name === liveNodesEvent.out && each !== '') this.#heldOut.set(each, { instance: instanceOf(gossip.members().find((member) => member.name === each)), restored: false });
    }
    while (this.#heldOut.size > heldOutMax) this.#heldOut.delete(this.#heldOut.keys().next().value as string);
    return true;
  }

  #knowsOthers(): boolean {
    const { gossip } = this.#ports;
    const self = gossip.local.name;
    return gossip.members().some((member) => member.name !== self && member.status === 'alive');
  }

  #speak(): void {
    this.#speaks = true;
    this.#wanted = true;
    this.#arm();
  }

  #arm(): void {
    if (this.#armed || this.#closed) return;
    this.#armed = true;
    this.#ports.clock.endOfTurn(() => {
      this.#armed = false;
      this.#start();
    });
  }

  #start(): void {
    if (this.#writing !== undefined || !this.#wanted || this.#closed) return;
    this.#timer?.cancel();
    this.#writing = this.#write().then((done) => {
      this.#writing = undefined;
      if (this.#closed) return;
      const { rewriteMs, retryMs } = this.#timing;
      if (done && this.#wanted) this.#start();
      else this.#again(done ? rewriteMs : Math.min(rewriteMs, retryMs * 2 ** Math.min(this.#failures - 1, 16)));
    });
  }

  #again(afterMs: number): void {
    const { clock } = this.#ports;
    this.#timer = clock.at(clock.now() + afterMs, () => {
      this.#wanted = true;
      this.#start();
    });
  }

  async #write(): Promise<boolean> {
    const { gossip, clock, log, write } = this.#ports;
    const answers = this.#answers;
    this.#answers = [];
    this.#wanted = false;
    this.#silent = this.#ports.silent?.names() ?? nobody;
    const nodes = liveNodesOf(gossip.members(), this.#heldOut, this.#silent);
    const heldOut = [...this.#heldOut].map(([name, { instance }]) => ({ name, instance }));
    try {
      await write(formatLiveNodes({ version: liveNodesVersion, time: clock.wallTime(), revision: this.#revision + 1, node: gossip.local.name, nodes, heldOut }));
    } catch (error) {
      this.#failures++;
      this.#wanted = true;
      if (this.#failures === 1) log.error('the list of live nodes cannot be written: programs that read it do not see changes; trying on', { reason: messageOf(error) });
      return false;
    }
    this.#revision++;
    if (this.#failures > 0) log.info('the list of live nodes is written again', { live: nodes.length });
    this.#failures = 0;
    log.debug('wrote the list of live nodes', { live: nodes.map((node) => node.name) });
    const answer = new TextEncoder().encode(`${nodes.length} live`);
    for (const respond of answers) respond(answer);
    return true;
  }
}

/** '' for an agent of Serf, which does not say. */
function instanceOf(member: Member | undefined): string {
  return (member && factsOf(member)?.instance) ?? '';
}
