import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Address } from '../../src/ports/address.ts';
import type { PortWorld } from './worlds.ts';
import { worlds } from './worlds.ts';

describe.each(worlds)('Datagrams of %s', (_name, make) => {
  let world: PortWorld;
  beforeEach(() => {
    world = make();
  });
  afterEach(() => world.end());

  const nothing = (): void => {};

  it('binds port 0 to a free port and carries packets both ways with the sender\'s address', async () => {
    const got: [string, Address][] = [];
    const a = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, (packet, from) => got.push([Buffer.from(packet).toString(), from])));
    const b = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, (packet, from) => {
      got.push([Buffer.from(packet).toString(), from]);
      b.send(Buffer.from('pong'), from);
    }));
    expect(a.address.port).toBeGreaterThan(0);
    expect(a.address.port).not.toBe(b.address.port);
    a.send(Buffer.from('ping'), b.address);
    await world.until(() => got.length === 2);
    expect(got).toEqual([['ping', a.address], ['pong', b.address]]);
    await world.settle(Promise.all([a.close(), b.close()]));
  });

  it('rejects a bound address with ADDRESS_IN_USE and gives it free on close', async () => {
    const a = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, nothing));
    await expect(world.settle(world.datagrams.bind(a.address, nothing))).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    await world.settle(a.close());
    await world.settle(a.close());
    const again = await world.settle(world.datagrams.bind(a.address, nothing));
    await world.settle(again.close());
  });

  it('rejects an address of another host with ADDRESS_NOT_AVAILABLE', async () => {
    await expect(world.settle(world.datagrams.bind({ host: '192.0.2.1', port: 0 }, nothing))).rejects.toMatchObject({ code: 'ADDRESS_NOT_AVAILABLE' });
  });

  it('lets the caller reuse the packet after send', async () => {
    const got: string[] = [];
    const a = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, (packet) => got.push(Buffer.from(packet).toString())));
    const packet = Buffer.from('one');
    a.send(packet, a.address);
    packet.write('two');
    a.send(packet, a.address);
    await world.until(() => got.length === 2);
    expect(got.sort()).toEqual(['one', 'two']);
    await world.settle(a.close());
  });

  it('swallows what cannot be sent: too large, nobody there, already closed', async () => {
    const got: number[] = [];
    const a = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, (packet) => got.push(packet.length)));
    const gone = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, nothing));
    await world.settle(gone.close());
    a.send(new Uint8Array(70_000), a.address);
    a.send(new Uint8Array(10), gone.address);
    a.send(new Uint8Array(10), { host: '203.0.113.1', port: 9 });
    gone.send(new Uint8Array(10), a.address);
    a.send(new Uint8Array(3), a.address);
    await world.until(() => got.length === 1);
    expect(got).toEqual([3]);
    await world.settle(a.close());
  });

  it('receives nothing after close', async () => {
    let count = 0;
    const a = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, () => count++));
    const b = await world.settle(world.datagrams.bind({ host: '127.0.0.1', port: 0 }, nothing));
    b.send(new Uint8Array(1), a.address);
    await world.settle(a.close());
    await world.pass(20);
    expect(count).toBe(0);
    await world.settle(b.close());
  });
});
