import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Listener, Stream } from '../../src/ports/streams.ts';
import type { PortWorld } from './worlds.ts';
import { HalfOpenRecorder, Recorder, worlds } from './worlds.ts';

const loopback = { host: '127.0.0.1', port: 0 };

describe.each(worlds)('Streams of %s', (_name, make) => {
  let world: PortWorld;
  const listeners: Listener[] = [];
  beforeEach(() => {
    world = make();
  });
  afterEach(async () => {
    await world.settle(Promise.all(listeners.splice(0).map((listener) => listener.close())));
    await world.end();
  });

  async function listen(onStream: (stream: Stream) => void): Promise<Listener> {
    const listener = await world.settle(world.streams.listen(loopback, onStream));
    listeners.push(listener);
    return listener;
  }

  /** A connected pair with a recorder at each end. */
  async function pair(client: Recorder = new Recorder(), server: Recorder = new Recorder()): Promise<{ a: Stream; b: Stream; client: Recorder; server: Recorder; listener: Listener }> {
    let b: Stream | undefined;
    const listener = await listen((stream) => {
      b = stream;
      stream.setHandler(server);
    });
    const a = world.streams.connect(listener.address);
    a.setHandler(client);
    await world.until(() => client.opened && b !== undefined);
    return { a, b: b as Stream, client, server, listener };
  }

  it('carries bytes both ways in order', async () => {
    const { a, b, client, server } = await pair();
    let sent = '';
    for (let i = 0; i < 500; i++) {
      const text = `${i};`.repeat(i % 40);
      sent += text;
      a.write(Buffer.from(text));
    }
    b.write(Buffer.from('hello'));
    await world.until(() => server.text.length === sent.length && client.text === 'hello');
    expect(server.text).toBe(sent);
    expect(server.events.at(0)).toBe('data');
    a.destroy();
    await world.until(() => server.closed !== undefined && client.closed !== undefined);
  });

  it('mixes small and large writes without changing their order', async () => {
    const { a, server } = await pair();
    const parts: Buffer[] = [];
    for (let i = 0; i < 60; i++) parts.push(Buffer.alloc(i % 7 === 0 ? 40_000 + i : i * 11, i));
    for (const part of parts) a.write(part);
    const all = Buffer.concat(parts);
    await world.until(() => server.bytes.length === all.length);
    expect(server.bytes.equals(all)).toBe(true);
    a.destroy();
  });

  it('sends what was written before it opened', async () => {
    const server = new Recorder();
    const listener = await listen((stream) => stream.setHandler(server));
    const client = new Recorder();
    const a = world.streams.connect(listener.address);
    a.setHandler(client);
    a.write(Buffer.from('early'));
    expect(client.events).toEqual([]);
    await world.until(() => server.text === 'early');
    a.destroy();
    await world.until(() => client.closed === 'local');
  });

  it('tells a listener the address of the peer', async () => {
    const { a, b, listener } = await pair();
    expect(b.remote.host).toBe('127.0.0.1');
    expect(a.remote).toEqual(listener.address);
    a.destroy();
  });

  it('says refused when nobody listens', async () => {
    const listener = await listen(() => {});
    await world.settle(listener.close());
    const client = new Recorder();
    world.streams.connect(listener.address).setHandler(client);
    expect(client.events).toEqual([]);
    await world.until(() => client.closed !== undefined);
    expect(client.events).toEqual(['close refused']);
  });

  it('says local once, last and not synchronously after destroy', async () => {
    const { a, client, server } = await pair();
    a.destroy();
    a.destroy();
    expect(client.closed).toBeUndefined();
    await world.until(() => client.closed !== undefined && server.closed !== undefined);
    expect(a.write(Buffer.from('late'))).toBe(true);
    await world.pass(10);
    expect(client.events).toEqual(['open', 'close local']);
    // TLS sends session tickets after the handshake; if they are unread, even this becomes a reset.
    expect(world.dropResets ? ['end'] : ['end', 'reset']).toContain(server.closed);
    expect(server.closeCount).toBe(1);
  });

  it('says local when destroyed while connecting', async () => {
    const listener = await listen((stream) => stream.setHandler(new Recorder()));
    const client = new Recorder();
    const a = world.streams.connect(listener.address);
    a.setHandler(client);
    a.destroy();
    await world.until(() => client.closed !== undefined);
    await world.pass(10);
    expect(client.events).toEqual(['close local']);
  });

  it('ends in order: everything queued arrives, then the peer closes with end and this side with local', async () => {
    const { a, client, server } = await pair();
    const bytes = Buffer.alloc(600_000, 7);
    a.write(bytes);
    a.end();
    await world.until(() => client.closed !== undefined && server.closed !== undefined);
    expect(server.bytes.equals(bytes)).toBe(true);
    expect(server.closed).toBe('end');
    expect(client.closed).toBe('local');
  });

  it('stays half open for a handler with onEnd, until it ends too', async () => {
    const { a, b, client, server } = await pair(new Recorder(), new HalfOpenRecorder());
    a.write(Buffer.from('question'));
    a.end();
    await world.until(() => server.ended);
    expect(server.text).toBe('question');
    await world.pass(5);
    b.write(Buffer.from('answer'));
    await world.until(() => client.text === 'answer');
    expect(client.closed).toBeUndefined();
    b.end();
    await world.until(() => client.closed !== undefined && server.closed !== undefined);
    expect(server.closed).toBe('end');
    expect(client.closed).toBe('local');
  });

  it('answers the peer\'s end with what is still queued, when the handler has no onEnd', async () => {
    const { a, b, client, server } = await pair();
    b.write(Buffer.alloc(100_000, 1));
    a.end();
    await world.until(() => server.closed === 'end' && client.closed !== undefined);
    expect(client.bytes.length).toBe(100_000);
  });

  it('says reset when the peer drops the connection with bytes unread', async () => {
    const { a, b, client } = await pair();
    b.pause();
    await world.pass(5);
    a.write(Buffer.alloc(5000));
    await world.pass(20);
    b.destroy();
    // A kernel may have the reset only with the next write.
    a.write(Buffer.alloc(10));
    await world.until(() => client.closed !== undefined);
    expect(client.closed).toBe(world.dropResets ? 'reset' : 'end');
  });

  it('pushes back: write turns false, bufferedBytes shows it, onDrain comes once it has emptied', async () => {
    const { a, b, client, server } = await pair();
    b.pause();
    let total = 0;
    let full = false;
    for (let i = 0; i < 400 && !full; i++) {
      full = !a.write(Buffer.alloc(65_536, i));
      total += 65_536;
      if (i % 8 === 7) await world.pass(2);
    }
    expect(full).toBe(true);
    expect(a.bufferedBytes).toBeGreaterThan(0);
    expect(client.drained).toBe(0);
    b.resume();
    await world.until(() => server.bytes.length === total);
    await world.until(() => client.drained === 1);
    expect(a.bufferedBytes).toBe(0);
    a.destroy();
  });

  it('keeps the order of small writes of a turn each, and pushes back, when the peer does not read', async () => {
    const { a, b, client, server } = await pair();
    b.pause();
    await world.pass(5);
    const parts: Buffer[] = [];
    for (let full = false, i = 0; i < 4000 && !full; i++) {
      // Larger ones in between, and two in one turn, take other ways than a turn's only small one.
      const part = Buffer.alloc(i % 5 === 4 ? 20_000 : 5000 + (i % 13), i);
      parts.push(part);
      full = !a.write(part);
      if (i % 7 !== 0) await world.pass(1);
    }
    const all = Buffer.concat(parts);
    expect(a.bufferedBytes).toBeGreaterThan(0);
    expect(client.drained).toBe(0);
    b.resume();
    await world.until(() => server.bytes.length === all.length && client.drained === 1);
    expect(server.bytes.equals(all)).toBe(true);
    expect(a.bufferedBytes).toBe(0);
    a.write(Buffer.from('last'));
    a.end();
    await world.until(() => client.closed !== undefined && server.closed !== undefined);
    expect(server.text.slice(-4)).toBe('last');
    expect([client.closed, server.closed]).toEqual(['local', 'end']);
  });

  it('ends in order behind small writes that the peer has not taken, and drops them when destroyed', async () => {
    for (const destroys of [false, true]) {
      const { a, b, client, server } = await pair();
      b.pause();
      await world.pass(5);
      let total = 0;
      for (let full = false; !full && total < 20 << 20; total += 5000) {
        full = !a.write(Buffer.alloc(5000, 5));
        await world.pass(1);
      }
      expect(a.bufferedBytes).toBeGreaterThan(0);
      if (destroys) a.destroy();
      else a.end();
      await world.pass(5);
      b.resume();
      await world.until(() => client.closed !== undefined && server.closed !== undefined);
      expect(client.closed).toBe('local');
      expect(client.drained).toBe(destroys ? 0 : 1);
      if (destroys) expect(server.bytes.length).toBeLessThan(total);
      else expect(server.bytes.length).toBe(total);
    }
  });

  it('delivers nothing while paused and everything after resume', async () => {
    const { a, b, server } = await pair();
    b.pause();
    await world.pass(5);
    a.write(Buffer.from('x'.repeat(1000)));
    await world.pass(20);
    expect(server.bytes.length).toBe(0);
    b.resume();
    await world.until(() => server.bytes.length === 1000);
    a.destroy();
  });

  it('lets the handler destroy the stream from within onData, after which nothing comes but onClose', async () => {
    let calls = 0;
    let after = 0;
    let closed = '';
    const listener = await listen((stream) => stream.setHandler({
      onData: () => {
        calls++;
        if (calls > 1) after++;
        stream.destroy();
      },
      onClose: (reason) => (closed = reason),
    }));
    const client = new Recorder();
    const a = world.streams.connect(listener.address);
    a.setHandler(client);
    for (let i = 0; i < 20; i++) a.write(Buffer.alloc(20_000));
    await world.until(() => closed !== '' && client.closed !== undefined);
    expect([calls, after, closed]).toEqual([1, 0, 'local']);
  });

  it('closing a listener spares open streams and frees the port', async () => {
    const { a, server, listener } = await pair();
    await world.settle(listener.close());
    a.write(Buffer.from('still here'));
    await world.until(() => server.text === 'still here');
    const again = await world.settle(world.streams.listen(listener.address, () => {}));
    await world.settle(again.close());
    a.destroy();
  });

  it('rejects a bound address with ADDRESS_IN_USE, another host\'s with ADDRESS_NOT_AVAILABLE', async () => {
    const listener = await listen(() => {});
    await expect(world.settle(world.streams.listen(listener.address, () => {}))).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    await expect(world.settle(world.streams.listen({ host: '192.0.2.1', port: 0 }, () => {}))).rejects.toMatchObject({ code: 'ADDRESS_NOT_AVAILABLE' });
  });

  it('serves many connections at once', async () => {
    const listener = await listen((stream) => stream.setHandler({ onData: (bytes) => void stream.write(bytes.slice()), onClose: () => {} }));
    const clients = Array.from({ length: 300 }, (_, i) => {
      const recorder = new Recorder();
      const stream = world.streams.connect(listener.address);
      stream.setHandler(recorder);
      stream.write(Buffer.from(`client ${i} `.repeat(20)));
      return { stream, recorder, expected: `client ${i} `.repeat(20) };
    });
    await world.until(() => clients.every(({ recorder, expected }) => recorder.text.length === expected.length));
    for (const { stream, recorder, expected } of clients) {
      expect(recorder.text).toBe(expected);
      stream.destroy();
    }
    await world.until(() => clients.every(({ recorder }) => recorder.closed === 'local'));
  });
});
