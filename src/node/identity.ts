import { TroupeError } from '../base/errors.ts';
import { packValue, unpackValue } from '../core/control/commands.ts';
import type { Database, Disk } from '../ports/disk.ts';
import type { Random } from '../ports/random.ts';

/** Who a data directory belongs to. */
export interface Identity {
  readonly name: string;
  /** Made once per data directory: with the name it is the consensus identity. */
  readonly directoryId: string;
  readonly clusterId: string;
}

/** 64 random bits, in hexadecimal. */
export function newId(random: Random): string {
  return random.uint32().toString(16).padStart(8, '0') + random.uint32().toString(16).padStart(8, '0');
}

const key = 'identity';
const format = 1;

/**
 * Reads the identity of the data directory, or gives a new one to an empty one.
 * @throws TroupeError DATA_OF_OTHER_NODE, DATA_NEWER, DATA_UNREADABLE
 */
export async function loadIdentity(database: Database, name: string, newId: () => string): Promise<Identity> {
  const stored = database.get(key);
  if (stored === undefined) {
    const identity: Identity = { name, directoryId: newId(), clusterId: '' };
    await storeIdentity(database, identity);
    return identity;
  }
  let value: { format?: unknown; name?: unknown; directoryId?: unknown; clusterId?: unknown };
  try {
    value = unpackValue(stored) as typeof value;
  } catch (error) {
    throw new TroupeError('DATA_UNREADABLE', 'cannot read who the data directory belongs to: its identity record is damaged; restore the directory, or start with an empty one', {}, error);
  }
  if (typeof value.format === 'number' && value.format > format) {
    throw new TroupeError('DATA_NEWER', `cannot use the data directory: it was written by a newer version of Troupe (format ${value.format}, this one knows ${format}); run that version`, { format: value.format });
  }
  if (value.format !== format || typeof value.name !== 'string' || typeof value.directoryId !== 'string' || typeof value.clusterId !== 'string') {
    throw new TroupeError('DATA_UNREADABLE', 'cannot read who the data directory belongs to: its identity record is incomplete; restore the directory, or start with an empty one');
  }
  if (value.name !== name) {
    throw new TroupeError('DATA_OF_OTHER_NODE', `cannot use the data directory: it belongs to node '${value.name}', this node is '${name}'; give this node a directory of its own, or its old name`, { owner: value.name, name });
  }
  return { name: value.name, directoryId: value.directoryId, clusterId: value.clusterId };
}

export function storeIdentity(database: Database, identity: Identity): Promise<void> {
  return new Promise((resolve, reject) => {
    database.write([{ type: 'put', key, value: packValue({ format, ...identity }) }], (error) => (error === undefined ? resolve() : reject(error)));
  });
}

/** This node's identity, with the record that it is kept in. */
export class OwnIdentity {
  readonly #database: Database;
  #identity: Identity | undefined;

  private constructor(database: Database) {
    this.#database = database;
  }

  /** Rejects with what {@link loadIdentity} throws; the record is closed then. */
  static async open(disk: Disk, name: string, newId: () => string): Promise<OwnIdentity> {
    const own = new OwnIdentity(await disk.open('identity'));
    try {
      own.#identity = await loadIdentity(own.#database, name, newId);
    } catch (error) {
      await own.close();
      throw error;
    }
    return own;
  }

  get directoryId(): string {
    return (this.#identity as Identity).directoryId;
  }

  /** Empty while the node has never belonged to a cluster. */
  get clusterId(): string {
    return (this.#identity as Identity).clusterId;
  }

  /** A new identity in the same cluster. */
  async renew(newId: () => string): Promise<void> {
    this.#identity = { ...(this.#identity as Identity), directoryId: newId() };
    await storeIdentity(this.#database, this.#identity);
  }

  async adoptCluster(clusterId: string): Promise<void> {
    this.#identity = { ...(this.#identity as Identity), clusterId };
    await storeIdentity(this.#database, this.#identity);
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}
