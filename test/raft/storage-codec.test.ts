import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changesFor, changesForCompaction, changesForState, load } from '../../src/core/raft/storage-codec.ts';
import type { StorageChange } from '../../src/core/raft/storage-codec.ts';
import type { Entry, HardState, RaftState, Snapshot } from '../../src/core/raft/types.ts';
import { TestDisk } from './group.ts';

const entryOf = (index: number, term: number): Entry => ({ index, term, type: 'normal', data: new Uint8Array([index & 255, term]) });
const snapshot: Snapshot = { index: 5, term: 2, configuration: { voters: ['a', 'b'], learners: ['c'] }, data: new Uint8Array([1, 2, 3]) };
const hardState: HardState = { term: 3, votedFor: 'b', commit: 6 };
const state: RaftState = { hardState, snapshot, entries: [entryOf(6, 2), entryOf(7, 3), entryOf(8, 3)] };

function diskOf(...batches: readonly (readonly StorageChange[])[]): TestDisk {
  const disk = new TestDisk();
  for (const batch of batches) disk.apply(batch);
  return disk;
}

const corrupt = expect.objectContaining({ code: 'RAFT_LOG_CORRUPT' });

describe('the log on disk', () => {
  it('comes back as it was', () => {
    expect(load(diskOf())).toEqual({ entries: [] });
    expect(load(diskOf(changesForState(state)))).toEqual(state);
    expect(load(diskOf(changesForState(state, 'x/')), 'x/')).toEqual(state);
  });

  it('keeps the order of the log past every power of sixteen', () => {
    const entries = Array.from({ length: 5000 }, (_, i) => entryOf(i + 1, 1));
    expect(load(diskOf(changesForState({ hardState: { ...hardState, commit: 0 }, entries }))).entries).toEqual(entries);
  });

  it('cuts off, replaces and compacts', () => {
    const cut = changesFor({ truncateFrom: 7, entries: [entryOf(7, 4)], hardState: { ...hardState, term: 4 } });
    expect(load(diskOf(changesForState(state), cut)).entries).toEqual([entryOf(6, 2), entryOf(7, 4)]);
    const newer = { ...snapshot, index: 20, term: 4 };
    const replaced = load(diskOf(changesForState(state), changesFor({ snapshot: newer, entries: [entryOf(21, 4)], hardState: { ...hardState, term: 4, commit: 20 } })));
    expect(replaced.snapshot).toEqual(newer);
    expect(replaced.entries).toEqual([entryOf(21, 4)]);
    const compacted = load(diskOf(changesForState(state), changesForCompaction({ ...snapshot, index: 7, term: 3 }, 7)));
    expect(compacted.snapshot?.index).toBe(7);
    expect(compacted.entries).toEqual([entryOf(7, 3), entryOf(8, 3)]);
  });

  it('is refused when any bit of any record changed, or any record is cut short', () => {
    const puts = changesForState(state).filter((change) => change.type === 'put');
    fc.assert(fc.property(fc.nat(puts.length - 1), fc.nat(), fc.nat(7), fc.boolean(), (which, at, bit, isCut) => {
      const disk = diskOf(changesForState(state));
      const { key, value } = puts[which] as { key: string; value: Uint8Array };
      const changed = isCut ? value.slice(0, at % value.length) : value.slice();
      if (!isCut) changed[at % value.length] = (changed[at % value.length] as number) ^ (1 << bit);
      disk.apply([{ type: 'put', key, value: changed }]);
      expect(() => load(disk)).toThrow(corrupt);
    }));
  });

  it('is refused when a record lies under another key', () => {
    const disk = diskOf(changesForState(state));
    disk.apply([{ type: 'put', key: 'raft/log/00000000000009', value: disk.get('raft/log/00000000000008') as Uint8Array }]);
    expect(() => load(disk)).toThrow(/00000000000009.*checksum/);
  });

  it('is refused when records are missing or do not fit', () => {
    const without = (key: string): TestDisk => diskOf(changesForState(state), [{ type: 'delete', key }]);
    expect(() => load(without('raft/log/00000000000007'))).toThrow(/entries are missing/);
    expect(() => load(without('raft/snapshot'))).toThrow(/the first of the log/);
    expect(() => load(without('raft/hard'))).toThrow(/older than the log/);
    expect(() => load(diskOf(changesForState({ ...state, hardState: { ...hardState, commit: 9 } })))).toThrow(/the log ends at 8/);
    expect(() => load(diskOf(changesForState({ ...state, entries: [entryOf(6, 3), entryOf(7, 2)] })))).toThrow(/term 2 after term 3/);
    expect(() => load(diskOf(changesForState({ ...state, entries: [entryOf(5, 1), entryOf(6, 2)] })))).toThrow(/the snapshot there has 2/);
    expect(() => load(diskOf(changesForState({ ...state, entries: [entryOf(3, 1), entryOf(4, 2)] })))).toThrow(/the snapshot is at 5/);
  });
});
