import { nodeStateCode } from '../wire/gossip-messages.ts';
import type { PushNodeState } from '../wire/gossip-messages.ts';
import type { SwimNode } from './types.ts';
import { isGone } from './member-table.ts';

/**
 * Whether two pools can become one: what each live member speaks must be understood by all others.
 * Returns what is wrong, or undefined.
 */
export function protocolMismatch(remote: readonly PushNodeState[], local: Iterable<SwimNode>): string | undefined {
  const speakers = new Speakers();
  for (const node of remote) if (node.State === nodeStateCode.alive) speakers.add(node.Name, node.Vsn);
  for (const node of local) if (!isGone(node)) speakers.add(node.name, node.versions);
  return speakers.mismatch();
}

interface Kind {
  /** Of those that speak alike, the first. */
  readonly name: string;
  readonly versions: Uint8Array;
}

/** Members by what they speak: a pool of thousands has a handful of kinds. */
class Speakers {
  readonly #kinds = new Map<number, Kind>();

  add(name: string, versions: Uint8Array): void {
    let key = versions.length;
    for (let i = 0; i < 6; i++) key = key * 256 + (versions[i] ?? 0);
    if (!this.#kinds.has(key)) this.#kinds.set(key, { name, versions: versions.slice() });
  }

  mismatch(): string | undefined {
    const range = { min: 0, max: 255, delegateMin: 0, delegateMax: 255 };
    for (const { versions } of this.#kinds.values()) {
      if (versions.length < 6) continue;
      range.min = Math.max(range.min, versions[0] as number);
      range.max = Math.min(range.max, versions[1] as number);
      range.delegateMin = Math.max(range.delegateMin, versions[3] as number);
      range.delegateMax = Math.min(range.delegateMax, versions[4] as number);
    }
    for (const { name, versions } of this.#kinds.values()) {
      const current = versions[2] ?? 0;
      const delegate = versions[5] ?? 0;
      if (current < range.min || current > range.max) return `Node '${name}' protocol version (${current}) is incompatible: [${range.min}, ${range.max}]`;
      if (delegate < range.delegateMin || delegate > range.delegateMax) {
        return `Node '${name}' delegate protocol version (${delegate}) is incompatible: [${range.delegateMin}, ${range.delegateMax}]`;
      }
    }
    return undefined;
  }
}
