/**
 * The upper 31 bits of MurmurHash3 (32 bits, Austin Appleby, public domain) of bytes[start, end): a whole number from
 * 0 to 2^31 - 1, since the engine boxes larger ones, at the cost of an allocation for each call they are passed to.
 * Part of the replication format: every node must map a key to the same partition, so it can never change.
 */
export function hashKey(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x9747b28c;
  const length = end - start;
  const blocksEnd = start + (length & ~3);
  let at = start;
  for (; at < blocksEnd; at += 4) {
    let block = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
    block = Math.imul(block, 0xcc9e2d51);
    block = (block << 15) | (block >>> 17);
    hash ^= Math.imul(block, 0x1b873593);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  if (at < end) {
    let tail = bytes[at] as number;
    if (at + 1 < end) tail |= (bytes[at + 1] as number) << 8;
    if (at + 2 < end) tail |= (bytes[at + 2] as number) << 16;
    tail = Math.imul(tail, 0xcc9e2d51);
    tail = (tail << 15) | (tail >>> 17);
    hash ^= Math.imul(tail, 0x1b873593);
  }
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 1;
}

/** The partition of a key: from the high bits of its hash, while a table's index uses the low ones, so that the two are independent. */
export function partitionOf(hash: number, partitions: number): number {
  return Math.floor((hash * partitions) / 0x8000_0000);
}
