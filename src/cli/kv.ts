import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { UsageError } from './usage-error.ts';
import type { AgentClient } from './agent-client.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { print, printJson } from './output.ts';

interface WriteOptions {
  readonly ttl?: string;
  readonly json?: true;
}

/** `troupe kv …`: single entries, through the agent. */
export function kvCommand(): Command {
  const command = new Command('kv').summary('read and write entries').description('Reads and writes entries of a keyspace through the agent, which passes them on to whoever holds them.');
  const verb = (name: string, help: string): Command => {
    const added = withAgent(new Command(name)).description(help).option('--keyspace <name>', 'default `default`').option('--json', 'print as JSON');
    command.addCommand(added);
    return added;
  };

  const get = verb('get', 'print the value of a key; exit code 1 if there is none').argument('<key>');
  get.action(async (key: string, options: { json?: true }) => {
    const response = await agentOf(get).request('GET', pathOf(get, key));
    const value = new Uint8Array(await response.arrayBuffer());
    if (options.json !== true) return writeValue(value);
    const header = (name: string): number | undefined => (response.headers.has(name) ? Number(response.headers.get(name)) : undefined);
    printJson({ key, ...valueJson(value), version: header('x-troupe-version'), flags: header('x-troupe-flags'), expiresAt: header('x-troupe-expires-at') });
  });
  for (const [name, method, help, done] of [
    ['put', 'PUT', 'write a value, whether or not the key exists', 'stored'],
    ['create', 'POST', 'write a value unless the key exists', 'created'],
    ['update', 'PATCH', 'write a value if the key exists', 'updated'],
  ] as const) {
    const write = verb(name, help).argument('<key>').argument('[value]', 'default: what comes on stdin').option('--ttl <seconds>', 'forget it after this long');
    write.action(async (key: string, value: string | undefined, options: WriteOptions) => {
      const body = value === undefined ? await readStdin() : new TextEncoder().encode(value);
      if (options.ttl !== undefined && !/^\d+$/.test(options.ttl)) throw new UsageError(`--ttl is '${options.ttl}'; it must be a whole number of seconds`);
      const response = await agentOf(write).request(method, `${pathOf(write, key)}${options.ttl === undefined ? '' : `?ttl=${options.ttl}`}`, body);
      if (options.json === true) printJson(await response.json());
      else print(done);
    });
  }
  const remove = verb('delete', 'delete a key; exit code 1 if there is none').argument('<key>');
  remove.action(async (key: string, options: { json?: true }) => {
    await agentOf(remove).request('DELETE', pathOf(remove, key));
    if (options.json === true) printJson({ deleted: true });
    else print('deleted');
  });
  const increment = verb('incr', 'add to a number and print the result; negative numbers subtract, but never below 0').argument('<key>').argument('[by]', 'default 1');
  increment.allowUnknownOption().action(async (key: string, by: string | undefined, options: { json?: true }) => {
    if (!/^-?\d+$/.test(by ?? '1')) throw new UsageError(`'${by}' is no whole number`);
    const { value } = await incrementBy(agentOf(increment), pathOf(increment, key), by ?? '1');
    if (options.json === true) printJson({ value });
    else print(value);
  });
  return command;
}

async function incrementBy(agent: AgentClient, path: string, by: string): Promise<{ value: string }> {
  return (await agent.request('POST', `${path}?incr=${by}`)).json() as Promise<{ value: string }>;
}

function pathOf(command: Command, key: string): string {
  const { keyspace } = command.opts<{ keyspace?: string }>();
  return `/v1/kv/${encodeURIComponent(keyspace ?? 'default')}/${encodeURIComponent(key)}`;
}

/** Text ends with a newline on a terminal, so that the prompt stands on its own line; a pipe gets the bytes as they are. */
function writeValue(value: Uint8Array): void {
  process.stdout.write(value);
  if (process.stdout.isTTY) process.stdout.write('\n');
}

function valueJson(value: Uint8Array): { value: string } | { valueBase64: string } {
  try {
    return { value: new TextDecoder('utf-8', { fatal: true }).decode(value) };
  } catch {
    return { valueBase64: Buffer.from(value).toString('base64') };
  }
}

const stdinBytesMax = 1024 * 1024;

async function readStdin(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if ((bytes += chunk.length) > stdinBytesMax) throw new TroupeError('TOO_LARGE', `the value on stdin is larger than ${stdinBytesMax} bytes`);
  }
  return Buffer.concat(chunks);
}
