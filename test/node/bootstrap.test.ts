import { expect, test } from 'vitest';
import { Bootstrap } from '../../src/node/bootstrap.ts';
import type { BootstrapMember, BootstrapOptions } from '../../src/node/bootstrap.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

function waiting(options: Partial<BootstrapOptions>, others: readonly Partial<BootstrapMember>[]): { bootstrap: Bootstrap; lines: string[]; run: (ms: number) => Promise<void>; join: (member: Partial<BootstrapMember>) => void } {
  const world = new SimWorld({ seed: 1 });
  const host = world.addHost('one');
  const process = host.start('one');
  const lines: string[] = [];
  const { expect: number = 3 } = options;
  const member = (each: Partial<BootstrapMember>): BootstrapMember => ({ name: 'x', instance: `${each.name}-1`, cluster: '', expect: String(number), ...each });
  const members = [member({ name: 'one' }), ...others.map(member)];
  const write = (message: string): void => void lines.push(message);
  const log = { trace: write, debug: write, info: write, warn: write, error: write, child: () => log };
  const bootstrap = new Bootstrap({ self: 'one', instance: 'one-1', expect: number, ...options }, { isFresh: () => true, members: () => members, askPromise: async () => false, found: async () => {}, fail: () => {} }, process.clock, log);
  return { bootstrap, lines, run: (ms) => world.scheduler.runFor(ms), join: (each) => void members.push(member(each)) };
}

test('Bootstrap tells what stands between a node and a cluster: how many are here, and who expects another number', async () => {
  const { bootstrap, lines, run, join } = waiting({}, [{ name: 'two' }]);
  expect(bootstrap.waitsFor()).toBe('2 of the 3 nodes that it expects are here (one, two)');
  await run(2000);
  expect(lines).toEqual([]);
  await run(10_000);
  expect(lines).toEqual(['this node belongs to no cluster yet: 2 of the 3 nodes that it expects are here (one, two)']);
  join({ name: 'three', expect: '5' });
  await run(10_000);
  expect(lines.slice(1)).toEqual(["this node belongs to no cluster yet: 2 of the 3 nodes that it expects are here (one, two); 'three' expects 5: give all the same number"]);
  bootstrap.stop();
});

test('Bootstrap names who does not answer when all are here', async () => {
  const founder = waiting({}, [{ name: 'three' }, { name: 'two' }]);
  await founder.run(10_000);
  expect(founder.lines.at(-1)).toBe('this node belongs to no cluster yet: 3 of the 3 nodes that it expects are here (one, three, two); no promise from three, two: can this node connect to the address and peer port that they advertise');
  founder.bootstrap.stop();
  const other = waiting({}, [{ name: 'a' }, { name: 'two' }]);
  expect(other.bootstrap.waitsFor()).toBe("3 of the 3 nodes that it expects are here (a, one, two); 'a' is to found the cluster: its log says why it does not");
  other.bootstrap.stop();
});

test('Bootstrap names the nodes of `sync` that are missing, the cluster that is there, and the number 0', () => {
  expect(waiting({ expect: 0, sync: { mandatory: ['two', 'three'], optional: ['four'], timeoutMs: 60_000 } }, [{ name: 'three' }]).bootstrap.waitsFor()).toBe('it waits for two, four (sync)');
  expect(waiting({}, [{ name: 'two', cluster: 'c' }]).bootstrap.waitsFor()).toBe("it waits for 'two' and its cluster to take it in");
  expect(waiting({ expect: 0 }, []).bootstrap.waitsFor()).toBe('it founds none (bootstrap.expect is 0): it waits for one that takes it in');
});
