import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Timer } from '../ports/clock.ts';
import type { DatagramSocket } from '../ports/datagrams.ts';
import { canonicalHost } from './canonical-host.ts';
import { HeardHosts } from './heard-hosts.ts';
import { decodeDns, encodeDns, RecordType } from './mdns-packet.ts';
import type { DnsMessage, DnsRecord } from './mdns-packet.ts';
import { interfaceFor, NetworkEar } from './network-ear.ts';
import { milliseconds, optionalText, text } from './options.ts';
import type { DiscoveryPorts, Sink, Source, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface MdnsOptions {
  readonly service: string;
  readonly interface: string | undefined;
  readonly pollMs: number;
}

type MdnsPorts = Pick<DiscoveryPorts, 'clock' | 'random' | 'datagrams' | 'self' | 'log'>;

const group: Address = { host: '224.0.0.251', port: 5353 };
const ttlSeconds = 120;
/** A newcomer asks more often at first: its first question may be lost (ms). */
const firstPollsMs = [500, 1500];
const lostAfterPolls = 3;

/**
 * As `serf agent -discover NAME` does it, and understood by it: each node answers for the service
 * `_serf_NAME._tcp.local.`, and asks for it. Serf asks once a minute and remembers whom it has tried; so a Troupe node
 * that is found goes and joins, instead of waiting for it.
 *
 * Answers go to the asker alone, as Serf's do, and nothing is announced to all: while a Serf agent asks, it believes
 * every answer that it hears, of whatever service, and would join the members of another cluster.
 */
export const mdns: Strategy = defineStrategy<MdnsOptions, keyof MdnsPorts>({
  name: 'mdns',
  summary: "Multicast DNS, as Serf's `-discover` does it: real Serf agents are found, and find us.",
  ports: ['clock', 'random', 'datagrams', 'self', 'log'],
  options: {
    service: text("the cluster's name on this network; Serf's `-discover`"),
    interface: optionalText("name or IPv4 address of the interface to use; Serf's `-iface`", "the system's choice; 127.0.0.1 for a node on loopback"),
    pollMs: milliseconds(10_000, 'time between two questions; a node that left three of them without an answer counts as gone', 200),
  },
  contradiction: ({ service }) => (/^[A-Za-z0-9_-]{1,50}$/.test(service) ? undefined : { option: 'service', message: 'must be 1 to 50 letters, digits, - or _: it becomes part of a DNS name' }),
  start: (options, ports, sink) => new MdnsSource(options, ports, sink),
});

class MdnsSource implements Source {
  readonly #options: MdnsOptions;
  readonly #ports: MdnsPorts;
  readonly #service: readonly string[];
  readonly #heard: HeardHosts;
  readonly #ear: NetworkEar;
  /** Hears the others' questions, and answers them. */
  #responder: DatagramSocket | undefined;
  /** Asks, and gets the answers that are for us alone. */
  #asker: DatagramSocket | undefined;
  #timer: Timer | undefined;
  #tending: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;
  #polls = 0;
  #counter = 0;
  #questionId = 0;

  constructor(options: MdnsOptions, ports: MdnsPorts, sink: Sink) {
    this.#options = options;
    this.#ports = ports;
    this.#service = [`_serf_${options.service}`, '_tcp', 'local'];
    this.#heard = new HeardHosts({ lossMs: options.pollMs * (lostAfterPolls + 0.5), rememberMs: options.pollMs * (lostAfterPolls + 0.5) });
    this.#ear = new NetworkEar({ clock: ports.clock, sink, heard: this.#heard, target: group, deafMs: options.pollMs * 1.5 });
    this.#timer = ports.clock.at(ports.clock.now(), () => this.#poll());
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#timer?.cancel();
      await this.#tending;
      await this.#close();
    })();
    return this.#stopping;
  }

  #poll(): void {
    const { clock, random } = this.#ports;
    const delayMs = Math.min(firstPollsMs[this.#polls++] ?? Infinity, this.#options.pollMs) * (0.9 + 0.2 * random.float());
    this.#timer = clock.at(clock.now() + delayMs, () => this.#poll());
    this.#tending ??= this.#tend().finally(() => (this.#tending = undefined));
  }

  async #tend(): Promise<void> {
    if (this.#asker !== undefined && this.#ear.isDeaf) {
      this.#ear.failDeaf();
      await this.#close();
    }
    if (this.#asker === undefined) await this.#open();
    if (this.#stopping !== undefined) return;
    this.#questionId = 1 + this.#ports.random.below(0xffff);
    this.#asker?.send(encodeDns({ id: this.#questionId, isAnswer: false, questions: [{ name: this.#service, type: RecordType.PTR, unicast: false }], records: [] }), group);
    this.#ear.tell();
  }

  async #open(): Promise<void> {
    const via = interfaceFor(this.#options.interface, this.#ports.self.address);
    const onPacket = (packet: Uint8Array, from: Address): void => this.#receive(packet, from);
    try {
      // RFC 6762, 11: packets of mDNS are sent with 255, so that whoever checks sees that they crossed no router.
      this.#responder = await this.#ports.datagrams.bind({ host: '0.0.0.0', port: group.port }, onPacket, { shared: true, group: group.host, ttl: 255, ...via });
      this.#asker = await this.#ports.datagrams.bind({ host: '0.0.0.0', port: 0 }, onPacket, { ttl: 255, ...via });
      this.#ear.opened();
    } catch (error) {
      await this.#close();
      this.#ear.fail(error);
    }
  }

  async #close(): Promise<void> {
    const sockets = [this.#responder, this.#asker];
    this.#responder = this.#asker = undefined;
    for (const socket of sockets) await socket?.close();
  }

  #receive(packet: Uint8Array, from: Address): void {
    const message = decodeDns(packet);
    if (message === undefined) return;
    if (message.isAnswer) this.#receiveAnswer(message, from);
    else this.#receiveQuestion(message, from);
  }

  #receiveQuestion(message: DnsMessage, from: Address): void {
    if (!message.questions.some((each) => sameName(each.name, this.#service) && (each.type === RecordType.PTR || each.type === RecordType.ANY))) return;
    if (message.id === this.#questionId && from.port === this.#asker?.address.port) this.#ear.heardOurselves();
    this.#responder?.send(encodeDns(this.#answer(message.id)), from);
  }

  #receiveAnswer(message: DnsMessage, from: Address): void {
    const now = this.#ports.clock.now();
    for (const { name, address, gone } of servicesIn(message, this.#service, from.host)) {
      if (formatAddress(address) === formatAddress(this.#ports.self.address)) continue;
      // Answers carry no numbers; what is replayed here is believed. The join that follows asks for the key.
      this.#heard.hear(`${name} ${formatAddress(address)}`, address, ++this.#counter, gone, now);
    }
    this.#ear.tell();
  }

  #answer(id: number): DnsMessage {
    const { name, address } = this.#ports.self;
    const label = name.slice(0, 63);
    const instance = [label, ...this.#service];
    const host = [label.replaceAll('.', '-'), 'local'];
    return {
      id, isAnswer: true, questions: [],
      records: [
        { name: this.#service, ttlSeconds, type: 'PTR', target: instance },
        { name: instance, ttlSeconds, type: 'SRV', port: address.port, target: host },
        { name: host, ttlSeconds, type: address.host.includes(':') ? 'AAAA' : 'A', address: address.host },
        // Serf takes no answer without a text.
        { name: instance, ttlSeconds, type: 'TXT', text: `Serf '${this.#options.service}' cluster` },
      ],
    };
  }
}

/** The instances of a service that a message names with their ports and addresses. */
export function servicesIn(message: DnsMessage, service: readonly string[], sender: string): { readonly name: string; readonly address: Address; readonly gone: boolean }[] {
  const ofType = <T extends DnsRecord['type']>(...types: T[]): Extract<DnsRecord, { type: T }>[] => message.records.filter((record): record is Extract<DnsRecord, { type: T }> => (types as string[]).includes(record.type));
  const pointers = ofType('PTR').filter((record) => sameName(record.name, service));
  return pointers.flatMap(({ target }) => {
    const record = ofType('SRV').find((each) => sameName(each.name, target));
    if (record === undefined || record.port === 0) return [];
    const host = likeliest(ofType('A', 'AAAA').filter((each) => sameName(each.name, record.target)).map((each) => each.address), sender);
    return [{ name: target.join('.').toLowerCase(), address: { host, port: record.port }, gone: record.ttlSeconds === 0 }];
  });
}

/**
 * A host may have many addresses, of containers and of tunnels among them: the one that the packet came from is reached for
 * certain. Else IPv4 before IPv6; addresses of one link are of no use without the link's name. An agent that is bound to all
 * addresses does not know which one we reach it by; its packet shows it.
 */
function likeliest(addresses: readonly string[], sender: string): string {
  const usable = addresses.filter((each) => each !== '0.0.0.0' && !/^(0:){7}0$|^fe[89ab]/i.test(each));
  return usable.find((each) => canonicalHost(each) === canonicalHost(sender)) ?? usable.find((each) => !each.includes(':')) ?? usable[0] ?? sender;
}

/** Letters count the same in both cases (RFC 6762, 16). */
function sameName(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((label, index) => label.toLowerCase() === b[index]?.toLowerCase());
}
