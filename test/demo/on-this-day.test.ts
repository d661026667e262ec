import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';

type Entry = { day: string; year: number; text: string };

const raw = readFileSync(new URL('../../examples/demo/on-this-day.json', import.meta.url));
const entries = JSON.parse(raw.toString('utf8')) as Entry[];

/** Every day of a leap year, from the calendar and not from a list of ours. */
const allDays = Array.from({ length: 366 }, (_, day) => new Date(Date.UTC(2024, 0, 1 + day)).toISOString().slice('2024-'.length, '2024-MM-DD'.length));

describe('the entries of on-this-day.json', () => {
  test('cover each of the 366 days, and no day that does not exist', () => {
    expect([...new Set(entries.map((entry) => entry.day))].sort()).toEqual(allDays);
  });

  test('have exactly the fields day, year and text, well formed', () => {
    for (const entry of entries) {
      expect(Object.keys(entry), JSON.stringify(entry)).toEqual(['day', 'year', 'text']);
      expect(entry.day).toMatch(/^\d\d-\d\d$/);
      expect(Number.isInteger(entry.year), JSON.stringify(entry)).toBe(true);
      expect(entry.year, JSON.stringify(entry)).not.toBe(0);
      expect(entry.year, JSON.stringify(entry)).toBeGreaterThanOrEqual(-800);
      expect(entry.year, JSON.stringify(entry)).toBeLessThanOrEqual(2025);
    }
  });

  test('are one plain sentence of 20 to 140 characters each', () => {
    for (const { text } of entries) {
      expect(text.length, text).toBeGreaterThanOrEqual(20);
      expect(text.length, text).toBeLessThanOrEqual(140);
      expect(text, text).toMatch(/^\p{Lu}[^<>&*_`[\]{}|\\\p{C}]*[^.\s]\.$/u);
      expect(text, text).not.toMatch(/[.!?] |\s\s/);
      expect(text.normalize('NFC'), text).toBe(text);
    }
  });

  test('are sorted by day, then by year', () => {
    const sorted = entries.toSorted((a, b) => (a.day < b.day ? -1 : a.day > b.day ? 1 : a.year - b.year));
    expect(entries).toEqual(sorted);
  });

  test('contain no text twice', () => {
    const seen = new Map<string, number>();
    for (const { text } of entries) seen.set(text.toLowerCase(), (seen.get(text.toLowerCase()) ?? 0) + 1);
    expect([...seen].filter(([, count]) => count > 1)).toEqual([]);
  });

  test('are valid UTF-8 without a byte order mark', () => {
    expect(() => new TextDecoder('utf-8', { fatal: true }).decode(raw)).not.toThrow();
    expect(raw[0]).toBe('['.charCodeAt(0));
  });
});
