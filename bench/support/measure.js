// What the benchmarks share: servers as separate processes, their CPU, and a load generator on raw sockets.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const ticksPerSecond = 100;

/** User and system CPU of a process in µs, with all its threads. */
export function cpuMicros(pid) {
  // schedstat has nanoseconds for the main thread only; stat has ticks of 10 ms for the whole process.
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
  return ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1e6;
}

export async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a server and waits until its port answers. */
export async function startServer(command, args, port) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  child.on('error', (error) => {
    throw error;
  });
  if (port === undefined) {
    const line = await new Promise((resolve) => child.stdout.once('data', (chunk) => resolve(chunk.toString())));
    port = Number(/port=(\d+)/.exec(line)[1]);
  } else {
    child.stdout.resume();
    for (let i = 0; ; i++) {
      const open = await new Promise((resolve) => {
        const socket = net.connect(port, '127.0.0.1', () => resolve(true));
        socket.on('error', () => resolve(false));
        socket.on('connect', () => socket.destroy());
      });
      if (open) break;
      if (i > 200) throw new Error(`${command} does not answer on port ${port}`);
      await delay(25);
    }
  }
  const stop = async () => {
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
  };
  return { port, pid: child.pid, stop };
}

/**
 * Keeps `depth` requests under way on each of `connections` sockets.
 * @param protocol {next(random): Buffer, countReplies(state, chunk): number}
 * @returns how many were answered within the time, and the server's CPU per request in µs
 */
export async function load({ port, pid, protocol, connections, depth, warmupMs, measureMs }) {
  let answered = 0;
  let stopping = false;
  const sockets = await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
      await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
      const state = protocol.state(index);
      let waiting = 0;
      const refill = () => {
        const batch = [];
        while (waiting < depth) {
          batch.push(protocol.next(state));
          waiting++;
        }
        socket.write(batch.length === 1 ? batch[0] : Buffer.concat(batch));
      };
      socket.on('data', (chunk) => {
        const count = protocol.countReplies(state, chunk);
        answered += count;
        waiting -= count;
        // The whole pipeline at once, as a client that flushes a batch and reads its answers does.
        if (waiting === 0 && !stopping) refill();
      });
      socket.on('error', () => {});
      refill();
      return socket;
    }),
  );
  await delay(warmupMs);
  const cpuBefore = cpuMicros(pid);
  const answeredBefore = answered;
  const before = performance.now();
  await delay(measureMs);
  const requests = answered - answeredBefore;
  const cpu = cpuMicros(pid) - cpuBefore;
  const seconds = (performance.now() - before) / 1000;
  stopping = true;
  for (const socket of sockets) socket.destroy();
  return { requests, perSecond: requests / seconds, cpuMicrosPerRequest: cpu / requests };
}

const keyCount = 10_000;
const setEvery = 10;
const valueText = 'v'.repeat(100);

/** 9 gets to 1 set over 10,000 keys; every request and every answer is precomputed or counted by length. */
export function memcachedProtocol() {
  const gets = [];
  const sets = [];
  for (let i = 0; i < keyCount; i++) {
    gets.push(Buffer.from(`get key:${String(i).padStart(8, '0')}\r\n`));
    sets.push(Buffer.from(`set key:${String(i).padStart(8, '0')} 0 0 100\r\n${valueText}\r\n`));
  }
  const hit = `VALUE key:00000000 0 100\r\n${valueText}\r\nEND\r\n`.length;
  return textProtocol(gets, sets, hit, 'STORED\r\n'.length);
}

/** The same for redis, in its own protocol. */
export function redisProtocol() {
  const gets = [];
  const sets = [];
  const bulk = (text) => `$${text.length}\r\n${text}\r\n`;
  for (let i = 0; i < keyCount; i++) {
    const key = `key:${String(i).padStart(8, '0')}`;
    gets.push(Buffer.from(`*2\r\n${bulk('GET')}${bulk(key)}`));
    sets.push(Buffer.from(`*3\r\n${bulk('SET')}${bulk(key)}${bulk(valueText)}`));
  }
  return textProtocol(gets, sets, bulk(valueText).length, '+OK\r\n'.length);
}

function textProtocol(gets, sets, hitBytes, storedBytes) {
  return {
    sets,
    storedBytes,
    state: (index) => ({ turn: index, key: index * 131, expected: [], at: 0, bytes: 0 }),
    next(state) {
      state.key = (state.key + 7919) % keyCount;
      const set = ++state.turn % setEvery === 0;
      state.expected.push(set ? storedBytes : hitBytes);
      return (set ? sets : gets)[state.key];
    },
    countReplies(state, chunk) {
      state.bytes += chunk.length;
      let count = 0;
      while (state.at < state.expected.length && state.bytes >= state.expected[state.at]) {
        state.bytes -= state.expected[state.at++];
        count++;
      }
      if (state.at === state.expected.length) {
        // All answered and bytes left over, or the first byte of an error: the figures would be wrong.
        if (state.bytes !== 0) throw new Error(`${state.bytes} bytes more than expected: ${chunk.toString('latin1').slice(0, 200)}`);
        state.expected.length = 0;
        state.at = 0;
      }
      if (chunk[0] === 0x45 && count === 0) throw new Error(`an error or a miss: ${chunk.toString('latin1').slice(0, 200)}`);
      return count;
    },
  };
}

/** Stores every key once. */
export async function fill(port, protocol) {
  const socket = net.connect(port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  let bytes = 0;
  const done = new Promise((resolve) =>
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes === keyCount * protocol.storedBytes) resolve();
    }),
  );
  socket.write(Buffer.concat(protocol.sets));
  await done;
  socket.destroy();
}
