import { messageOf } from '../base/errors.ts';
import { readSnapshot, snapshotLine, writeSnapshot } from '../core/serf/snapshot.ts';
import type { ReadSnapshot } from '../core/serf/snapshot.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress, parseAddress } from '../ports/address.ts';
import type { AppendFile, AppendFiles } from '../ports/append-files.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Random } from '../ports/random.ts';
import type { Gossip, GossipEvent, LamportTimes, Member } from './gossip-types.ts';

export interface SnapshotOptions {
  readonly path: string;
  /** Go back to the cluster although this node had left it. */
  readonly rejoin: boolean;
}

export interface SnapshotPorts {
  readonly files: AppendFiles;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What is read of a file at most; one of our own is compacted long before. */
export const snapshotBytesMax: number = 64 * 1024 * 1024;
/** How often the member clock is looked at, and what was only written is made durable (ms). Serf's figure. */
const tickMs = 500;
/** The file is written anew when it is longer than this, or than this for each live member (bytes). Serf's figures. */
const compactBytes = 128 * 1024;
const compactBytesPerMember = 256;
/** What waits for a disk that hangs; past it the file is written anew when the disk is back (bytes). */
const waitingMax = 1024 * 1024;
/** After a failed write the next try waits (ms). */
const repairMs = 5000;
/** Members asked at one time after a restart, and how many answers are enough when there are more. */
const rejoinAtOnce = 16;
const rejoinEnough = 3;
const rejoinRetryMs = { min: 250, max: 10_000 };

/**
 * What this node knew before it was restarted. Read before gossip starts, attached to it at once, kept until the end.
 * A change of the membership is on its way to the disk before anybody is told of it, and is made durable at once.
 */
export class SnapshotKeeper {
  readonly #options: SnapshotOptions;
  readonly #ports: SnapshotPorts;
  readonly #file: AppendFile;
  readonly #before: ReadSnapshot;
  readonly #alive: Map<string, string>;
  #times: LamportTimes;
  #gossip: Gossip | undefined;
  #stop: () => void = () => {};
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #size = 0;
  #waiting = '';
  #writing: Promise<void> | undefined;
  #wantsSync = false;
  #wantsWhole = true;
  #quietUntil = 0;
  #left = false;
  #closed = false;

  private constructor(options: SnapshotOptions, ports: SnapshotPorts, file: AppendFile, before: ReadSnapshot) {
    this.#options = options;
    this.#ports = ports;
    this.#file = file;
    this.#before = before;
    this.#alive = new Map(before.alive);
    this.#times = before;
  }

  /** Rejects with a TroupeError FILE_UNREADABLE, DISK_UNWRITABLE or DISK_FULL. */
  static async open(options: SnapshotOptions, ports: SnapshotPorts): Promise<SnapshotKeeper> {
    const { text, file } = await ports.files.open(options.path, snapshotBytesMax);
    const before = readSnapshot(text, options.rejoin);
    if (before.badLines > 0) ports.log.warn(`${before.badLines} lines of the snapshot ${options.path} cannot be read and are left out`, { problems: before.problems });
    if (before.torn) ports.log.info(`the snapshot ${options.path} ends within a line, as after a crash: that line is left out`, {});
    return new SnapshotKeeper(options, ports, file, before);
  }

  /** Where gossip goes on; undefined for a node that knew nothing. */
  get resume(): LamportTimes | undefined {
    const { alive, memberTime, eventTime, queryTime } = this.#before;
    return alive.size === 0 && memberTime === 0 && eventTime === 0 ? undefined : { memberTime, eventTime, queryTime };
  }

  /** Begins to keep what happens, and to look for those who were there. In the very turn in which gossip has started. */
  attach(gossip: Gossip): void {
    this.#gossip = gossip;
    this.#stop = gossip.onEvent((event) => this.#note(event));
    for (const member of gossip.members()) if (member.status === 'alive') this.#noteAlive(member);
    this.#whole();
    this.#tick();
    const peers = [...this.#before.alive].filter(([name]) => name !== gossip.local.name).flatMap(([, address]) => readAddress(address));
    if (peers.length > 0) void this.#goBack(gossip, peers, rejoinRetryMs.min);
  }

  /** Writes what waits, and ends. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#stop();
    this.#timer?.cancel();
    this.#retry?.cancel();
    this.#noteTimes();
    this.#quietUntil = 0;
    this.#wantsSync = true;
    // What is on its way, and what came meanwhile; a disk that fails is not waited for again.
    for (let writes = 0; writes < 3 && (this.#wantsSync || this.#waiting !== ''); writes++) {
      this.#write();
      await this.#writing;
    }
    this.#closed = true;
    await this.#file.close().catch(() => {});
  }

  #note(event: GossipEvent): void {
    if (this.#left) return;
    switch (event.type) {
      case 'member-join': return this.#noteAlive(event.member);
      case 'member-leave':
      case 'member-failed':
        if (event.member.name === this.#gossip?.local.name) return this.#noteLeave();
        this.#alive.delete(event.member.name);
        return this.#append(snapshotLine.notAlive(event.member.name), true);
      case 'user':
      case 'query': return this.#noteTimes();
      default: return;
    }
  }

  #noteAlive({ name, address }: Member): void {
    const where = formatAddress(address);
    if (this.#alive.get(name) === where) return;
    this.#alive.set(name, where);
    this.#append(snapshotLine.alive(name, where), true);
  }

  #noteLeave(): void {
    this.#noteTimes();
    this.#left = true;
    if (!this.#options.rejoin) this.#alive.clear();
    this.#append(snapshotLine.leave, true);
  }

  #noteTimes(): void {
    if (this.#left || this.#gossip === undefined) return;
    const times = this.#gossip.times();
    for (const key of ['memberTime', 'eventTime', 'queryTime'] as const) if (times[key] > this.#times[key]) this.#append(snapshotLine[key](times[key]), false);
    this.#times = times;
  }

  #tick(): void {
    if (this.#closed) return;
    this.#noteTimes();
    this.#write();
    this.#timer = this.#ports.clock.at(this.#ports.clock.now() + tickMs, () => this.#tick());
  }

  // ── Writing ──

  #append(line: string | undefined, durable: boolean): void {
    if (line === undefined || this.#closed) return;
    this.#waiting += line;
    if (this.#waiting.length > waitingMax) this.#wantsWhole = true;
    if (durable) this.#wantsSync = true;
    this.#write();
  }

  #whole(): void {
    this.#wantsWhole = true;
    this.#write();
  }

  /** One write at a time; what comes meanwhile goes with the next. */
  #write(): void {
    if (this.#writing !== undefined || this.#closed || this.#ports.clock.now() < this.#quietUntil) return;
    if (!this.#wantsWhole && this.#waiting === '' && !this.#wantsSync) return;
    this.#writing = this.#writeOnce().then(() => {
      this.#writing = undefined;
    }, (error: unknown) => {
      this.#writing = undefined;
      this.#wantsWhole = true; // nobody knows how much of it is there
      this.#quietUntil = this.#ports.clock.now() + repairMs;
      this.#ports.log.error('the snapshot cannot be written: a restart now would not remember the newest', { path: this.#options.path, reason: messageOf(error) });
    }).then(() => this.#closed ? undefined : this.#write());
  }

  async #writeOnce(): Promise<void> {
    const text = this.#waiting;
    this.#waiting = '';
    const whole = this.#wantsWhole || this.#size + text.length > Math.max(compactBytes, compactBytesPerMember * this.#alive.size);
    if (whole) {
      this.#wantsWhole = this.#wantsSync = false;
      const content = writeSnapshot({ alive: this.#alive, ...this.#times }) + (this.#left ? snapshotLine.leave : '');
      await this.#file.replace(content);
      this.#size = content.length;
      return;
    }
    const sync = this.#wantsSync;
    this.#wantsSync = false;
    if (text !== '') await this.#file.append(text);
    this.#size += text.length;
    if (sync) await this.#file.sync();
  }

  // ── Going back ──

  /** All at once, so that one address that swallows packets costs no time; again until somebody is there. */
  async #goBack(gossip: Gossip, peers: readonly Address[], retryMs: number): Promise<void> {
    if (this.#closed || this.#left || gossip.members().some((member) => member.status === 'alive' && member.name !== gossip.local.name)) return;
    const { clock, random, log } = this.#ports;
    const mixed = shuffled(peers, random);
    let joined = 0;
    let reason = '';
    const worker = async (): Promise<void> => {
      for (let peer = mixed.pop(); peer !== undefined && joined < rejoinEnough && !this.#closed; peer = mixed.pop()) {
        const result = await gossip.join([peer], undefined, { rejoin: true });
        joined += result.joined;
        reason = result.errors[0]?.message ?? reason;
      }
    };
    await Promise.all(Array.from({ length: rejoinAtOnce }, worker));
    if (joined > 0) return log.info('went back to the cluster that the snapshot remembers', { answered: joined, known: peers.length });
    if (this.#closed) return;
    log.info('none of the members that the snapshot remembers answers: trying on', { known: peers.length, reason });
    this.#retry = clock.at(clock.now() + retryMs, () => void this.#goBack(gossip, peers, Math.min(rejoinRetryMs.max, retryMs * 2)));
  }
}

function readAddress(text: string): Address[] {
  try {
    return [parseAddress(text)];
  } catch {
    return []; // an IPv6 zone or the like: gossip could not reach it anyway
  }
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const mixed = [...list];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
  }
  return mixed;
}
