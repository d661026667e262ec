import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Source } from '../../src/discovery/strategy.ts';
import { completeOptions } from '../../src/discovery/strategy.ts';
import type { Address } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';
import { ConsulAgent } from './support/consul-agent.ts';
import { hostPorts, temporaryDirectory } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { at, strategyNamed } from './support/rigs.ts';
import { ScriptedServer } from './support/scripted-server.ts';

describe('nodes and a Consul agent (its documented HTTP API, replayed)', () => {
  const directory = temporaryDirectory();
  const sources: Source[] = [];
  let server: ScriptedServer;
  let agent: ConsulAgent;
  beforeEach(async () => {
    server = new ScriptedServer();
    agent = new ConsulAgent();
    server.answer = (asked) => agent.answer(asked);
    await server.start();
  });
  afterEach(async () => {
    for (const source of sources.splice(0)) await source.stop();
    await server.stop();
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function node(name: string, address: Address, options: Readonly<Record<string, unknown>> = {}): { source: Source; sink: Recorder } {
    const strategy = strategyNamed('consul');
    const sink = new Recorder();
    const source = strategy.start(completeOptions(strategy, { service: 'troupe', server: server.url, ...options }), hostPorts(name, address), sink);
    sources.push(source);
    return { source, sink };
  }

  test('register themselves with a check, find each other at once, and are gone when they stop', async () => {
    const options = { register: true, passing: true, tag: 'blue', pollMs: 60_000 };
    const one = node('one', at(2), options);
    const two = node('two', at(3), options);
    // By Consul's notice, not by the next look: that would come in a minute.
    await poll(() => expect([one.sink.hosts, two.sink.hosts]).toEqual([['127.0.0.2:7946', '127.0.0.3:7946'], ['127.0.0.2:7946', '127.0.0.3:7946']]));
    await poll(() => expect(agent.waiting).toBe(2));
    expect(agent.instances.get('troupe-two')).toMatchObject({ name: 'troupe', address: '127.0.0.3', port: 7946, tags: ['blue'], ttlMs: 15_000 });
    await two.source.stop();
    expect([...agent.instances.keys()]).toEqual(['troupe-one']);
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.2:7946']));
    expect(one.sink.failures).toEqual([]);
  });

  test('a node whose check is not heard turns critical; one that an operator took away comes back', async () => {
    const one = node('one', at(2), { passing: true, pollMs: 100 });
    node('two', at(3), { register: true, ttlSeconds: 2, pollMs: 60_000 });
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.3:7946']));
    const instance = agent.instances.get('troupe-two') as { passingUntil: number };
    await poll(() => expect(instance.passingUntil).toBeGreaterThan(Date.now() + 1500), 5000);
    // As if it had been frozen for long.
    instance.passingUntil = 0;
    await poll(() => expect(one.sink.hosts).toEqual([]), 2000);
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.3:7946']), 5000);
    agent.instances.delete('troupe-two');
    agent.change();
    await poll(() => expect(one.sink.hosts).toEqual([]), 2000);
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.3:7946']), 5000);
  });

  test('an exchanged token is used at once, for looks and for the registration; without it nothing is told', async () => {
    const token = join(directory, 'token');
    writeFileSync(token, 'first\n');
    agent.token = 'first';
    const one = node('one', at(2), { register: true, ttlSeconds: 2, token, pollMs: 50 });
    const without = node('two', at(3), { pollMs: 50 });
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.2:7946']));
    agent.token = 'second';
    await poll(() => expect(one.sink.failures).toContain('DISCOVERY_REFUSED'));
    expect(one.sink.hosts).toEqual(['127.0.0.2:7946']);
    writeFileSync(token, 'second\n');
    const beats = server.asked.filter((asked) => asked.method === 'PUT' && asked.headers['x-consul-token'] === 'second').length;
    await poll(() => expect(server.asked.filter((asked) => asked.method === 'PUT' && asked.headers['x-consul-token'] === 'second').length).toBeGreaterThan(beats), 5000);
    expect(without.sink.hosts).toBeUndefined();
    expect(without.sink.failures).toContain('DISCOVERY_REFUSED');
  });

  test('an index that goes back, and answers without one, are asked anew without waiting', async () => {
    agent.set([at(2)]);
    const one = node('one', at(9), { pollMs: 300 });
    await poll(() => expect(agent.waiting).toBe(1));
    agent.index = 3;
    agent.set([at(3)]);
    await poll(() => expect(one.sink.hosts).toEqual(['127.0.0.3:7946']));
    const indices = (): (string | null)[] => server.asked.map(({ url }) => url.searchParams.get('index'));
    await poll(() => expect(indices().slice(2)).toContain(null));
    await poll(() => expect(indices().at(-1)).toBe('4'));
    expect(one.sink.failures).toEqual([]);
  });

  test('a service that changes all the time is asked five times a second at most', async () => {
    const churn = setInterval(() => agent.change(), 5);
    try {
      node('one', at(9), { pollMs: 60_000 });
      await poll(() => expect(server.asked.length).toBeGreaterThan(2));
      const [from, count] = [performance.now(), server.asked.length];
      await poll(() => expect(server.asked.length).toBeGreaterThan(count + 4));
      expect(performance.now() - from).toBeGreaterThan(5 * 180 - 200);
    } finally {
      clearInterval(churn);
    }
  });
});
