/** Cuts a command's line into words, in place. */
const newline = 0x0a;
const carriageReturn = 0x0d;
const blank = 0x20;
/** More words than this are counted, but not kept: only a retrieval may have more, and it goes through its line itself. */
export const wordsMax = 8;

/** Where the words of the line in hand begin and end; filled by {@link scanLine}, used before the next line is scanned. */
export const wordStarts: Int32Array = new Int32Array(wordsMax);
export const wordEnds: Int32Array = new Int32Array(wordsMax);
/** The rest of what {@link scanLine} found: how many words, and where what counts of the line ends. */
export const scanned: { wordCount: number; end: number } = { wordCount: 0, end: 0 };

/**
 * Finds the words of the line that begins at `start`; returns where its newline is, or -1 when it is not there yet.
 * As in memcached only blanks part words, one carriage return before the newline belongs to it, and a NUL ends what counts.
 */
export function scanLine(bytes: Uint8Array, start: number, end: number): number {
  let count = 0;
  let at = start;
  for (;;) {
    while (at < end && bytes[at] === blank) at++;
    if (at === end) return -1;
    let byte = bytes[at] as number;
    if (byte === newline) break;
    if (byte === 0) {
      scanned.wordCount = count;
      scanned.end = at;
      const found = bytes.indexOf(newline, at);
      return found >= end ? -1 : found;
    }
    const wordStart = at;
    do {
      at++;
      if (at === end) return -1;
      byte = bytes[at] as number;
    } while (byte > blank || (byte !== blank && byte !== newline && byte !== 0));
    if (count < wordsMax) {
      wordStarts[count] = wordStart;
      wordEnds[count] = at;
    }
    count++;
  }
  let contentEnd = at;
  if (at - start > 1 && bytes[at - 1] === carriageReturn) {
    contentEnd--;
    if (count <= wordsMax && wordEnds[count - 1] === at) {
      wordEnds[count - 1] = contentEnd;
      if (wordStarts[count - 1] === contentEnd) count--;
    }
  }
  scanned.wordCount = count;
  scanned.end = contentEnd;
  return at;
}
