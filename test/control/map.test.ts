import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { apply, decodeMap, encodeMap } from '../../src/core/control/apply.ts';
import { decodeCommand, encodeCommand } from '../../src/core/control/commands.ts';
import type { Command, InSyncChange } from '../../src/core/control/commands.ts';
import { emptyMap } from '../../src/core/control/map.ts';
import type { PartitionEntry } from '../../src/core/control/map.ts';
import { Control, keyspaceOptions, specOf } from './support.ts';

function withKeyspace(copies: readonly string[][] = [['a', 'b', 'c']], acks: 'all' | 'majority' = 'all'): Control {
  const control = new Control();
  for (const name of ['a', 'b', 'c', 'd']) control.up(name);
  control.apply({ type: 'create-keyspace', name: 'k', options: { ...keyspaceOptions, partitions: copies.length, acks }, copies });
  return control;
}

function partition(control: Control): PartitionEntry {
  return control.map.keyspaces['k']!.partitions[0]!;
}

describe('sessions in the map', () => {
  test('the same process asking twice gets the same session', () => {
    const control = new Control();
    const first = control.up('a', [], { instance: 'i' });
    expect(control.up('a', [], { instance: 'i' })).toEqual(first);
  });

  test('a live name is not taken from a process that nobody declared gone, even by a second newcomer in the same moment', () => {
    const control = new Control();
    control.up('a', [], { instance: 'old' });
    expect(control.up('a', [], { instance: 'new-1', replaces: 'old' }).ok).toBe(true);
    expect(control.up('a', [], { instance: 'new-2', replaces: 'old' })).toMatchObject({ ok: false, code: 'NAME_TAKEN' });
    expect(control.map.nodes['a']?.instance).toBe('new-1');
  });

  test('ending a session that is over, or another, changes nothing', () => {
    const control = new Control();
    control.up('a');
    control.down('a');
    control.up('a');
    expect(control.apply({ type: 'close-sessions', sessions: [{ name: 'a', session: 1, evidence: 'silent' }] })).toMatchObject({ code: 'STALE' });
    expect(control.map.nodes['a']?.live).toBe(true);
  });

  test('a draining node that lost contact for a moment still drains; a new process does not', () => {
    const control = new Control();
    control.up('a', [], { instance: 'i' });
    control.apply({ type: 'drain', name: 'a', on: true });
    control.down('a', 'silent');
    control.up('a', [], { instance: 'i' });
    expect(control.map.nodes['a']?.draining).toBe(true);
    control.up('a', [], { instance: 'j' });
    expect(control.map.nodes['a']?.draining).toBe(false);
  });
});

describe('partitions', () => {
  test('a primary\'s death promotes an in-sync member under the next epoch', () => {
    const control = withKeyspace();
    const { primary, epoch } = partition(control);
    control.down(primary!);
    expect(partition(control).epoch).toBe(epoch + 1);
    expect(partition(control).inSync).not.toContain(primary);
    expect(partition(control).inSync[0]).toBe(partition(control).primary);
  });

  test('the last copies, silent: nobody takes over; known dead later: lost', () => {
    const control = withKeyspace([['a', 'b']]);
    const session = { a: control.map.nodes['a']!.session, b: control.map.nodes['b']!.session };
    control.apply({ type: 'close-sessions', sessions: [{ name: 'a', session: session.a, evidence: 'silent' }, { name: 'b', session: session.b, evidence: 'silent' }] });
    expect(partition(control)).toMatchObject({ primary: undefined, lost: false, inSync: [] });
    control.down('a', 'refused');
    expect(partition(control).lost).toBe(false);
    control.down('b', 'refused');
    expect(partition(control).lost).toBe(true);
  });

  test('a founder that was silent while the others left may still begin empty, for no write was acknowledged without it', () => {
    const control = withKeyspace([['b', 'c']]);
    const { session, instance } = control.map.nodes['b']!;
    control.apply({ type: 'close-sessions', sessions: [{ name: 'c', session: control.map.nodes['c']!.session, evidence: 'left' }, { name: 'b', session, evidence: 'silent' }] });
    expect(partition(control)).toMatchObject({ primary: undefined, inSync: [], lastInSync: [{ name: 'b', instance }], founding: ['b'], lost: false });
    control.up('b', [], { instance });
    expect(partition(control)).toMatchObject({ primary: 'b', inSync: ['b'], lastInSync: [], founding: ['b'] });
  });

  test('a founder that comes back as another process may not begin empty', () => {
    const control = withKeyspace([['b', 'c']]);
    const { session } = control.map.nodes['b']!;
    control.apply({ type: 'close-sessions', sessions: [{ name: 'c', session: control.map.nodes['c']!.session, evidence: 'left' }, { name: 'b', session, evidence: 'silent' }] });
    control.up('b');
    expect(partition(control)).toMatchObject({ primary: undefined, inSync: [], lastInSync: [], founding: [], lost: true });
  });

  test('a founder that was silent and then forgotten may begin nothing', () => {
    const control = withKeyspace([['b', 'c']]);
    control.down('c');
    control.down('b', 'silent');
    expect(partition(control).founding).toEqual(['b']);
    control.apply({ type: 'forget-node', name: 'b' });
    expect(partition(control)).toMatchObject({ lastInSync: [], founding: [], lost: true });
  });

  test('a primary that steps back for a copy with more does so for that one, and not once that one has left', () => {
    const control = withKeyspace([['a', 'b', 'c']], 'majority');
    const { primary, epoch } = partition(control);
    const [second, third] = partition(control).inSync.filter((name) => name !== primary);
    const change = (inFavourOf: string): InSyncChange => ({ keyspace: 'k', partition: 0, epoch, remove: primary!, inFavourOf });
    control.down(second!);
    expect(control.apply({ type: 'in-sync', changes: [change(second!)] })).toMatchObject({ code: 'STALE' });
    expect(partition(control)).toMatchObject({ primary, lost: false });
    expect(control.apply({ type: 'in-sync', changes: [change(third!)] })).toMatchObject({ ok: true });
    expect(partition(control)).toMatchObject({ primary: third, inSync: [third] });
  });

  test('an order to forget a node does not meet its next life', () => {
    const control = withKeyspace([['b', 'c']]);
    control.down('b');
    const meant = control.map.nodes['b']!.instance;
    control.up('b');
    control.down('b', 'silent');
    expect(control.apply({ type: 'forget-node', name: 'b', instance: meant })).toMatchObject({ ok: false, code: 'STALE' });
    expect(control.map.nodes['b']).toBeDefined();
    expect(control.apply({ type: 'forget-node', name: 'b', instance: control.map.nodes['b']!.instance })).toMatchObject({ ok: true });
  });

  test('acks majority: the last copies go on only together', () => {
    const control = withKeyspace([['a', 'b']], 'majority');
    const instances = { a: control.map.nodes['a']!.instance, b: control.map.nodes['b']!.instance };
    control.apply({ type: 'close-sessions', sessions: ['a', 'b'].map((name) => ({ name, session: control.map.nodes[name]!.session, evidence: 'silent' as const })) });
    control.up('a', [], { instance: instances.a });
    expect(partition(control).primary).toBeUndefined();
    control.up('b', [], { instance: instances.b });
    expect(partition(control).inSync.toSorted()).toEqual(['a', 'b']);
  });

  test('an accepted loss begins anew on a live node; what was held before is worthless by its epoch', () => {
    const control = withKeyspace([['a']]);
    const accept = (seen: number): boolean => control.apply({ type: 'accept-loss', keyspace: 'k', partitions: [{ partition: 0, epoch: seen }] }).ok;
    expect(accept(partition(control).epoch)).toBe(false);
    control.down('a');
    expect(accept(partition(control).epoch - 1), 'seen before it was so').toBe(false);
    const { epoch: seen } = partition(control);
    expect(control.apply({ type: 'accept-loss', keyspace: 'k', partitions: [{ partition: 0, epoch: seen }, { partition: 7, epoch: 1 }] })).toEqual({ ok: true, changed: 1 });
    expect(accept(seen), 'once').toBe(false);
    const { primary, founding, emptySince, epoch } = partition(control);
    expect(['b', 'c', 'd']).toContain(primary);
    expect({ founding, emptySince }).toEqual({ founding: [primary], emptySince: epoch });
  });

  test('the word of a primary of an earlier epoch changes nothing', () => {
    const control = withKeyspace();
    const { epoch, primary } = partition(control);
    control.down(primary!);
    for (const change of [{ remove: partition(control).primary! }, { settled: true }]) {
      expect(control.apply({ type: 'in-sync', changes: [{ keyspace: 'k', partition: 0, epoch, ...change }] })).toMatchObject({ code: 'STALE' });
    }
  });

  test('a former primary that is promoted again is former no more', () => {
    const control = withKeyspace([['a', 'b']]);
    const { primary, epoch } = partition(control);
    const other = primary === 'a' ? 'b' : 'a';
    control.apply({ type: 'transfer-primary', transfers: [{ keyspace: 'k', partition: 0, epoch, to: other }] });
    expect(partition(control).former).toBe(primary);
    control.down(other);
    expect(partition(control)).toMatchObject({ primary, former: undefined });
  });
});

describe('any sequence of commands', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', '__proto__', 'constructor', 'nobody');
  const key = fc.constantFrom('k', 'missing', '__proto__');
  const number = fc.integer({ min: 0, max: 6 });
  const command = fc.oneof(
    fc.record({ type: fc.constant('close-sessions' as const), sessions: fc.array(fc.record({ name, session: number, evidence: fc.constantFrom('left' as const, 'refused' as const, 'silent' as const) }), { maxLength: 3 }) }),
    fc.record({ type: fc.constant('drain' as const), name, on: fc.boolean() }),
    fc.record({ type: fc.constant('forget-node' as const), name }),
    fc.record({ type: fc.constant('in-sync' as const), changes: fc.array(fc.record({ keyspace: key, partition: fc.integer({ min: -1, max: 2 }), epoch: number, add: fc.option(name, { nil: undefined }), session: number, remove: fc.option(name, { nil: undefined }), settled: fc.boolean() }), { maxLength: 2 }) }),
    fc.record({ type: fc.constant('place' as const), moves: fc.array(fc.record({ keyspace: key, partition: fc.integer({ min: -1, max: 2 }), add: fc.constantFrom('a', 'b', 'c', 'd'), remove: name }), { maxLength: 2 }) }),
    fc.record({ type: fc.constant('transfer-primary' as const), transfers: fc.array(fc.record({ keyspace: key, partition: number, epoch: number, to: name }), { maxLength: 2 }) }),
    fc.record({ type: fc.constant('accept-loss' as const), keyspace: key, partitions: fc.array(fc.record({ partition: number, epoch: number }), { maxLength: 2 }) }),
    fc.record({ type: fc.constant('up' as const), name: fc.constantFrom('a', 'b', 'c', 'd'), again: fc.boolean() }),
  );

  test('keeps the map sound, alike on every node, and other objects untouched', () => {
    fc.assert(fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const control = withKeyspace([['a', 'b', 'c'], ['b', 'c']]);
      const twin = structuredClone(control.map);
      let index = 100;
      let epochs = [0, 0];
      for (const step of commands) {
        const real: Command = step.type === 'up'
          ? { type: 'open-session', name: step.name, raftId: `${step.name}/1`, instance: step.again ? (control.map.nodes[step.name]?.instance ?? 'x') : `${step.name}-${index}`, peer: { host: 'h', port: 1 }, gossip: { host: 'h', port: 2 }, zone: '', eligible: true, storage: true, version: 't', offers: {}, resumes: 0, replaces: control.map.nodes[step.name]?.instance ?? '' }
          : (step as Command);
        const sent = decodeCommand(encodeCommand(real));
        expect(apply(control.map, sent, ++index)).toEqual(apply(twin, sent, index));
        control.map.keyspaces['k']!.partitions.forEach((entry, at) => {
          expect(entry.epoch).toBeGreaterThanOrEqual(epochs[at]!);
          expect(new Set(entry.inSync).size).toBe(entry.inSync.length);
          for (const member of entry.inSync) expect(control.map.nodes[member]?.live === true && entry.copies.includes(member), `${member} in sync`).toBe(true);
          expect(entry.primary === undefined ? entry.inSync.length === 0 : entry.inSync[0] === entry.primary || entry.inSync.includes(entry.primary)).toBe(true);
          // While nobody is in sync, the silent ones who may go on keep their right to begin empty.
          const mayServe = [...entry.inSync, ...entry.lastInSync.map((last) => last.name)];
          for (const founder of entry.founding) expect(mayServe).toContain(founder);
          if (entry.former !== undefined) expect(entry.inSync.includes(entry.former) && entry.former !== entry.primary).toBe(true);
          if (entry.lost) expect(entry.inSync.length + entry.lastInSync.length).toBe(0);
          if (entry.lastInSync.length > 0) expect(entry.inSync).toEqual([]);
          for (const last of entry.lastInSync) expect(entry.copies).toContain(last.name);
        });
        epochs = control.map.keyspaces['k']!.partitions.map((entry) => entry.epoch);
      }
      expect(twin).toEqual(control.map);
      expect(decodeMap(encodeMap(control.map))).toEqual(control.map);
      expect(Object.keys(Object.prototype)).toEqual([]);
    }), { numRuns: 300 });
  });

  test('what is no command of this version is refused, not thrown', () => {
    const map = emptyMap();
    for (const broken of [{ type: 'place' }, { type: 'in-sync', changes: 3 }, { type: 'from-the-future' }, { type: 'define-app' }, { type: 'open-session', name: '__proto__' }]) {
      expect(apply(map, broken as unknown as Command, 1).ok).toBe(false);
    }
    expect(map).toEqual(emptyMap());
  });

  test('bytes that are no command, or no map, say so', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        decodeCommand(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_COMMAND' });
      }
    }));
    expect(() => decodeMap(Uint8Array.of(0x81, 0xa1, 0x61, 1))).toThrow(expect.objectContaining({ code: 'MAP_UNREADABLE' }));
  });

  test('defining an app twice keeps what it is doing', () => {
    const control = new Control();
    control.apply({ type: 'define-app', spec: specOf('x', [['a']]) });
    control.up('a', ['x']);
    control.run();
    control.apply({ type: 'define-app', spec: specOf('x', [['b'], ['a']]) });
    expect(control.where('x')).toBe('a');
  });
});
