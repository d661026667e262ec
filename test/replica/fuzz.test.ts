import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeEffect } from '../../src/core/store/effect-codec.ts';
import { Effect } from '../../src/core/store/effect.ts';
import { effectStart, newLocation } from '../../src/core/replica/log.ts';
import { Op } from '../../src/core/store/request.ts';
import { FrameSplitter } from '../../src/core/wire/frame-splitter.ts';
import { requestOf } from '../store/requests.ts';
import { Call, Cell, contents } from './cell.ts';
import type { CellNode } from './cell.ts';

interface Frame {
  readonly type: number;
  readonly body: Uint8Array;
}

/** Two copies under load, and frames of every kind that they have sent to each other. */
function recorded(): { cell: Cell; replica: CellNode; primary: CellNode; frames: Frame[] } {
  const cell = new Cell(['n1', 'n2', 'n3'], ['n1', 'n2'], 'all', 3);
  expect(cell.settle()).toBe(true);
  const frames: Frame[] = [];
  for (const node of cell.nodes) {
    for (const wire of node.wires.values()) {
      const { queue } = wire;
      const push = queue.push.bind(queue);
      const splitter = new FrameSplitter();
      queue.push = (...all: Uint8Array[]) => {
        for (const bytes of all) splitter.push(bytes, (type, body, start, end) => frames.push({ type, body: body.slice(start, end) }));
        return push(...all);
      };
    }
  }
  for (let i = 0; i < 30; i++) new Call(requestOf(Op.set, `key${i % 7}`, { value: `value ${i}` }), i + 1).try(cell.primary()!);
  expect(cell.settle()).toBe(true);
  cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
  expect(cell.settle()).toBe(true);
  cell.transfer(cell.partition.inSync[1]!);
  expect(cell.settle()).toBe(true);
  const primary = cell.primary()!;
  const replica = cell.node(cell.partition.inSync.find((name) => name !== primary.name)!);
  return { cell, primary, replica, frames };
}

/** What is in the log can be carried out, and what is in the table can be read. */
function isSound(node: CellNode): void {
  const copy = node.copy()!;
  const at = newLocation();
  const effect = new Effect();
  for (let seq = copy.log.baseSeq + 1; seq <= copy.log.lastSeq; seq++) {
    expect(copy.log.locate(seq, at)).toBe(true);
    expect(decodeEffect(at.bytes, effectStart(at.start), at.end, effect)).toBe(at.end);
  }
  expect(copy.commitSeq).toBeLessThanOrEqual(copy.log.lastSeq);
  contents(copy.table);
}

function give(node: CellNode, from: string, type: number, body: Uint8Array): void {
  try {
    node.host.onReplicaFrame(from, type, body, 0, body.length);
  } catch (error) {
    expect(['BAD_FRAME', 'BAD_EFFECT']).toContain((error as { code?: string }).code);
  }
  node.host.flush();
}

test('any bytes in any frame are refused with a code or do no harm', () => {
  const { primary, replica, cell } = recorded();
  fc.assert(fc.property(fc.integer({ min: 0x20, max: 0x2f }), fc.uint8Array({ maxLength: 120 }), fc.boolean(), (type, bytes, toPrimary) => {
    const body = new Uint8Array(8 + bytes.length);
    const view = new DataView(body.buffer);
    view.setUint16(0, 1);
    view.setUint32(4, cell.partition.epoch);
    body.set(bytes, 8);
    const [node, from] = toPrimary ? [primary, replica.name] : [replica, primary.name];
    give(node, from, type, body);
    isSound(node);
  }), { numRuns: 3000 });
});

test('real frames, damaged or cut, are refused with a code or do no harm; the copies recover', () => {
  const { cell, primary, replica, frames } = recorded();
  expect(new Set(frames.map((frame) => frame.type)).size).toBeGreaterThan(5);
  fc.assert(fc.property(fc.nat(frames.length - 1), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat(), fc.boolean(), (pick, changes, cut, whole) => {
    const { type, body } = frames[pick]!;
    const damaged = body.slice(0, whole ? body.length : cut % (body.length + 1));
    // Address and epoch stay: others are turned away at the door.
    if (damaged.length >= 8) new DataView(damaged.buffer).setUint32(4, cell.partition.epoch);
    for (const [at, value] of changes) if (damaged.length > 8) damaged[8 + (at % (damaged.length - 8))] = value;
    const [node, from] = type < 0x28 ? [replica, primary.name] : [primary, replica.name];
    give(node, from, type, damaged);
    isSound(node);
  }), { numRuns: 3000 });
});
