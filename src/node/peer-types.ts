/** What is said about this node to others on its connections, and what is heard on them. */

export interface PeersOptions {
  readonly name: string;
  readonly instance: string;
  /** '' while unknown. Nodes of two different clusters refuse each other. */
  readonly clusterId: () => string;
}

export interface PeerHandlers {
  /** bytes[start, end) is valid only during the call. A throw closes the connection. */
  onFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void;
  onConnected(name: string, instance: string): void;
  onDisconnected(name: string): void;
  /** The node has connected to this one: what it sent on an earlier connection may be lost. */
  onIncoming(name: string): void;
  /** The process is dead for certain. */
  onDead(name: string, instance: string): void;
  /** Before the gathered frames leave: the last chance to add some. */
  beforeFlush(): void;
}

