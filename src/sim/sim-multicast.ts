import { formatAddress } from '../ports/address.ts';
import type { Address } from '../ports/address.ts';
import type { DatagramSocket, Datagrams } from '../ports/datagrams.ts';
import type { SimProcess } from './sim-host.ts';
import type { SimWorld } from './sim-world.ts';

interface Listener {
  readonly process: SimProcess;
  readonly onPacket: (packet: Uint8Array, from: Address) => void;
}

/** Multicast for discovery over the simulated wires: their blocks, losses and delays hold for it; a sender hears itself. */
export class SimMulticast {
  readonly #world: SimWorld;
  readonly #groups = new Map<string, Set<Listener>>();

  constructor(world: SimWorld) {
    this.#world = world;
  }

  /** Every socket of these is one of its group. */
  datagramsOf(process: SimProcess): Datagrams {
    return {
      bind: async (address, onPacket, options): Promise<DatagramSocket> => {
        const key = formatAddress({ host: options?.group ?? address.host, port: address.port });
        const listener: Listener = { process, onPacket };
        const group = this.#groups.get(key) ?? new Set();
        this.#groups.set(key, group.add(listener));
        return {
          address,
          send: (packet, to) => this.#send(process, new Uint8Array(packet), to),
          close: async () => void group.delete(listener),
        };
      },
    };
  }

  #send(from: SimProcess, packet: Uint8Array, to: Address): void {
    if (!from.alive) return;
    const { network } = this.#world;
    for (const { process, onPacket } of this.#groups.get(formatAddress(to)) ?? []) {
      const link = network.link(from.host.network, process.host.network);
      if (!process.alive || link.blocked || network.random.chance(link.loss)) continue;
      // The receiver's clock: a process that is gone hears nothing, one that stands still hears it later.
      process.clock.at(process.clock.now() + network.links.latency(link), () => onPacket(packet, { host: from.host.address, port: to.port }));
    }
  }
}
