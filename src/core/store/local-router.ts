import { Arena } from './arena.ts';
import { applyEffect, bytesNeeded, evaluate, Evaluation, evictionsFor } from './evaluate.ts';
import { partitionOf } from './hash.ts';
import { Op, Status, StoreReply, StoreRequest, type ReplySink, type StoreRouter } from './request.ts';
import { Table } from './table.ts';

export interface LocalRouterOptions {
  /** Unix seconds. */
  readonly nowSeconds: () => number;
  /** Default 64. */
  readonly partitions?: number;
  /** Logical bytes for all partitions together; the arena may hold a third more, for rounding and stranded room. Default 64 MiB. */
  readonly maxMemoryBytes?: number;
  /** What happens when it is full; default lru. */
  readonly eviction?: 'lru' | 'none';
  /** Default 1 MiB. */
  readonly maxValueBytes?: number;
}


/** Answers from tables in this very process, without replication: for a single node, and the twin that tests compare with. */
export class LocalRouter implements StoreRouter {
  readonly maxValueBytes: number;
  readonly arena: Arena;
  readonly tables: readonly Table[];
  readonly #options: LocalRouterOptions;
  readonly #evaluation: Evaluation;
  readonly #flush: StoreRequest = new StoreRequest();
  #sequence = 0;
  #evictions = 0;

  constructor(options: LocalRouterOptions) {
    const partitions = options.partitions ?? 64;
    const maxMemoryBytes = options.maxMemoryBytes ?? 64 * 1024 * 1024;
    this.#options = options;
    this.maxValueBytes = options.maxValueBytes ?? 1024 * 1024;
    this.arena = new Arena({ limitBytes: Math.ceil(maxMemoryBytes * 1.34) + 16 * 1024 * 1024 });
    this.tables = Array.from({ length: partitions }, () => new Table({ arena: this.arena, budgetBytes: Math.floor(maxMemoryBytes / partitions) }));
    this.#evaluation = new Evaluation(this.maxValueBytes);
  }

  execute(request: StoreRequest, sink: ReplySink): void {
    const table = this.tables[partitionOf(request.hash, this.tables.length)] as Table;
    const out = this.#evaluation;
    const needed = bytesNeeded(table, request);
    if (needed !== 0 && table.bytes + needed > table.budgetBytes && !this.#makeRoom(table, needed)) {
      out.reply.status = Status.outOfMemory;
      out.reply.message = undefined;
      sink.reply(out.reply);
      return;
    }
    const now = this.#options.nowSeconds();
    evaluate(table, request, now, ++this.#sequence, out);
    try {
      applyEffect(table, out.effect, now);
    } catch {
      out.reply.status = Status.outOfMemory;
    }
    sink.reply(out.reply);
  }

  flushAll(atSeconds: number, sink: ReplySink): void {
    const reply = new StoreReply();
    this.#flush.op = Op.flush;
    this.#flush.expiresAt = atSeconds;
    for (const table of this.tables) {
      evaluate(table, this.#flush, this.#options.nowSeconds(), ++this.#sequence, this.#evaluation);
      applyEffect(table, this.#evaluation.effect);
    }
    sink.reply(reply);
  }

  /** Removes some of what has expired; call it now and then. */
  reap(limit: number): void {
    for (const table of this.tables) table.expireSome(this.#options.nowSeconds(), limit);
  }

  *stats(): Iterable<readonly [string, string]> {
    let count = 0;
    let bytes = 0;
    for (const table of this.tables) {
      count += table.count;
      bytes += table.bytes;
    }
    yield ['curr_items', String(count)];
    yield ['bytes', String(bytes)];
    yield ['evictions', String(this.#evictions)];
    yield ['limit_maxbytes', String(this.arena.limitBytes)];
  }

  #makeRoom(table: Table, needed: number): boolean {
    if (this.#options.eviction === 'none' || needed > table.budgetBytes) return false;
    return evictionsFor(table, needed, () => {
      this.#evictions++;
    });
  }
}
