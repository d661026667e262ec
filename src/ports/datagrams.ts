import type { Address } from './address.ts';

/** Best-effort packets (UDP). */
export interface Datagrams {
  /** Rejects with a TroupeError (ADDRESS_IN_USE, ADDRESS_NOT_AVAILABLE, PERMISSION_DENIED) when the address cannot be had. Port 0 asks for any free one. */
  bind(address: Address, onPacket: (packet: Uint8Array, from: Address) => void): Promise<DatagramSocket>;
}

export interface DatagramSocket {
  readonly address: Address;
  /** Sends now or never; errors are counted, not thrown. `packet` may be reused after the call returns. */
  send(packet: Uint8Array, to: Address): void;
  close(): Promise<void>;
}
