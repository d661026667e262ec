import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiscoveryPorts } from '../../../src/discovery/strategy.ts';
import { aesGcmCipher } from '../../../src/host/aes-gcm-cipher.ts';
import { HostClock } from '../../../src/host/clock.ts';
import { HostDns } from '../../../src/host/dns.ts';
import { HostHttpClient } from '../../../src/host/http-client.ts';
import { processTable } from '../../../src/host/process-table.ts';
import { HostProcesses } from '../../../src/host/processes.ts';
import { createRandom } from '../../../src/host/random.ts';
import { textFiles } from '../../../src/host/text-files.ts';
import { UdpDatagrams } from '../../../src/host/udp.ts';
import type { Address } from '../../../src/ports/address.ts';
import type { DatagramOptions, DatagramSocket, Datagrams } from '../../../src/ports/datagrams.ts';
import { silentLog } from '../../../src/ports/log.ts';

/** The host's ports, for a node at that address. */
export function hostPorts(name: string, address: Address, more: Partial<DiscoveryPorts> = {}): DiscoveryPorts {
  return {
    clock: new HostClock(),
    random: createRandom(),
    log: silentLog,
    cipher: aesGcmCipher,
    datagrams: new UdpDatagrams(),
    dns: new HostDns(),
    http: new HostHttpClient(),
    files: textFiles,
    processes: new HostProcesses(),
    processTable,
    self: { name, address, keys: [], runtimeDirectory: '/nowhere' },
    ...more,
  };
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'troupe-discovery-'));
}

/** Sockets whose cable can be pulled. */
export class Cable implements Datagrams {
  plugged = true;
  open = 0;
  readonly sent: { readonly packet: Uint8Array; readonly to: Address }[] = [];
  /** Everything that was handed to the sockets' owner. */
  readonly receivers: Set<(packet: Uint8Array, from: Address) => void> = new Set();
  readonly #inner = new UdpDatagrams();

  async bind(address: Address, onPacket: (packet: Uint8Array, from: Address) => void, options?: DatagramOptions): Promise<DatagramSocket> {
    const receive = (packet: Uint8Array, from: Address): void => {
      if (this.plugged) onPacket(packet, from);
    };
    const socket = await this.#inner.bind(address, receive, options);
    this.open++;
    this.receivers.add(receive);
    let closed = false;
    return {
      address: socket.address,
      send: (packet, to) => {
        this.sent.push({ packet: new Uint8Array(packet), to });
        if (this.plugged) socket.send(packet, to);
      },
      close: async () => {
        if (!closed) this.open--;
        closed = true;
        this.receivers.delete(receive);
        await socket.close();
      },
    };
  }
}
