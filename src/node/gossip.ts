import { TroupeError } from '../base/errors.ts';
import { isUnspecified, ipToBytes } from '../core/wire/ip-address.ts';
import { encodeUtf8 } from '../core/wire/msgpack.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { DatagramSocket } from '../ports/datagrams.ts';
import type { Listener, Stream } from '../ports/streams.ts';
import { checkTags, GossipNode } from './gossip-node.ts';
import { GossipSecurity } from './gossip-security.ts';
import type { Gossip, GossipOptions, GossipPorts } from './gossip-types.ts';

export { distanceSeconds } from '../core/serf/coordinates.ts';
export type * from './gossip-types.ts';

const nameBytesMax = 128;
const freePortTries = 16;

/**
 * Starts a member of the gossip pool, alone; `join` makes it one of many.
 * Rejects with a TroupeError: BAD_NODE_NAME, BAD_KEY, BAD_ADDRESS, TAGS_TOO_LARGE, ADVERTISE_NEEDED, or what the ports
 * say when the address cannot be had.
 */
export async function startGossip(options: GossipOptions, ports: GossipPorts): Promise<Gossip> {
  checkName(options.name);
  checkTags(options.tags);
  const security = new GossipSecurity(ports.cipher, options.keys ?? []);
  checkAddresses(options);
  const started: { node?: GossipNode } = {};
  const sockets = await bindBoth(options.bind, ports, (packet, from) => started.node?.handlePacket(packet, from), (stream) => {
    if (started.node === undefined) stream.destroy();
    else started.node.handleStream(stream);
  });
  const { port } = sockets.listener.address;
  const advertise = { host: options.advertise?.host ?? options.bind.host, port: options.advertise?.port || port };
  const node = new GossipNode(options, ports, { ...sockets, security, advertise });
  started.node = node;
  node.start();
  return node;
}

/** @throws TroupeError BAD_NODE_NAME */
function checkName(name: string): void {
  const size = encodeUtf8(name).length;
  if (size === 0 || size > nameBytesMax) {
    throw new TroupeError('BAD_NODE_NAME', `cannot start gossip: the node's name must have 1 to ${nameBytesMax} bytes and '${name.slice(0, 40)}' has ${size}; choose another name`, { size, max: nameBytesMax });
  }
}

function checkAddresses({ bind, advertise }: GossipOptions): void {
  for (const address of [bind, advertise]) {
    if (address !== undefined && ipToBytes(address.host) === undefined) {
      throw new TroupeError('BAD_ADDRESS', `cannot start gossip on '${formatAddress(address)}': it needs an IP address, not a name`, { address: formatAddress(address) });
    }
  }
  if (isUnspecified(advertise?.host ?? bind.host)) {
    throw new TroupeError('ADVERTISE_NEEDED', `cannot start gossip on ${formatAddress(bind)}: others cannot reach a node under that address; say with 'advertise' which one to tell them`, { bind: formatAddress(bind) });
  }
}

/** UDP and TCP on one port number; a free one that only one of them can have is given back. */
async function bindBoth(
  bind: Address, ports: GossipPorts, onPacket: (packet: Uint8Array, from: Address) => void, onStream: (stream: Stream) => void,
): Promise<{ listener: Listener; socket: DatagramSocket }> {
  for (let tries = 1; ; tries++) {
    const listener = await ports.streams.listen(bind, onStream);
    try {
      const socket = await ports.datagrams.bind({ host: bind.host, port: listener.address.port }, onPacket);
      return { listener, socket };
    } catch (error) {
      await listener.close();
      const taken = error instanceof TroupeError && error.code === 'ADDRESS_IN_USE';
      if (bind.port !== 0 || !taken || tries === freePortTries) throw error;
    }
  }
}
