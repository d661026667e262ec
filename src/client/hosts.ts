import { TroupeError, messageOf } from '../base/errors.ts';
import type { KeptAnswer, KeptHttp } from '../host/kept-http.ts';
import type { Address } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';

export interface HostsOptions {
  readonly addresses: readonly Address[];
  readonly http: KeptHttp;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly token?: string;
}

export interface Question {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Asking twice does no harm. */
  readonly repeatable: boolean;
}

/** Errors after which nothing was done, so that the same may be asked again. */
const nothingDone: ReadonlySet<string> = new Set(['UNAVAILABLE', 'BUSY', 'NO_LEADER', 'NO_SESSION', 'TIMEOUT']);
const pauseMs = 50;

/** The nodes a client knows: stays with one as long as it answers, and goes round when it does not. */
export class Hosts {
  readonly #options: HostsOptions;
  #current = 0;

  constructor(options: HostsOptions) {
    this.#options = options;
  }

  /** Resolves for 2xx; rejects with the node's own error, UNKNOWN_OUTCOME, or NO_HOST when the time is up. */
  async ask(question: Question): Promise<KeptAnswer> {
    const { clock, timeoutMs, addresses } = this.#options;
    const deadline = clock.now() + timeoutMs;
    for (let attempt = 1; ; attempt++) {
      const at = this.#current;
      let problem: TroupeError;
      try {
        const answer = await this.#send(question, addresses[at] as Address, deadline);
        if (answer.status >= 200 && answer.status < 300) return answer;
        problem = errorOf(answer);
        if (!nothingDone.has(problem.code)) throw problem;
      } catch (error) {
        problem = error as TroupeError;
        if (problem.code === 'ANSWER_LOST' && !question.repeatable) throw new TroupeError('UNKNOWN_OUTCOME', `the write may or may not have taken effect: ${problem.message}`, {}, error);
        if (problem.code !== 'ANSWER_LOST' && problem.code !== 'HOST_UNREACHABLE' && !nothingDone.has(problem.code)) throw error;
      }
      // Of many calls that fail together only the first moves on: the others find it moved.
      if (this.#current === at) this.#current = (at + 1) % addresses.length;
      if (clock.now() + pauseMs >= deadline) throw new TroupeError('NO_HOST', `no node has answered within ${timeoutMs} ms; the last attempt: ${messageOf(problem)}`, { attempts: attempt }, problem);
      if (attempt % addresses.length === 0) await new Promise<void>((resolve) => void clock.at(clock.now() + pauseMs, resolve));
    }
  }

  #send(question: Question, address: Address, deadline: number): Promise<KeptAnswer> {
    const { http, clock, token } = this.#options;
    const headers = { ...question.headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    return http.send(address, { method: question.method, path: question.path, headers, timeoutMs: Math.max(1, deadline - clock.now()), ...(question.body === undefined ? {} : { body: question.body }) });
  }
}

function errorOf(answer: KeptAnswer): TroupeError {
  try {
    const { error } = JSON.parse(new TextDecoder().decode(answer.body)) as { error: { code: string; message: string } };
    return new TroupeError(error.code, error.message, { status: answer.status });
  } catch {
    return new TroupeError('NO_AGENT', `what answers there is no troupe agent: HTTP ${answer.status}`, { status: answer.status });
  }
}
