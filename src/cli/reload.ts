import { messageOf } from '../base/errors.ts';
import type { HostLog } from '../host/log.ts';
import type { AgentConfig } from '../node/config.ts';
import type { HostNode } from '../agent/host-node.ts';
import type { Node } from '../node/node-types.ts';

/** Puts a changed configuration into effect as far as a running node can, and logs what has to wait for a restart. Returns what holds now. */
export function reloadConfig(read: () => AgentConfig, current: AgentConfig, { node, handlers }: HostNode, log: HostLog): AgentConfig {
  let next: AgentConfig;
  try {
    next = read();
    if (!same(next.node.tags, current.node.tags)) node.gossip.setTags(mergedTags(node, current, next));
  } catch (error) {
    log.error('the configuration was not reloaded; everything stays as it was', { error: messageOf(error) });
    return current;
  }
  log.setLevel(next.logLevel);
  handlers.setHandlers(next.handlers.handlers);
  const waiting = changedKeys(current, next);
  if (waiting.length > 0) log.warn('some changes need a restart of this node', { keys: waiting });
  log.info('the configuration was reloaded', { logLevel: next.logLevel, tags: next.node.tags, handlers: next.handlers.handlers.length });
  return { ...current, logLevel: next.logLevel, leaveOnTerminate: next.leaveOnTerminate, leaveOnInterrupt: next.leaveOnInterrupt, handlers: { ...current.handlers, handlers: next.handlers.handlers }, node: { ...current.node, tags: next.node.tags } };
}

/** The node's own facts travel as tags too: only what the user configured is exchanged. */
function mergedTags(node: Node, current: AgentConfig, next: AgentConfig): Record<string, string> {
  const own = Object.entries(node.gossip.local.tags).filter(([key]) => !Object.hasOwn(current.node.tags, key));
  return { ...Object.fromEntries(own), ...next.node.tags };
}

const reloaded = new Set(['logLevel', 'leaveOnTerminate', 'leaveOnInterrupt', 'node.tags', 'handlers.handlers']);

function changedKeys(current: AgentConfig, next: AgentConfig): string[] {
  const flat = (config: AgentConfig): Record<string, unknown> => {
    const { node, handlers, ...rest } = config;
    const inside = (name: string, parts: object): [string, unknown][] => Object.entries(parts).map(([key, value]) => [`${name}.${key}`, value]);
    return Object.fromEntries([...Object.entries(rest), ...inside('handlers', handlers), ...inside('node', node)]);
  };
  const before = flat(current);
  const after = flat(next);
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.filter((key) => !reloaded.has(key) && !same(before[key], after[key])).map((key) => key.replace(/^node\./, ''));
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
