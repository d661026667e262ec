import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { TroupeError, messageOf } from '../base/errors.ts';
import { startOnHost } from '../agent/host-node.ts';
import type { HostNode } from '../agent/host-node.ts';
import { growHeapUnderLoad } from '../host/heap-growth.ts';
import type { HostLog } from '../host/log.ts';
import { createLog } from '../host/log.ts';
import { notifyService } from '../host/notify.ts';
import { packageVersion } from '../host/package-version.ts';
import { hostName, openFilesMax } from '../host/system.ts';
import type { AgentConfig, ConfigOverride } from '../node/config.ts';
import { placeScript, readConfig } from '../node/config.ts';
import type { Node } from '../node/node-types.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import { reloadConfig } from './reload.ts';

export interface AgentArguments {
  /** Files and directories of configuration, in the order in which they are merged. */
  readonly configPaths: readonly string[];
  readonly overrides: readonly ConfigOverride[];
}

/** Room for as many connections as frontends and peers are allowed. */
const openFilesWanted = 16_384;

/** Runs until the node has stopped; the result is the exit code. */
export async function runAgent(given: AgentArguments): Promise<number> {
  const config = loadConfig(given);
  const log = createLog({ level: config.logLevel });
  dieOfUncaught(log);
  const starting = withFlagNames(config, () => startOnHost(config, log, baseOf(given)));
  handleSignals({ given, config, starting, log });
  const host = await starting;
  growHeapUnderLoad();
  const files = openFilesMax();
  if (files !== undefined && files < openFilesWanted) log.warn('this process may have so few files open that its clients can use up what it needs itself: raise the limit (`ulimit -n`, LimitNOFILE in systemd)', { limit: files, wanted: openFilesWanted });
  const { node } = host;
  if (config.data === undefined) log.info('there is no data directory: this node is a new member after every start');
  let notJoined: TroupeError | undefined;
  announceReady(config, host, log).catch((error: unknown) => {
    // If it stops before it is ready for any other reason, that is told below.
    if (!(error instanceof TroupeError) || error.code !== 'NOT_JOINED') return;
    notJoined = error;
    node.close().catch(() => {});
  });

  const failure = (await node.stopped) ?? notJoined;
  await host.release();
  if (failure === undefined) return 0;
  log.error('the node had to stop', { error: failure.message });
  throw failure;
}

export function loadConfig(given: AgentArguments): AgentConfig {
  const files = given.configPaths.flatMap(configFiles);
  return readConfig({
    ...(files.length === 0 ? { object: {} } : { files: files.map((file) => ({ file, text: readFile(file) })) }),
    overrides: given.overrides.map(fromHere),
    defaultName: hostName(),
    version: packageVersion(),
    resolvePath: (path) => resolve(baseOf(given), path),
  });
}

/** Paths in files count from the first of them. */
function baseOf({ configPaths: [first] }: AgentArguments): string {
  try {
    if (first === undefined) return process.cwd();
  } catch (error) {
    throw new TroupeError('FILE_UNREADABLE', `cannot tell the working directory: ${messageOf(error)}; it may have been removed: start in another one`, {}, error);
  }
  return isDirectory(first) ? resolve(first) : dirname(resolve(first));
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    // Whoever reads it says what is wrong with it.
    return false;
  }
}

/** The file itself; of a directory its JSON and YAML files, in the order of their names. */
function configFiles(path: string): string[] {
  if (!isDirectory(path)) return [path];
  const names = readdirSync(path, { withFileTypes: true }).filter((entry) => !entry.isDirectory() && /\.(json|ya?ml)$/.test(entry.name)).map((entry) => entry.name);
  return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).map((name) => join(path, name));
}

const pathFlags = ['data', 'snapshot.file', 'tagsFile', 'gossip.keyringFile'];

function isPath(path: readonly string[]): boolean {
  return pathFlags.includes(path.join('.'));
}

/** Paths on the command line count from the working directory, not from the config file. */
function fromHere(override: ConfigOverride): ConfigOverride {
  const { path, value } = override;
  if (isPath(path)) return { ...override, value: resolve(String(value)) };
  if (path[0] === 'liveNodes' && value !== '') return { ...override, value: resolve(String(value)) };
  if (path[0] === 'handlers' && Array.isArray(value)) return { ...override, value: value.map((each) => placeScript(String(each), (place) => resolve(place))) };
  return override;
}

function readFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new TroupeError('FILE_UNREADABLE', `cannot read the config file ${file}: ${messageOf(error)}; check --config`, { file }, error);
  }
}

async function announceReady(config: AgentConfig, { lookAround, plainMember, node, clock, httpAddress: http, rpcAddress: rpc, standsAlone }: HostNode, log: HostLog): Promise<void> {
  await lookAround();
  if (standsAlone) log.info('this node founds no cluster and looks for none: let it join one (`troupe join`), or start one node with --bootstrap-expect or --dev');
  else {
    const plain = await Promise.race([node.ready().then(() => false), plainMember().then(() => true)]);
    if (plain) log.info('the members that this node has joined form no Troupe cluster: it is a plain member, and holds no part');
    else if (!(await hasKeyspaces(node, clock, Object.keys(config.node.keyspaces)))) log.warn('not every configured keyspace is there yet', { keyspaces: Object.keys(config.node.keyspaces) });
  }
  const { gossip, peer, memcached } = node.addresses;
  const parts = Object.entries({ gossip, peer, rpc, http, memcached }).filter((part): part is [string, Address] => part[1] !== undefined);
  process.stdout.write(`ready name=${node.name} ${parts.map(([name, address]) => `${name}=${formatAddress(address)}`).join(' ')}\n`);
  await notifyService('ready', log, `${node.name} serves`);
}

/** How long a session may be ahead of the keyspaces: a new cluster makes them once it has nodes to put them on. */
const keyspacesTimeoutMs = 5000;

/** Whether all keyspaces are in the map, at once or within some seconds: who reads `ready` may write. */
function hasKeyspaces(node: Node, clock: Clock, names: readonly string[]): Promise<boolean> {
  const complete = (): boolean => names.every((name) => Object.hasOwn(node.map.keyspaces, name));
  if (complete()) return Promise.resolve(true);
  return new Promise((resolve) => {
    const end = (): void => {
      stop();
      timer.cancel();
      resolve(complete());
    };
    const timer = clock.at(clock.now() + keyspacesTimeoutMs, end);
    const stop = node.onMap(() => {
      if (complete()) end();
    });
  });
}

interface SignalContext {
  readonly given: AgentArguments;
  readonly config: AgentConfig;
  readonly starting: Promise<HostNode>;
  readonly log: HostLog;
}

/** From the beginning: what comes while the node starts is done once it has. */
function handleSignals({ given, config, starting, log }: SignalContext): void {
  let ending = false;
  let current = config;
  const end = (signal: string, leave: boolean): void => {
    if (ending) {
      log.warn('a second signal: the process ends at once', { signal });
      process.exit(1);
    }
    ending = true;
    log.info(leave ? 'leaving the cluster' : 'stopping', { signal });
    void notifyService('stopping', log);
    const stop = async ({ node }: HostNode): Promise<void> => {
      await (leave ? node.leave() : node.close()).catch((error: unknown) => log.error('could not stop in order', { error: messageOf(error) }));
    };
    starting.then(stop, () => {});
  };
  process.on('SIGINT', () => end('SIGINT', current.leaveOnInterrupt));
  process.on('SIGTERM', () => end('SIGTERM', current.leaveOnTerminate));
  process.on('SIGHUP', () => {
    const reload = (host: HostNode): void => {
      void notifyService('reloading', log);
      current = reloadConfig(() => loadConfig(given), current, host, log);
      void notifyService('ready', log);
    };
    starting.then(reload, () => {});
  });
}

/** Nothing is known about the state after an error that nobody caught: others take over faster than we could repair it. */
function dieOfUncaught(log: HostLog): void {
  const die = (error: unknown): void => {
    log.error('an error that nobody caught: the process ends', { error: messageOf(error), ...(error instanceof Error ? { stack: error.stack } : {}) });
    process.exit(1);
  };
  process.on('uncaughtException', die);
  process.on('unhandledRejection', die);
  // Whoever read our output has gone: that is no reason to stop.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
}

/** Says which flag an address that could not be had comes from. */
async function withFlagNames<T>(config: AgentConfig, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof TroupeError) || typeof error.fields['port'] !== 'number') throw error;
    const flag = flagOfPort(config, error.fields['port'] as number);
    if (flag === undefined) throw error;
    throw new TroupeError(error.code, `${error.message} (${flag})`, error.fields, error);
  }
}

function flagOfPort(config: AgentConfig, port: number): string | undefined {
  const { gossip, peer, memcached } = config.node;
  if (config.http?.bind.port === port) return '--http';
  if (config.rpc?.bind.port === port) return '--rpc-addr';
  if (memcached?.bind.port === port) return '--memcached';
  if (port === (peer?.port ?? gossip.bind.port + 1)) return '--peer';
  return port === gossip.bind.port ? '--bind' : undefined;
}
