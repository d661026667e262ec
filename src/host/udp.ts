import dgram from 'node:dgram';
import { isIPv4, isIPv6 } from 'node:net';
import type { Address } from '../ports/address.ts';
import type { DatagramOptions, DatagramSocket, Datagrams } from '../ports/datagrams.ts';
import { TroupeError } from '../base/errors.ts';
import { bindError } from './socket-errors.ts';
import { interfaceAddresses } from './system.ts';

const receiveBufferBytes = 2 * 1024 * 1024;

export interface UdpCounters {
  sent: number;
  received: number;
  /** Packets that the system would not take. */
  sendErrors: number;
}

/** UDP over IPv4 or IPv6, by the form of the bound address; `::` takes both. */
export class UdpDatagrams implements Datagrams {
  readonly counters: UdpCounters = { sent: 0, received: 0, sendErrors: 0 };

  async bind(address: Address, onPacket: (packet: Uint8Array, from: Address) => void, options: DatagramOptions = {}): Promise<DatagramSocket> {
    const v6 = isIPv6(address.host);
    const shared = options.shared === true;
    const socket = dgram.createSocket({ type: v6 ? 'udp6' : 'udp4', lookup: lookupNothing, reuseAddr: shared });
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(bindError('bind UDP', address, error));
      });
      socket.bind({ address: address.host, port: address.port, exclusive: !shared }, () => {
        socket.removeAllListeners('error');
        resolve();
      });
    });
    try {
      spread(socket, options, v6);
    } catch (error) {
      socket.close();
      throw error instanceof TroupeError ? error : bindError(`join the group ${options.group ?? ''} at`, address, error);
    }
    return new UdpSocket(socket, v6, this.counters, onPacket);
  }
}

/** Makes the socket one for many. */
function spread(socket: dgram.Socket, { broadcast, group, interface: named, ttl }: DatagramOptions, v6: boolean): void {
  if (broadcast === true) socket.setBroadcast(true);
  const local = named === undefined ? undefined : v6 ? `::%${interfaceName(named)}` : interfaceAddress(named);
  if (group !== undefined) socket.addMembership(group, local);
  if (local !== undefined) socket.setMulticastInterface(local);
  if (group === undefined && local === undefined && ttl === undefined) return;
  socket.setMulticastTTL(ttl ?? 1);
  socket.setMulticastLoopback(true);
}

function interfaceAddress(named: string): string {
  if (isIPv4(named)) return named;
  const found = interfaceAddresses(named).find((each) => !each.v6)?.host;
  if (found !== undefined) return found;
  const known = [...new Set(interfaceAddresses().filter((each) => !each.v6).map((each) => each.interfaceName))];
  throw new TroupeError('ADDRESS_NOT_AVAILABLE', `there is no interface '${named}' with an IPv4 address on this host; there is ${known.join(', ') || 'none'}`, { interface: named });
}

/** IPv6 knows interfaces by name; one of their addresses will do as well. */
function interfaceName(named: string): string {
  const found = interfaceAddresses().find((each) => each.interfaceName === named || each.host === named);
  if (found !== undefined) return found.interfaceName;
  const known = [...new Set(interfaceAddresses().map((each) => each.interfaceName))];
  throw new TroupeError('ADDRESS_NOT_AVAILABLE', `there is no interface '${named}' on this host; there is ${known.join(', ') || 'none'}`, { interface: named });
}

class UdpSocket implements DatagramSocket {
  readonly address: Address;
  readonly #socket: dgram.Socket;
  readonly #v6: boolean;
  readonly #counters: UdpCounters;
  readonly #onSent: (error: Error | null) => void;
  #closed: Promise<void> | undefined;

  constructor(socket: dgram.Socket, v6: boolean, counters: UdpCounters, onPacket: (packet: Uint8Array, from: Address) => void) {
    this.#socket = socket;
    this.#v6 = v6;
    this.#counters = counters;
    const bound = socket.address();
    this.address = { host: bound.address, port: bound.port };
    this.#onSent = (error) => {
      if (error) counters.sendErrors++;
      else counters.sent++;
    };
    // A burst of gossip must not overrun the default buffer (208 KiB on Linux). The kernel may grant less.
    try {
      socket.setRecvBufferSize(receiveBufferBytes);
    } catch {
      // Refused by the system's limit: packets may be lost under a burst, which the protocol rides out.
    }
    socket.on('error', () => counters.sendErrors++);
    socket.on('message', (packet, from) => {
      counters.received++;
      if (this.#closed === undefined) onPacket(packet, { host: plainHost(from.address), port: from.port });
    });
  }

  send(packet: Uint8Array, to: Address): void {
    if (this.#closed !== undefined) return;
    const host = this.#v6 && !to.host.includes(':') ? `::ffff:${to.host}` : to.host;
    try {
      // Copied: the kernel may take it only after this call, when the caller has long reused its buffer.
      this.#socket.send(Buffer.from(packet), to.port, host, this.#onSent);
    } catch {
      this.#counters.sendErrors++;
    }
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((resolve) => this.#socket.close(resolve));
    return this.#closed;
  }
}

/** Addresses are always numeric here: without this, dgram would take a detour through the resolver for each packet. */
function lookupNothing(host: string, _options: unknown, callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void): void {
  callback(null, host, isIPv6(host) ? 6 : 4);
}

/** IPv4 peers of a socket bound to `::` appear as ::ffff:1.2.3.4. */
export function plainHost(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host;
}
