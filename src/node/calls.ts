import { TroupeError } from '../base/errors.ts';
import { packValue, unpackValue } from '../core/control/commands.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import { PeerFrame } from './peer-frames.ts';
import type { Peers } from './peers.ts';

/** Answers a call; throws a TroupeError to refuse it. */
export type CallHandler = (from: string, payload: unknown) => Promise<unknown>;

interface OpenCall {
  readonly to: string;
  readonly method: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: TroupeError) => void;
  readonly timer: Timer;
}

const openCallsMax = 10_000;
const servedCallsMax = 1000;

/** Requests and answers between nodes, for what is rare: registration, proposals, operator's commands. */
export class Calls {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #handlers = new Map<string, CallHandler>();
  readonly #open = new Map<number, OpenCall>();
  readonly #reader = new FrameReader();
  #nextId: number;
  #serving = 0;

  /** @param firstId random: an answer to a call of this node's dead predecessor must not fit one of ours */
  constructor(peers: Peers, clock: Clock, firstId: number) {
    this.#peers = peers;
    this.#clock = clock;
    this.#nextId = firstId;
  }

  handle(method: string, handler: CallHandler): void {
    this.#handlers.set(method, handler);
  }

  /**
   * Rejects with what the handler threw, or NOT_CONNECTED (nothing was sent), DISCONNECTED or CALL_TIMEOUT (it may or
   * may not have been carried out).
   */
  call(to: string, method: string, payload: unknown, timeoutMs = 2000): Promise<unknown> {
    const writer = this.#open.size < openCallsMax ? this.#peers.writer(to) : undefined;
    if (writer === undefined) return Promise.reject(new TroupeError('NOT_CONNECTED', `cannot call '${method}' on node '${to}': there is no connection to it`, { to, method }));
    const id = this.#nextId++ >>> 0;
    writer.begin(PeerFrame.call);
    writer.u32(id);
    writer.text(method);
    writer.blob(packValue(payload));
    writer.end();
    return new Promise((resolve, reject) => {
      const timer = this.#clock.at(this.#clock.now() + timeoutMs, () => {
        this.#open.delete(id);
        reject(new TroupeError('CALL_TIMEOUT', `node '${to}' has not answered '${method}' within ${timeoutMs} ms`, { to, method, timeoutMs }));
      });
      this.#open.set(id, { to, method, resolve, reject, timer });
    });
  }

  disconnected(name: string): void {
    for (const [id, call] of this.#open) {
      if (call.to !== name) continue;
      this.#open.delete(id);
      call.timer.cancel();
      call.reject(new TroupeError('DISCONNECTED', `the connection to node '${name}' broke while '${call.method}' was under way`, { to: name, method: call.method }));
    }
  }

  /** @throws TroupeError BAD_FRAME */
  onFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    const id = reader.u32();
    if (type === PeerFrame.call) {
      const method = reader.text();
      const payload = unpackValue(reader.blob());
      this.#serve(from, id, method, payload);
      return;
    }
    const ok = reader.u8() === 1;
    const value = unpackValue(reader.blob());
    const call = this.#open.get(id);
    if (call === undefined || call.to !== from) return;
    this.#open.delete(id);
    call.timer.cancel();
    if (ok) call.resolve(value);
    else {
      const error = value as { code?: unknown; message?: unknown; fields?: unknown };
      call.reject(new TroupeError(String(error.code), String(error.message), (error.fields ?? {}) as Record<string, unknown>));
    }
  }

  #serve(from: string, id: number, method: string, payload: unknown): void {
    const handler = this.#handlers.get(method);
    if (handler === undefined || this.#serving >= servedCallsMax) {
      const error = handler === undefined ? { code: 'NO_SUCH_METHOD', message: `this node does not know the call '${method}': it may run another version` } : { code: 'BUSY', message: 'this node answers too many calls already' };
      this.#answer(from, id, false, error);
      return;
    }
    this.#serving++;
    const finish = (ok: boolean, value: unknown): void => {
      this.#serving--;
      this.#answer(from, id, ok, value);
    };
    handler(from, payload).then(
      (value) => finish(true, value),
      (error: unknown) => {
        const known = error instanceof TroupeError;
        finish(false, { code: known ? error.code : 'CALL_FAILED', message: error instanceof Error ? error.message : String(error), fields: known ? error.fields : {} });
      },
    );
  }

  #answer(to: string, id: number, ok: boolean, value: unknown): void {
    const writer = this.#peers.writer(to);
    if (writer === undefined) return;
    writer.begin(PeerFrame.answer);
    writer.u32(id);
    writer.u8(ok ? 1 : 0);
    writer.blob(packValue(value ?? null));
    writer.end();
  }
}
