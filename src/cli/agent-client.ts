import type { Command } from 'commander';
import { TroupeError, messageOf } from '../base/errors.ts';
import { formatAddress, parseAddress } from '../ports/address.ts';

/** An agent that the command line talks to, over its HTTP API. */
export class AgentClient {
  readonly #base: string;
  readonly #address: string;
  readonly #token: string | undefined;

  constructor(address: string, token: string | undefined) {
    this.#address = formatAddress(parseAddress(address, 7380));
    this.#base = `http://${this.#address}`;
    this.#token = token;
  }

  async get<T>(path: string): Promise<T> {
    return (await this.request('GET', path)).json() as Promise<T>;
  }

  async post<T>(path: string, body: unknown = {}): Promise<T> {
    return (await this.request('POST', path, JSON.stringify(body))).json() as Promise<T>;
  }

  /**
   * Resolves for any 2xx answer.
   * @throws TroupeError AGENT_UNREACHABLE, or with the code and message that the agent answered
   */
  async request(method: string, path: string, body?: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(this.#base + path, {
        method,
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : body.slice() }),
        headers: { ...headers, ...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }) },
      });
    } catch (error) {
      const cause = (error as { cause?: unknown }).cause ?? error;
      throw new TroupeError('AGENT_UNREACHABLE', `cannot reach an agent at ${this.#address}: ${messageOf(cause)}; start one with \`troupe agent\`, or say where it is with --http ADDR:PORT`, { address: this.#address }, error);
    }
    if (response.ok) return response;
    throw await errorOf(response);
  }
}

async function errorOf(response: Response): Promise<TroupeError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } };
    return new TroupeError(error.code, error.message, { status: response.status });
  } catch {
    return new TroupeError('NO_AGENT', `what answers there is no troupe agent: HTTP ${response.status} ${text.slice(0, 80).replaceAll(/\s+/g, ' ')}`, { status: response.status });
  }
}

/** Adds the options that every verb has which talks to an agent. */
export function withAgent(command: Command): Command {
  return command
    .option('--http <address>', 'HTTP address of the agent to ask; default 127.0.0.1:7380, or TROUPE_HTTP')
    .option('--token <token>', "the agent's token; default TROUPE_TOKEN");
}

export function agentOf(command: Command): AgentClient {
  const { http, token } = command.optsWithGlobals<{ http?: string; token?: string }>();
  return new AgentClient(http ?? process.env['TROUPE_HTTP'] ?? '127.0.0.1:7380', token ?? process.env['TROUPE_TOKEN']);
}
