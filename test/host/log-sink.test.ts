import { afterEach, expect, test, vi } from 'vitest';
import { LogSink } from '../../src/host/log-sink.ts';

afterEach(() => void vi.useRealTimers());

/** A descriptor that takes what it is told to. */
class Descriptor {
  text = '';
  refuses: string | undefined;
  /** Bytes of one call at most. */
  most = Infinity;
  calls = 0;

  readonly write = (bytes: Uint8Array): number => {
    this.calls++;
    if (this.refuses !== undefined) throw Object.assign(new Error(this.refuses), { code: this.refuses });
    const taken = bytes.subarray(0, this.most);
    this.text += Buffer.from(taken).toString();
    return taken.length;
  };
}

test('write() writes at once, also where the system takes a part', () => {
  const to = new Descriptor();
  to.most = 3;
  new LogSink(to.write).write('a whole line\n');
  expect(to.text).toBe('a whole line\n');
});

test.each(['ENOSPC', 'EAGAIN', 'EIO', 'EFBIG'])('lines wait while stderr says %s, and come in order afterwards, without a further line', (code) => {
  vi.useFakeTimers();
  const to = new Descriptor();
  const sink = new LogSink(to.write);
  sink.write('first\n');
  to.refuses = code;
  sink.write('second\n');
  sink.write('third\n');
  expect(to.text).toBe('first\n');
  vi.advanceTimersByTime(1000);
  to.refuses = undefined;
  vi.advanceTimersByTime(300);
  expect(to.text).toBe('first\nsecond\nthird\n');
  sink.write('fourth\n');
  expect(to.text).toBe('first\nsecond\nthird\nfourth\n');
  expect(vi.getTimerCount()).toBe(0);
});

test('a line of which only the beginning was taken is not torn', () => {
  const to = new Descriptor();
  to.most = 4;
  const sink = new LogSink((bytes) => {
    if (to.calls === 1) to.refuses = 'EAGAIN';
    return to.write(bytes);
  });
  sink.write('one line\n');
  expect(to.text).toBe('one ');
  to.refuses = undefined;
  to.calls = 2;
  sink.write('another\n');
  expect(to.text).toBe('one line\nanother\n');
});

test('while nothing is taken, at most 1 MiB waits; what is left out is counted and told', () => {
  const to = new Descriptor();
  to.refuses = 'ENOSPC';
  const sink = new LogSink(to.write);
  const line = `${'x'.repeat(1023)}\n`;
  for (let i = 0; i < 3000; i++) sink.write(line);
  to.refuses = undefined;
  sink.write('last\n');
  expect(to.text.length).toBeLessThan((1 << 20) + 300);
  const [told, last] = to.text.trimEnd().split('\n').slice(-2) as [string, string];
  expect(JSON.parse(told)).toMatchObject({ level: 'warn', lines: 3000 - 1024, msg: expect.stringContaining('left out') });
  expect(last).toBe('last');
});

test('where nobody reads any more, nothing is tried again', () => {
  vi.useFakeTimers();
  const to = new Descriptor();
  to.refuses = 'EPIPE';
  const sink = new LogSink(to.write);
  for (let i = 0; i < 10; i++) sink.write('line\n');
  vi.advanceTimersByTime(5000);
  expect(to.calls).toBe(1);
  expect(vi.getTimerCount()).toBe(0);
});
