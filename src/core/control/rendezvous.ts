/** A 32-bit hash of the pair (FNV-1a, then an avalanche), for ranking nodes: the same everywhere, no tables to keep. */
export function pairHash(left: string, right: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < left.length; i++) hash = Math.imul(hash ^ left.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ 0xff, 0x01000193);
  for (let i = 0; i < right.length; i++) hash = Math.imul(hash ^ right.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The names, best first, for one place (rendezvous hashing, Thaler and Ravishankar 1998): a node's coming or going moves only its own share. */
export function rank(place: string, names: readonly string[]): string[] {
  return names
    .map((name) => ({ name, weight: pairHash(place, name) }))
    .toSorted((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1))
    .map((entry) => entry.name);
}
