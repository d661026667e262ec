import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Timer } from '../ports/clock.ts';
import type { DatagramSocket } from '../ports/datagrams.ts';
import { FloodGate } from './flood-gate.ts';
import { HeardHosts } from './heard-hosts.ts';
import { decodeHeartbeat, encodeHeartbeat, HeartbeatKind } from './heartbeat-packet.ts';
import type { Heartbeat } from './heartbeat-packet.ts';
import { interfaceFor, NetworkEar } from './network-ear.ts';
import { boolean, keys, milliseconds, optionalText, textOr, whole } from './options.ts';
import type { DiscoveryPorts, Sink, Source, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface GossipOptions {
  readonly port: number;
  readonly address: string | undefined;
  readonly broadcast: boolean;
  readonly ttl: number;
  readonly interface: string | undefined;
  readonly secret: readonly Uint8Array[] | undefined;
  readonly group: string;
  readonly heartbeatMinMs: number;
  readonly heartbeatMaxMs: number;
  readonly clockSkewMaxMs: number;
}

type GossipPorts = Pick<DiscoveryPorts, 'clock' | 'random' | 'datagrams' | 'cipher' | 'self' | 'log'>;

const multicastAddress = '233.252.1.32';
const broadcastAddress = '255.255.255.255';
/** Answers to newcomers are spread over so many ms for each node that is known, so that not all speak at once. */
const answerSpreadMs = 10;
const answerSpreadMaxMs = 500;
/** Between two answers: whoever makes up newcomers gets no more out of us than this (ms). */
const answerPauseMs = 250;

export const gossip: Strategy = defineStrategy<GossipOptions, keyof GossipPorts>({
  name: 'gossip',
  summary: 'Each node tells the local network by multicast (or broadcast) that it is there. Most clouds do not carry either.',
  ports: ['clock', 'random', 'datagrams', 'cipher', 'self', 'log'],
  options: {
    port: whole(45_892, 1, 65_535, 'UDP port, the same on all nodes'),
    address: optionalText('where heartbeats are sent: a multicast group of IPv4 or IPv6 (`ff02::…` with `interface`), or with `broadcast` an address of IPv4', `${multicastAddress}; with \`broadcast\`, ${broadcastAddress}`),
    broadcast: boolean(false, 'the address is one for broadcast'),
    ttl: whole(1, 1, 255, 'how many networks a multicast may cross'),
    interface: optionalText('name or address of the interface to use', "the system's choice; 127.0.0.1 for a node on loopback"),
    secret: keys('a key (`troupe keygen`), or a list of which the first encrypts and all decrypt: heartbeats are encrypted and authenticated, and none counts twice', "the cluster's keys (`gossip.encrypt`); without these heartbeats are plain"),
    group: textOr('default', 'heartbeats of other groups are not heeded'),
    heartbeatMinMs: milliseconds(1000, 'shortest time between two heartbeats', 50),
    heartbeatMaxMs: milliseconds(5000, 'longest time between two heartbeats; a node that was not heard for five times as long counts as gone', 50),
    clockSkewMaxMs: milliseconds(30_000, 'heartbeats whose time differs by more from ours do not count: they may be old ones that somebody recorded', 1000),
  },
  contradiction: ({ heartbeatMinMs, heartbeatMaxMs, address, broadcast }) => {
    if (heartbeatMinMs > heartbeatMaxMs) return { option: 'heartbeatMinMs', message: `is ${heartbeatMinMs}, above heartbeatMaxMs, which is ${heartbeatMaxMs}` };
    if (address === undefined) return undefined;
    if (broadcast) return /^\d+(\.\d+){3}$/.test(address) ? undefined : { option: 'address', message: `'${address.slice(0, 80)}' is no IPv4 address, and only these have broadcast` };
    return /^(22[4-9]|23\d)(\.\d+){3}$|^ff[0-9a-f]{2}:[0-9a-f:.]*$/i.test(address) ? undefined : { option: 'address', message: `'${address.slice(0, 80)}' is no multicast group: these are 224.0.0.0 to 239.255.255.255, and ff00::/8` };
  },
  start: (options, ports, sink) => new GossipSource(options, ports, sink),
});

class GossipSource implements Source {
  readonly #options: GossipOptions;
  readonly #ports: GossipPorts;
  readonly #target: Address;
  readonly #instance: string;
  readonly #heard: HeardHosts;
  readonly #ear: NetworkEar;
  readonly #gate = new FloodGate();
  readonly #warned = new Set<string>();
  #counter = 0;
  #socket: DatagramSocket | undefined;
  #opening: Promise<void> | undefined;
  #timer: Timer | undefined;
  #answer: Timer | undefined;
  #answeredAt = -Infinity;
  #stopping: Promise<void> | undefined;

  constructor(options: GossipOptions, ports: GossipPorts, sink: Sink) {
    const { clock, random } = ports;
    this.#options = options;
    this.#ports = ports;
    this.#target = { host: options.address ?? (options.broadcast ? broadcastAddress : multicastAddress), port: options.port };
    this.#instance = random.uint32().toString(16).padStart(8, '0') + random.uint32().toString(16).padStart(8, '0');
    this.#heard = new HeardHosts({ lossMs: options.heartbeatMaxMs * 5, rememberMs: Math.max(options.heartbeatMaxMs * 5, options.clockSkewMaxMs * 2) });
    this.#ear = new NetworkEar({ clock, sink, heard: this.#heard, target: this.#target, deafMs: options.heartbeatMaxMs * 2.5 });
    this.#timer = clock.at(clock.now(), () => this.#beat());
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#timer?.cancel();
      this.#answer?.cancel();
      await this.#opening;
      if (this.#socket !== undefined) this.#send(HeartbeatKind.bye);
      await this.#close();
    })();
    return this.#stopping;
  }

  #beat(): void {
    const { clock, random } = this.#ports;
    const { heartbeatMinMs, heartbeatMaxMs } = this.#options;
    this.#timer = clock.at(clock.now() + heartbeatMinMs + random.float() * (heartbeatMaxMs - heartbeatMinMs), () => this.#beat());
    this.#opening ??= this.#tend().finally(() => (this.#opening = undefined));
  }

  async #tend(): Promise<void> {
    if (this.#socket !== undefined && this.#ear.isDeaf) {
      this.#ear.failDeaf();
      // The interface may have come back with the group forgotten.
      await this.#close();
    }
    if (this.#socket === undefined) await this.#open();
    if (this.#stopping !== undefined) return;
    this.#send(HeartbeatKind.here);
    this.#ear.tell();
  }

  async #open(): Promise<void> {
    const { broadcast, port, ttl } = this.#options;
    const { host } = this.#target;
    try {
      this.#socket = await this.#ports.datagrams.bind({ host: host.includes(':') ? '::' : '0.0.0.0', port }, (packet, from) => this.#receive(packet, from), {
        shared: true,
        ...(broadcast ? { broadcast: true } : { group: host, ttl, ...interfaceFor(this.#options.interface, this.#ports.self.address) }),
      });
      this.#ear.opened();
    } catch (error) {
      this.#ear.fail(error);
    }
  }

  async #close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = undefined;
    await socket?.close();
  }

  get #keys(): readonly Uint8Array[] {
    return this.#options.secret ?? this.#ports.self.keys;
  }

  #send(kind: HeartbeatKind): void {
    const { clock, cipher, self } = this.#ports;
    const heartbeat: Heartbeat = { kind, instance: this.#instance, wallTime: clock.wallTime(), counter: ++this.#counter, group: this.#options.group, address: self.address };
    this.#socket?.send(encodeHeartbeat(heartbeat, cipher, this.#keys), this.#target);
  }

  #receive(packet: Uint8Array, from: Address): void {
    const { clock, cipher } = this.#ports;
    const now = clock.now();
    if (!this.#gate.admits(from.host, now)) return this.#warnOnce('flood', `so many packets of ${from.host} cannot be opened that not all are looked at`);
    const heartbeat = decodeHeartbeat(packet, cipher, this.#keys);
    if (typeof heartbeat === 'string') {
      this.#gate.refused(from.host, now);
      if (heartbeat === 'key') this.#warnOnce('key', 'heartbeats with another key, or with none, do not count');
      return;
    }
    if (heartbeat.group !== this.#options.group) return;
    if (heartbeat.instance === this.#instance) return this.#ear.heardOurselves();
    const skewMs = heartbeat.wallTime - clock.wallTime();
    if (Math.abs(skewMs) > this.#options.clockSkewMaxMs) return this.#warnOnce('skew', `a heartbeat of ${formatAddress(heartbeat.address)} does not count: its time differs from ours by ${Math.round(skewMs / 1000)} s; set the clocks`);
    const result = this.#heard.hear(heartbeat.instance, heartbeat.address, heartbeat.counter, heartbeat.kind === HeartbeatKind.bye, now);
    if (result === 'replay') return;
    if (result === 'full') return this.#warnOnce('full', 'too many nodes are heard: further ones do not count');
    if (result === 'new') this.#answerSoon(now);
    if (result === 'new' || heartbeat.kind === HeartbeatKind.bye) this.#ear.tell();
  }

  /** A newcomer should not have to wait for our next heartbeat. */
  #answerSoon(now: number): void {
    if (this.#answer !== undefined || this.#stopping !== undefined) return;
    const spreadMs = Math.min(answerSpreadMaxMs, answerSpreadMs * this.#heard.present(now).length);
    const at = Math.max(now + this.#ports.random.float() * spreadMs, this.#answeredAt + answerPauseMs);
    this.#answer = this.#ports.clock.at(at, () => {
      this.#answer = undefined;
      this.#answeredAt = at;
      this.#send(HeartbeatKind.here);
    });
  }

  #warnOnce(kind: string, message: string): void {
    if (this.#warned.has(kind)) return;
    this.#warned.add(kind);
    this.#ports.log.warn(message, { target: formatAddress(this.#target) });
  }
}
