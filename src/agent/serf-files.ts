import { isMapping } from '../node/serf-config.ts';
import { TroupeError, messageOf } from '../base/errors.ts';
import { appendFiles } from '../host/append-files.ts';
import { interfaceAddresses } from '../host/system.ts';
import { textFiles } from '../host/text-files.ts';
import { KeptFile } from './kept-file.ts';
import { AgentEvents } from '../node/agent-events.ts';
import { decodeBase64, encodeBase64 } from '../node/base64.ts';
import type { AgentConfig } from '../node/config.ts';
import type { Gossip } from '../node/gossip-types.ts';
import type { NodeOptions } from '../node/node-types.ts';
import { SnapshotKeeper } from '../node/snapshot-keeper.ts';
import { userTagsOf } from '../node/troupe-tags.ts';
import type { Clock } from '../ports/clock.ts';
import type { Files } from '../ports/files.ts';
import type { Log } from '../ports/log.ts';
import type { Random } from '../ports/random.ts';

/** What a Serf agent keeps in files: its snapshot, its tags, its keys. Read before the node starts, written while it runs. */
export interface SerfFiles {
  /** What the node is to be told besides what the configuration says. */
  readonly options: NodeOptions;
  /** Told of all that the pool does from its first moment on. There once the node has started. */
  events(): AgentEvents;
  /** Before tags are changed at somebody's wish: if they cannot be kept, they are not changed. Rejects with a TroupeError DISK_… */
  keepTags(tags: Readonly<Record<string, string>>): Promise<void>;
  /** After the node has stopped: what is on its way to the disk gets there. */
  close(): Promise<void>;
}

export interface SerfFilesPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const smallFileMax = 64 * 1024;

/** Rejects with a TroupeError FILE_UNREADABLE, BAD_KEY, BAD_TAGS_FILE, NO_SUCH_INTERFACE, DISK_… */
export async function openSerfFiles(config: AgentConfig, { clock, random, log }: SerfFilesPorts): Promise<SerfFiles> {
  const { snapshot: where, tags: tagsPath, keyring: keyringPath } = config.files;
  const keys = keyringPath === undefined ? undefined : await readKeyring(textFiles, keyringPath);
  const tags = tagsPath === undefined ? undefined : await readTags(textFiles, tagsPath);
  const bind = config.interface === undefined ? config.node.gossip.bind : { ...config.node.gossip.bind, host: interfaceAddress(config.interface, config.node.gossip.bind.host) };
  const snapshot = where === undefined ? undefined : await SnapshotKeeper.open(where, { files: appendFiles, clock, random, log });
  const keyringFile = keyringPath === undefined ? undefined : new KeptFile(keyringPath, (path, text) => textFiles.write(path, text), clock, log);
  const tagsFile = tagsPath === undefined ? undefined : new KeptFile(tagsPath, (path, text) => textFiles.write(path, text), clock, log);
  let events: AgentEvents | undefined;
  const resume = snapshot?.resume;
  return {
    options: {
      ...config.node,
      ...(tags === undefined ? {} : { tags, zone: config.node.zone === '' ? (tags['zone'] ?? '') : config.node.zone }),
      gossip: {
        ...config.node.gossip, bind,
        ...(keys === undefined ? {} : { keys }),
        ...(resume === undefined ? {} : { resume }),
        ...(keyringFile === undefined ? {} : { onKeysChanged: (changed: readonly Uint8Array[]): Promise<void> => keyringFile.write(keyringText(changed)) }),
      },
      onGossip: (gossip) => {
        // First of all: what is told is remembered, before anybody acts upon it.
        snapshot?.attach(gossip);
        events = new AgentEvents(gossip, clock);
        if (tagsFile !== undefined) keepTags(gossip, tagsFile);
      },
    },
    events: () => events as AgentEvents,
    async keepTags(changed) {
      try {
        await tagsFile?.write(tagsText(changed));
      } catch (error) {
        // The tags stay as they were, and so must the file.
        tagsFile?.giveUp();
        throw error;
      }
    },
    async close() {
      await Promise.all([snapshot?.close(), keyringFile?.close(), tagsFile?.close()]);
    },
  };
}

/** Changes that come another way than by `keepTags`, with nobody who waits for an answer. */
function keepTags(gossip: Gossip, file: KeptFile): void {
  let before = tagsText(gossip.local.tags);
  gossip.onEvent((event) => {
    if (event.type !== 'member-update' || event.member.name !== gossip.local.name) return;
    const text = tagsText(event.member.tags);
    if (text === before) return;
    before = text;
    if (text !== file.newest) file.write(text).catch(() => {});
  });
}

/** The file as Serf writes it. */
function tagsText(tags: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.fromEntries(Object.entries(userTagsOf(tags)).sort(([a], [b]) => (a < b ? -1 : 1))), null, 2);
}

export function keyringText(keys: readonly Uint8Array[]): string {
  return JSON.stringify(keys.map(encodeBase64), null, 2);
}

export async function readKeyring(files: Files, path: string): Promise<Uint8Array[]> {
  const refuse = (why: string): never => {
    throw new TroupeError('BAD_KEY', `cannot take the keys from ${path}: ${why}; write a JSON list of keys in base64, the one to encrypt with first, as in ["KEY"] with KEY from 'troupe keygen'`, { path });
  };
  const text = await files.read(path, smallFileMax);
  if (text === undefined) throw new TroupeError('FILE_UNREADABLE', `cannot read the keyring ${path}: there is no such file; write a JSON list of keys in base64 to it, as in ["KEY"] with KEY from 'troupe keygen'`, { path });
  const list = parseJson(text, refuse);
  if (!Array.isArray(list) || list.length === 0) return refuse('it holds no list of keys');
  return list.map((each: unknown, index) => {
    const key = typeof each === 'string' ? decodeBase64(each) : undefined;
    if (key === undefined) return refuse(`entry ${index + 1} is no base64`);
    return [16, 24, 32].includes(key.length) ? key : refuse(`entry ${index + 1} has ${key.length} bytes and must have 16, 24 or 32`);
  });
}

export async function readTags(files: Files, path: string): Promise<Record<string, string>> {
  const refuse = (why: string): never => {
    throw new TroupeError('BAD_TAGS_FILE', `cannot take the tags from ${path}: ${why}; write a JSON mapping of names to text, or remove the file`, { path });
  };
  const text = await files.read(path, smallFileMax);
  if (text === undefined || text.trim() === '') return {};
  const tags = parseJson(text, refuse);
  if (!isMapping(tags)) return refuse('it holds no mapping');
  for (const [name, value] of Object.entries(tags)) {
    if (typeof value !== 'string') return refuse(`the tag '${name}' is no text`);
    if (name in Object.prototype) return refuse(`'${name}' cannot be a tag here`);
  }
  return tags as Record<string, string>;
}

function parseJson(text: string, refuse: (why: string) => never): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    return refuse(messageOf(error));
  }
}

/** The address of the interface to bind to: its first IPv4 address, or the one asked for if it has that. */
function interfaceAddress(name: string, asked: string): string {
  const addresses = interfaceAddresses(name);
  const found = asked === '0.0.0.0' || asked === '::' ? (addresses.find((each) => !each.v6) ?? addresses[0]) : addresses.find((each) => each.host === asked);
  if (found !== undefined) return found.host;
  const all = [...new Set(interfaceAddresses().map((each) => each.interfaceName))].join(', ');
  throw new TroupeError('NO_SUCH_INTERFACE', addresses.length === 0 ? `cannot bind to the interface '${name}': this host has none of that name with an address; it has ${all}` : `cannot bind to ${asked} on the interface '${name}': it has ${addresses.map((each) => each.host).join(', ')}`, { interface: name });
}
