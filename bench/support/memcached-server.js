// One node's memcached port over local tables, as a process of its own, so that its CPU can be read from /proc.
import { LocalRouter } from '../../dist/core/store/local-router.js';
import { startMemcached } from '../../dist/frontends/memcached/server.js';
import { HostClock } from '../../dist/host/clock.js';
import { TcpStreams } from '../../dist/host/tcp.js';
import { silentLog } from '../../dist/ports/log.js';

const clock = new HostClock();
const router = new LocalRouter({ nowSeconds: () => Math.floor(clock.wallTime() / 1000), maxMemoryBytes: 1024 * 1024 * 1024 });
const server = await startMemcached({ streams: new TcpStreams(), clock, log: silentLog, address: { host: '127.0.0.1', port: 0 }, router, processId: process.pid });
console.log(`ready port=${server.address.port}`);
