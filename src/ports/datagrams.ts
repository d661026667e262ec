import type { Address } from './address.ts';

/** Best-effort packets (UDP). */
export interface Datagrams {
  /** Rejects with a TroupeError (ADDRESS_IN_USE, ADDRESS_NOT_AVAILABLE, PERMISSION_DENIED) when the address cannot be had. Port 0 asks for any free one. */
  bind(address: Address, onPacket: (packet: Uint8Array, from: Address) => void, options?: DatagramOptions): Promise<DatagramSocket>;
}

/** For one packet to many: IPv4, or IPv6 where the socket is bound to an IPv6 address (that has no broadcast). */
export interface DatagramOptions {
  /** Others on this host may bind the same address, if they ask for it too; each gets every multicast and broadcast. Default false. */
  readonly shared?: boolean;
  /** May send to broadcast addresses; default false. */
  readonly broadcast?: boolean;
  /** Receive what is sent to this group. Rejects with ADDRESS_NOT_AVAILABLE when it cannot be joined. */
  readonly group?: string;
  /** Interface to receive the group on and to send multicast from: its name or one of its addresses; default: the system's choice. */
  readonly interface?: string;
  /** How many routers a multicast may pass, + 1; default 1: this network only. Our own multicasts come back to this host. */
  readonly ttl?: number;
}

export interface DatagramSocket {
  readonly address: Address;
  /** Sends now or never; errors are counted, not thrown. `packet` may be reused after the call returns. */
  send(packet: Uint8Array, to: Address): void;
  close(): Promise<void>;
}
