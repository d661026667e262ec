import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Source } from '../../src/discovery/strategy.ts';
import { completeOptions } from '../../src/discovery/strategy.ts';
import type { Address } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';
import { Etcd, etcdInstalled } from './support/etcd.ts';
import { hostPorts, temporaryDirectory } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { at, strategyNamed } from './support/rigs.ts';

describe.skipIf(!etcdInstalled)('nodes that register in a real etcd', () => {
  const etcd = new Etcd();
  const directory = temporaryDirectory();
  beforeAll(() => etcd.start());
  afterAll(async () => {
    await etcd.end();
    rmSync(directory, { recursive: true, force: true });
  });

  function node(name: string, address: Address, options: Readonly<Record<string, unknown>> = {}): { source: Source; sink: Recorder } {
    const strategy = strategyNamed('etcd');
    const sink = new Recorder();
    return { sink, source: strategy.start(completeOptions(strategy, { servers: [etcd.url], ttlSeconds: 5, pollMs: 50, ...options }), hostPorts(name, address), sink) };
  }

  const key = btoa('/troupe/nodes/two');
  const entry = async (): Promise<{ value?: string; lease?: string } | undefined> => ((await etcd.call('kv/range', { key })) as { kvs?: { value?: string; lease?: string }[] }).kvs?.[0];

  test('find each other; a key has a lease, comes back when it was removed, and goes with its node', async () => {
    const one = node('one', at(2));
    const two = node('two', at(3));
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.2:7946', '127.0.0.3:7946']));
    await poll(() => expect(two.sink.hosts).toEqual(one.sink.hosts));
    expect(atob((await entry())?.value ?? '')).toBe('127.0.0.3:7946');
    expect(Number((await entry())?.lease ?? 0)).toBeGreaterThan(0);
    await etcd.call('kv/deleterange', { key });
    await poll(async () => expect(await entry()).toBeDefined());
    // Its lease was ended from outside, as by a long pause of the node.
    const { lease } = (await entry()) as { lease: string };
    await etcd.call('lease/revoke', { ID: lease });
    await poll(async () => expect((await entry())?.lease ?? lease).not.toBe(lease));
    await two.source.stop();
    expect(await entry()).toBeUndefined();
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.2:7946']));
    await one.source.stop();
  });

  test('a server that is away is passed over for the next', async () => {
    const one = node('one', at(2), { servers: ['http://127.0.0.1:1', etcd.url] });
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.2:7946']));
    expect(one.sink.failures).toContain('HTTP_UNREACHABLE');
    await one.source.stop();
  });

  test('with a user: without, or with a wrong password, nothing is told; a token that has become void is asked for anew', async () => {
    await etcd.call('auth/user/add', { name: 'root', password: 'secret' });
    await etcd.call('auth/role/add', { name: 'root' });
    await etcd.call('auth/user/grant', { user: 'root', role: 'root' });
    await etcd.call('auth/enable', {});
    writeFileSync(join(directory, 'right'), 'secret\n');
    writeFileSync(join(directory, 'wrong'), 'secret?');
    const without = node('one', at(2));
    const wrong = node('two', at(3), { user: 'root', password: join(directory, 'wrong') });
    const right = node('three', at(4), { user: 'root', password: join(directory, 'right') });
    await poll(() => expect(right.sink.hosts).toEqual(['127.0.0.4:7946']));
    for (const { sink } of [without, wrong]) {
      await poll(() => expect(sink.failures).toContain('DISCOVERY_REFUSED'));
      expect(sink.hosts).toBeUndefined();
    }
    // A restart voids all simple tokens.
    await etcd.stop();
    await poll(() => expect(right.sink.failures.length).toBeGreaterThan(0));
    await etcd.start();
    const found = right.sink.foundCount;
    await poll(() => expect(right.sink.foundCount).toBeGreaterThan(found + 1), 20_000);
    for (const { source } of [without, wrong, right]) await source.stop();
  });
});
