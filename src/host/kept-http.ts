import { Agent, request as startRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { TroupeError, messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { systemCodeOf } from './socket-errors.ts';

export interface KeptQuestion {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Of the whole exchange (ms). */
  readonly timeoutMs: number;
}

export interface KeptAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

/** Values have at most 1 MiB; lists of a large cluster are longer. */
const answerBytesMax = 64 * 1024 * 1024;

/** HTTP requests over kept connections. */
export class KeptHttp {
  readonly #agent: Agent;

  /** @param connectionCountMax per host; further requests wait */
  constructor(connectionCountMax: number) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connectionCountMax });
  }

  /** Rejects with HOST_UNREACHABLE when nothing was sent, ANSWER_LOST when the host may have got the request. */
  send(to: Address, question: KeptQuestion): Promise<KeptAnswer> {
    return new Promise((resolve, reject) => {
      let connected = false;
      const fail = (error: unknown): void => reject(connected ? lost(to, messageOf(error)) : unreachable(to, error));
      const request = startRequest({ agent: this.#agent, host: to.host, port: to.port, method: question.method, path: question.path, headers: { ...question.headers, 'content-length': String(question.body?.length ?? 0) } });
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${Math.round(question.timeoutMs)} ms`)), question.timeoutMs);
      request.on('socket', (socket) => {
        if (socket.connecting) socket.once('connect', () => (connected = true));
        else connected = true;
      });
      request.on('close', () => clearTimeout(timer));
      request.on('error', fail);
      request.on('response', (response) => {
        readAll(response).then((body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }), fail);
      });
      request.end(question.body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

async function readAll(response: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if ((bytes += chunk.length) > answerBytesMax) throw new Error(`the answer is longer than ${answerBytesMax} bytes`);
  }
  const all = Buffer.concat(chunks);
  return new Uint8Array(all.buffer, all.byteOffset, all.length);
}

function unreachable(to: Address, error: unknown): TroupeError {
  return new TroupeError('HOST_UNREACHABLE', `cannot reach ${formatAddress(to)}: ${systemCodeOf(error) || messageOf(error)}`, { host: to.host, port: to.port }, error);
}

function lost(to: Address, why: string): TroupeError {
  return new TroupeError('ANSWER_LOST', `the answer of ${formatAddress(to)} was lost: ${why}`, { host: to.host, port: to.port });
}
