import { describe, expect, it } from 'vitest';
import { bytesOf, startRig } from './support.ts';

const refused = 'SERVER_ERROR out of memory storing object\r\n';
const half = bytesOf('v'.repeat(100_000));

describe('half-sent requests', () => {
  it('values of all connections share one limit; what is over it is refused and swallowed, the rest is served', async () => {
    const rig = await startRig((router) => router, { halfSentBytesMax: 256 * 1024 });
    const first = rig.connect();
    first.handler?.onData(bytesOf('set old 0 0 1\r\n1\r\nset other 0 0 1\r\n1\r\n'));
    const streams = Array.from({ length: 4 }, (_, i) => {
      const stream = rig.connect();
      stream.handler?.onData(bytesOf(`set ${i === 3 ? 'old' : `big${i}`} 0 0 200000\r\n`));
      stream.handler?.onData(half);
      return stream;
    });
    expect(streams.map((stream) => stream.output)).toEqual(['', '', '', '']);
    for (const stream of streams) {
      stream.handler?.onData(half);
      stream.handler?.onData(bytesOf('\r\nget other\r\n'));
    }
    const served = 'VALUE other 0 1\r\n1\r\nEND\r\n';
    for (const stream of streams) expect(stream.output.endsWith(served)).toBe(true);
    const outcomes = streams.map((stream) => stream.output.slice(0, -served.length));
    expect(outcomes.every((outcome) => outcome === 'STORED\r\n' || outcome === refused)).toBe(true);
    expect(outcomes).toContain('STORED\r\n');
    // The fourth found no place; what it was to replace is out of date, and gone, as in memcached.
    expect(outcomes[3]).toBe(refused);
    first.output = '';
    first.handler?.onData(bytesOf('get old\r\n'));
    expect(first.output).toBe('END\r\n');
  });

  it('their memory comes back, whether they are completed, refused or cut off', async () => {
    const rig = await startRig((router) => router, { halfSentBytesMax: 200 * 1024 });
    for (let round = 0; round < 30; round++) {
      const stream = rig.connect();
      stream.handler?.onData(bytesOf('set again 0 0 200000\r\n'));
      stream.handler?.onData(half);
      if (round % 3 === 0) stream.handler?.onClose('reset');
      else {
        const another = rig.connect();
        another.handler?.onData(bytesOf('set another 0 0 200000\r\n'));
        for (let i = 0; i < 2; i++) another.handler?.onData(half);
        another.handler?.onData(bytesOf('\r\n'));
        expect(another.output).toBe(refused);
        stream.handler?.onData(half);
        stream.handler?.onData(bytesOf('\r\n'));
        expect(stream.output).toBe('STORED\r\n');
      }
    }
  });

  it('lines count as well: one that finds no place ends its connection', async () => {
    const rig = await startRig((router) => router, { halfSentBytesMax: 100 * 1024 });
    const streams = Array.from({ length: 4 }, () => {
      const stream = rig.connect();
      stream.handler?.onData(bytesOf(`get${' key'.repeat(12_000)}`));
      return stream;
    });
    expect(streams.map((stream) => stream.output)).toEqual(['', '', '', 'SERVER_ERROR out of memory reading request\r\n']);
    expect(streams.map((stream) => stream.ended)).toEqual([false, false, false, true]);
    streams[0]?.handler?.onData(bytesOf('\r\n'));
    expect(streams[0]?.output).toBe('END\r\n');
    const next = rig.connect();
    next.handler?.onData(bytesOf(`get${' key'.repeat(12_000)}`));
    expect(next.ended).toBe(false);
  });

  it('small ones are always served: each connection has some memory of its own', async () => {
    const rig = await startRig((router) => router, { halfSentBytesMax: 0 });
    const stream = rig.connect();
    stream.handler?.onData(bytesOf('set small 0 0 10000\r\n'));
    for (let i = 0; i < 100; i++) stream.handler?.onData(bytesOf('v'.repeat(100)));
    stream.handler?.onData(bytesOf('\r\n'));
    expect(stream.output).toBe('STORED\r\n');
  });
});
