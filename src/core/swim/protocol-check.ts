import { nodeStateCode } from '../wire/gossip-messages.ts';
import type { PushNodeState } from '../wire/gossip-messages.ts';
import type { SwimNode } from './types.ts';
import { isGone } from './member-table.ts';

/**
 * Whether two pools can become one: what each live member speaks must be understood by all others.
 * Returns what is wrong, or undefined.
 */
export function protocolMismatch(remote: readonly PushNodeState[], local: Iterable<SwimNode>): string | undefined {
  const live = [
    ...remote.filter((node) => node.State === nodeStateCode.alive).map((node) => ({ name: node.Name, versions: node.Vsn })),
    ...[...local].filter((node) => !isGone(node)).map((node) => ({ name: node.name, versions: node.versions })),
  ];
  const range = { min: 0, max: 255, delegateMin: 0, delegateMax: 255 };
  for (const { versions } of live) {
    if (versions.length < 6) continue;
    range.min = Math.max(range.min, versions[0] as number);
    range.max = Math.min(range.max, versions[1] as number);
    range.delegateMin = Math.max(range.delegateMin, versions[3] as number);
    range.delegateMax = Math.min(range.delegateMax, versions[4] as number);
  }
  for (const { name, versions } of live) {
    const current = versions[2] ?? 0;
    const delegate = versions[5] ?? 0;
    if (current < range.min || current > range.max) return `Node '${name}' protocol version (${current}) is incompatible: [${range.min}, ${range.max}]`;
    if (delegate < range.delegateMin || delegate > range.delegateMax) {
      return `Node '${name}' delegate protocol version (${delegate}) is incompatible: [${range.delegateMin}, ${range.delegateMax}]`;
    }
  }
  return undefined;
}
