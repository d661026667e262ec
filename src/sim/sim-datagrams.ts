import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { DatagramOptions, DatagramSocket, Datagrams } from '../ports/datagrams.ts';
import type { HostNetwork, SimNetwork } from './sim-network.ts';
import { accepts, checkBind, clashes, isLoopback, isWildcard } from './sim-network.ts';
import type { Turnstile } from './turnstile.ts';

/** As UDP: larger packets cannot be sent. */
const packetMaxBytes = 65_507;
/** What the kernel keeps for a process that does not read (paused); more is dropped. */
const receiveBufferBytes = 2 * 1024 * 1024;

/** Datagrams of one process on a simulated host. */
export class SimDatagrams implements Datagrams {
  readonly #network: SimNetwork;
  readonly #host: HostNetwork;
  readonly #gate: Turnstile;
  readonly #sockets = new Set<SimDatagramSocket>();

  constructor(network: SimNetwork, host: HostNetwork, gate: Turnstile) {
    this.#network = network;
    this.#host = host;
    this.#gate = gate;
  }

  async bind(address: Address, onPacket: (packet: Uint8Array, from: Address) => void, options?: DatagramOptions): Promise<DatagramSocket> {
    if (options !== undefined) throw new TroupeError('ADDRESS_NOT_AVAILABLE', `cannot bind UDP ${formatAddress(address)} for one packet to many: the simulated network carries no multicast and no broadcast`, { host: address.host });
    const taken = (port: number): boolean => (this.#host.datagrams.get(port) ?? []).some((other) => clashes(other.address.host, address.host));
    checkBind(this.#host, 'bind UDP', address, address.port !== 0 && taken(address.port));
    const port = address.port === 0 ? this.#host.ephemeralPort(taken) : address.port;
    const socket = new SimDatagramSocket(this.#network, this.#host, this.#gate, { host: address.host, port }, onPacket, () => this.#sockets.delete(socket));
    this.#sockets.add(socket);
    return socket;
  }

  /** The process is gone: its sockets go too. */
  severAll(): void {
    for (const socket of this.#sockets) socket.drop();
  }
}

export class SimDatagramSocket implements DatagramSocket {
  readonly address: Address;
  readonly #network: SimNetwork;
  readonly #host: HostNetwork;
  readonly #gate: Turnstile;
  readonly #onPacket: (packet: Uint8Array, from: Address) => void;
  readonly #onDropped: () => void;
  #waitingBytes = 0;
  #closed = false;

  constructor(network: SimNetwork, host: HostNetwork, gate: Turnstile, address: Address, onPacket: (packet: Uint8Array, from: Address) => void, onDropped: () => void) {
    this.#network = network;
    this.#host = host;
    this.#gate = gate;
    this.address = address;
    this.#onPacket = onPacket;
    this.#onDropped = onDropped;
    host.datagrams.set(address.port, [...(host.datagrams.get(address.port) ?? []), this]);
  }

  send(packet: Uint8Array, to: Address): void {
    // A killed process's code may still be on the stack; nothing it does leaves the host.
    if (this.#closed || this.#gate.shut || packet.length > packetMaxBytes) return;
    const network = this.#network;
    network.counters.datagramsSent++;
    const target = network.route(this.#host, to.host);
    if (target === undefined) return;
    const link = network.link(this.#host, target);
    if (link.blocked || network.random.chance(link.loss)) {
      network.counters.datagramsLost++;
      return;
    }
    const from = { host: isWildcard(this.address.host) ? (isLoopback(to.host) ? to.host : this.#host.primaryAddress) : this.address.host, port: this.address.port };
    const copies = network.random.chance(link.duplicate) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const copy = new Uint8Array(packet); // Not slice: that of a Buffer copies nothing.
      const extra = network.random.chance(link.reorder) ? network.random.float() * link.reorderMs : 0;
      network.scheduler.after(network.links.latency(link) + extra, () => arrive(network, target, copy, from, to));
    }
  }

  receive(packet: Uint8Array, from: Address): void {
    if (!this.#gate.open && this.#waitingBytes + packet.length > receiveBufferBytes) return;
    this.#waitingBytes += packet.length;
    this.#gate.enter(() => {
      this.#waitingBytes -= packet.length;
      if (this.#closed) return;
      this.#network.counters.datagramsDelivered++;
      this.#onPacket(packet, from);
    });
  }

  async close(): Promise<void> {
    this.drop();
  }

  drop(): void {
    if (this.#closed) return;
    this.#closed = true;
    const left = (this.#host.datagrams.get(this.address.port) ?? []).filter((other) => other !== this);
    if (left.length === 0) this.#host.datagrams.delete(this.address.port);
    else this.#host.datagrams.set(this.address.port, left);
    this.#onDropped();
  }
}

function arrive(network: SimNetwork, target: HostNetwork, packet: Uint8Array, from: Address, to: Address): void {
  const socket = target.up ? (target.datagrams.get(to.port) ?? []).find((each) => accepts(each.address.host, to.host)) : undefined;
  if (socket === undefined) network.counters.datagramsLost++;
  else socket.receive(packet, from);
}
