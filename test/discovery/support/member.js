// Members of gossip pools, each with its own discovery: node member.js '[{ "pool", "name", "bind", "discovery" }]'.
// Writes a line of JSON for each pool that is up, and for each change of who is alive in it. Ends with its standard input.
// It runs what is built, because a loader for TypeScript would change the function that the wardens of programs are made of.
import process from 'node:process';
import { createInterface } from 'node:readline';
import { startDiscovery } from '../../../dist/agent/host-discovery.js';
import { aesGcmCipher } from '../../../dist/host/aes-gcm-cipher.js';
import { HostClock } from '../../../dist/host/clock.js';
import { createRandom } from '../../../dist/host/random.js';
import { TcpStreams } from '../../../dist/host/tcp.js';
import { UdpDatagrams } from '../../../dist/host/udp.js';
import { readConfig } from '../../../dist/node/config.js';
import { startGossip } from '../../../dist/node/gossip.js';
import { parseAddress } from '../../../dist/ports/address.js';
import { silentLog } from '../../../dist/ports/log.js';

const clock = new HostClock();
const say = (line) => void process.stdout.write(`${JSON.stringify(line)}\n`);
createInterface(process.stdin).on('close', () => process.exit(0));

for (const { pool, name, bind, discovery } of JSON.parse(process.argv[2])) {
  const gossip = await startGossip(
    { name, bind: parseAddress(bind), profile: 'local', tags: {} },
    { clock, random: createRandom(), datagrams: new UdpDatagrams(), streams: new TcpStreams(), cipher: aesGcmCipher, log: silentLog },
  );
  gossip.onEvent(() => say({ pool, alive: gossip.members().filter((member) => member.status === 'alive').map((member) => member.name).sort() }));
  const config = readConfig({ object: { discovery }, defaultName: name, version: '0', resolvePath: (path) => path });
  say({ pool, up: true });
  startDiscovery(config.discovery, gossip, clock, silentLog).onEvent((event) => say({ pool, event: event.type, reason: event.reason }));
}
