import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Database, DiskChange } from '../../src/ports/disk.ts';
import type { PortWorld } from './worlds.ts';
import { diskWorlds } from './worlds.ts';

const put = (key: string, value: string): DiskChange => ({ type: 'put', key, value: Buffer.from(value) });

describe.each(diskWorlds)('Disk of %s', (_name, make) => {
  let world: PortWorld;
  beforeEach(() => {
    world = make();
  });
  afterEach(() => world.end());

  const open = (name = 'test'): Promise<Database> => world.settle(world.disk.open(name));
  const text = (bytes: Uint8Array | undefined): string | undefined => (bytes === undefined ? undefined : Buffer.from(bytes).toString());
  const list = (database: Database, first = '', end = '\u{10ffff}'): string[] => [...database.range(first, end)].map(([key, value]) => `${key}=${text(value)}`);

  function write(database: Database, batch: readonly DiskChange[]): Promise<void> {
    return world.settle(new Promise((resolve, reject) => database.write(batch, (error) => (error ? reject(error) : resolve()))));
  }

  it('reads its writes at once, before they are durable', async () => {
    const database = await open();
    let done = false;
    database.write([put('a', '1'), put('b', '2')], () => (done = true));
    expect(done).toBe(false);
    expect(text(database.get('a'))).toBe('1');
    database.write([{ type: 'delete', key: 'a' }, put('c', '3')], () => {});
    expect(database.get('a')).toBeUndefined();
    expect(list(database)).toEqual(['b=2', 'c=3']);
    await world.until(() => done);
    expect(list(database)).toEqual(['b=2', 'c=3']);
  });

  it('keeps what was reported durable over a restart', async () => {
    const database = await open();
    await write(database, [put('a', '1'), put('b', '2')]);
    await write(database, [{ type: 'delete', key: 'a' }, put('b', '3')]);
    await world.reopenDisk();
    expect(list(await open())).toEqual(['b=3']);
  });

  it('calls done in the order of the writes', async () => {
    const database = await open();
    const order: number[] = [];
    for (let i = 0; i < 50; i++) {
      database.write([put('k', String(i))], () => order.push(i));
      if (i % 10 === 0) await world.pass(1);
    }
    await world.until(() => order.length === 50);
    expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(text(database.get('k'))).toBe('49');
  });

  it('copies values before the call returns', async () => {
    const database = await open();
    const value = Buffer.from('one');
    const written = write(database, [{ type: 'put', key: 'k', value }]);
    value.write('two');
    expect(text(database.get('k'))).toBe('one');
    await written;
    expect(text(database.get('k'))).toBe('one');
  });

  it('gives values that later reads and writes do not change', async () => {
    const database = await open();
    await write(database, [put('a', 'aaaa'), put('b', 'bbbb')]);
    const a = database.get('a');
    const b = database.get('b');
    await write(database, [put('a', 'cccc'), put('b', 'dddd')]);
    expect([text(a), text(b), text(database.get('a'))]).toEqual(['aaaa', 'bbbb', 'cccc']);
  });

  it('orders keys by their bytes, and ranges include the first and exclude the end', async () => {
    const database = await open();
    const keys = ['log/00000001', 'log/00000010', 'log/00000002', 'z', 'A', 'é', 'log', '\u{1f600}', '\uff5e'];
    await write(database, keys.map((key) => put(key, 'v')));
    const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect([...database.range('', '\u{10ffff}')].map(([key]) => key)).toEqual(sorted);
    expect([...database.range('log/00000001', 'log/00000010')].map(([key]) => key)).toEqual(['log/00000001', 'log/00000002']);
    // The same while the changes are still under way.
    database.write([put('log/00000003', 'v'), { type: 'delete', key: 'log/00000002' }], () => {});
    expect([...database.range('log/00000001', 'log/00000010')].map(([key]) => key)).toEqual(['log/00000001', 'log/00000003']);
  });

  it('deletes ranges, with what the same and earlier batches put into them', async () => {
    const database = await open();
    await write(database, [put('a1', '1'), put('a2', '2'), put('b1', '3')]);
    database.write([put('a3', '4')], () => {});
    database.write([put('a4', '5'), { type: 'delete-range', first: 'a2', end: 'b' }, put('a2', 'new')], () => {});
    expect(list(database)).toEqual(['a1=1', 'a2=new', 'b1=3']);
    await write(database, []);
    expect(list(database)).toEqual(['a1=1', 'a2=new', 'b1=3']);
    await world.reopenDisk();
    expect(list(await open())).toEqual(['a1=1', 'a2=new', 'b1=3']);
  });

  it('keeps databases of different names apart', async () => {
    const one = await open('one');
    const two = await open('two');
    await write(one, [put('k', '1')]);
    expect(two.get('k')).toBeUndefined();
  });

  it('writes what is under way before close resolves', async () => {
    const database = await open();
    let done: unknown = 'no';
    database.write([put('k', 'v')], (error) => (done = error));
    await world.settle(database.close());
    await world.until(() => done !== 'no');
    expect(done).toBeUndefined();
    expect(text((await open()).get('k'))).toBe('v');
  });

  it('fails writes after close', async () => {
    const database = await open();
    await world.settle(database.close());
    await expect(write(database, [put('k', 'v')])).rejects.toMatchObject({ code: 'DISK_CLOSED' });
  });
});
