/** Types of frames between nodes. Numbers are the peer protocol; 0x20 to 0x2f belong to replication (core/replica/messages.ts). */
export const PeerFrame = {
  /** protocol u16, from, instance, to, clusterId */
  hello: 0x01,
  /** name, instance, clusterId */
  welcome: 0x02,
  /** code, message */
  refuse: 0x03,
  ping: 0x04,
  pong: 0x05,
  /** id u32, method, payload */
  call: 0x08,
  /** id u32, ok u8, payload */
  answer: 0x09,
  raft: 0x10,
  /** session f64, round u32 */
  renew: 0x11,
  /** session f64, round u32, index f64 */
  granted: 0x12,
  /** session f64, reason u8 */
  denied: 0x13,
  replicaFirst: 0x20,
  replicaLast: 0x2f,
  /** A store request on its way to the primary, and its reply. */
  request: 0x30,
  response: 0x31,
} as const;

/** Raised when frames change their meaning. */
export const peerProtocol = 1;
