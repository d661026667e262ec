import type { KeyspaceEntry } from '../core/control/map.ts';
import { Op, Status, StoreReply, StoreRequest } from '../core/store/request.ts';
import type { ReplySink, StoreRouter } from '../core/store/request.ts';
import type { Requests } from './router.ts';
import { maxValueBytes } from './store-host.ts';

/** A keyspace as frontends see it. */
export class KeyspaceRouter implements StoreRouter {
  readonly maxValueBytes: number = maxValueBytes;
  readonly #requests: Requests;
  readonly #name: string;
  readonly #entry: () => KeyspaceEntry | undefined;
  readonly #stats: () => Iterable<readonly [string, string]>;

  constructor(requests: Requests, name: string, entry: () => KeyspaceEntry | undefined, stats: () => Iterable<readonly [string, string]>) {
    this.#requests = requests;
    this.#name = name;
    this.#entry = entry;
    this.#stats = stats;
  }

  execute(request: StoreRequest, sink: ReplySink): void {
    this.#requests.execute(this.#name, this.#entry(), request, sink);
  }

  flushAll(atSeconds: number, sink: ReplySink): void {
    const entry = this.#entry();
    let left = entry?.partitions.length ?? 0;
    const request = new StoreRequest();
    request.op = Op.flush;
    request.expiresAt = atSeconds;
    const worst = new StoreReply();
    if (left === 0) {
      this.#requests.execute(this.#name, entry, request, sink);
      return;
    }
    let mayHaveWorked = false;
    const part: ReplySink = {
      reply: (reply) => {
        if (reply.status === Status.ok || reply.status === Status.unknownOutcome) mayHaveWorked = true;
        if (reply.status !== Status.ok) {
          worst.status = reply.status;
          worst.message = reply.message;
        }
        if (--left > 0) return;
        if (mayHaveWorked && worst.status !== Status.ok) {
          // 'Nothing was done' holds for some of the partitions only.
          worst.status = Status.unknownOutcome;
          worst.message = 'not every partition could be reached: send the flush again';
        }
        sink.reply(worst);
      },
    };
    for (let partition = left - 1; partition >= 0; partition--) this.#requests.execute(this.#name, entry, request, part, partition);
  }

  stats(): Iterable<readonly [string, string]> {
    return this.#stats();
  }
}
