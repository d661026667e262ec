import type { DiskChange } from './disk.ts';

/** What every Disk does with a batch, on a plain map. */
export function applyChange(entries: Map<string, Uint8Array>, change: DiskChange): void {
  if (change.type === 'put') entries.set(change.key, change.value);
  else if (change.type === 'delete') entries.delete(change.key);
  else for (const key of entries.keys()) if (isInRange(key, change.first, change.end)) entries.delete(key);
}

/** A change that its caller's buffers no longer touch. */
export function copyChange(change: DiskChange): DiskChange {
  // Not slice: that of a Buffer copies nothing.
  return change.type === 'put' ? { ...change, value: new Uint8Array(change.value) } : change;
}

/** first <= key < end, by bytes. */
export function isInRange(key: string, first: string, end: string): boolean {
  return compareKeys(first, key) <= 0 && compareKeys(key, end) < 0;
}

/** UTF-8 byte order. It is that of code points, which differs from JavaScript's order only where surrogate pairs meet U+E000 and above. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return lift(x) - lift(y);
  }
  return a.length - b.length;
}

function lift(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
