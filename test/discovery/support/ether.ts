import { encodeHeartbeat, HeartbeatKind } from '../../../src/discovery/heartbeat-packet.ts';
import type { Heartbeat } from '../../../src/discovery/heartbeat-packet.ts';
import type { DiscoveryPorts, Source } from '../../../src/discovery/strategy.ts';
import { completeOptions } from '../../../src/discovery/strategy.ts';
import { aesGcmCipher } from '../../../src/host/aes-gcm-cipher.ts';
import type { Address } from '../../../src/ports/address.ts';
import type { DatagramSocket, Datagrams } from '../../../src/ports/datagrams.ts';
import { SimWorld } from '../../../src/sim/sim-world.ts';
import { hostPorts } from './ports.ts';
import { Recorder } from './recorder.ts';
import { strategyNamed } from './rigs.ts';

export const keys: readonly Uint8Array[] = [new Uint8Array(32).fill(7)];
export const address = (last: number): Address => ({ host: `10.0.0.${last}`, port: 7946 });

/** A network without delay that carries each packet to all, on a virtual clock. */
export class Ether {
  readonly world: SimWorld = new SimWorld({ seed: 11 });
  readonly receivers: Set<(packet: Uint8Array, from: Address) => void> = new Set<(packet: Uint8Array, from: Address) => void>();
  readonly packets: { readonly packet: Uint8Array; readonly atMs: number; readonly by: string }[] = [];
  readonly sources: Source[] = [];
  up = true;

  datagrams(name: string): Datagrams {
    return {
      bind: async (bound, onPacket): Promise<DatagramSocket> => {
        this.receivers.add(onPacket);
        return {
          address: bound,
          send: (packet) => {
            const copy = new Uint8Array(packet);
            this.packets.push({ packet: copy, atMs: this.world.scheduler.now, by: name });
            if (this.up) this.inject(copy);
          },
          close: async () => void this.receivers.delete(onPacket),
        };
      },
    };
  }

  inject(packet: Uint8Array, from: Address = address(99)): void {
    this.world.scheduler.after(0.1, () => {
      for (const receive of this.receivers) receive(packet, from);
    });
  }

  /** A heartbeat made by hand. */
  send(change: Partial<Heartbeat>): void {
    this.inject(encodeHeartbeat({ kind: HeartbeatKind.here, instance: 'aaaaaaaaaaaaaaaa', wallTime: this.wallTime, counter: 1, group: 'default', address: address(50), ...change }, aesGcmCipher, keys));
  }

  get wallTime(): number {
    return 1_767_225_600_000 + this.world.scheduler.now;
  }

  node(last: number, options: Readonly<Record<string, unknown>> = {}, more: Partial<DiscoveryPorts> = {}): Recorder {
    const host = this.world.addHost(`h${last}-${this.sources.length}`);
    const { clock, random } = host.start('p');
    const strategy = strategyNamed('gossip');
    const sink = new Recorder();
    this.sources.push(strategy.start(completeOptions(strategy, { secret: keys, ...options }), hostPorts(`n${last}`, address(last), { clock, random, datagrams: this.datagrams(`n${last}`), ...more }), sink));
    return sink;
  }

  run(ms: number): Promise<void> {
    return this.world.scheduler.runFor(ms);
  }

  async end(): Promise<void> {
    for (const source of this.sources) await this.world.scheduler.settle(source.stop());
  }
}
