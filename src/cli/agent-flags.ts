import { TroupeError } from '../base/errors.ts';
import type { ConfigOverride } from '../node/config.ts';
import { durationMs } from '../node/serf-config.ts';

/** A flag of `troupe agent`. The table drives the parser, the help and docs/cli.md. */
export interface AgentFlag {
  /** In commander's form, long name first: `--bind <address>`. */
  readonly form: string;
  /** Where the config file says the same. */
  readonly path: readonly string[];
  readonly help: string;
  /** May be given more than once. */
  readonly repeat?: true;
  /** Makes the config's value of what was written; default: the text as it is. */
  readonly read?: (text: string) => unknown;
  /** For a flag without a value: what it says. Default true. */
  readonly says?: unknown;
}

/** The schema says what is wrong with a text that is no number. */
const number = (text: string): unknown => (/^-?\d+$/.test(text) ? Number(text) : text);

/** Go's durations, as Serf's flags have them, or milliseconds. */
const duration = (text: string): unknown => (/^\d+$/.test(text) ? Number(text) : (durationMs(text) ?? text));

export const agentFlags: readonly AgentFlag[] = [
  { form: '--name <name>', path: ['name'], help: "this node's name, unique in the cluster (also -node); default: the host's name" },
  { form: '--data <dir>', path: ['data'], help: 'directory of what must survive a restart; without it every start is a new member' },
  { form: '--dev', path: ['dev'], help: 'a cluster of one on 127.0.0.1, founded at once' },
  { form: '--bind <address>', path: ['gossip', 'bind'], help: 'ADDR[:PORT] of gossip, UDP and TCP; default 0.0.0.0:7946' },
  { form: '--advertise <address>', path: ['gossip', 'advertise'], help: 'ADDR[:PORT] that others reach gossip by' },
  { form: '--profile <profile>', path: ['gossip', 'profile'], help: 'timing of failure detection: lan, wan or local; default lan' },
  { form: '--encrypt <key>', path: ['gossip', 'encrypt'], help: 'base64 key of 16, 24 or 32 bytes for gossip and peer traffic' },
  { form: '--peer <address>', path: ['peer'], help: "ADDR:PORT of peer traffic, TCP; default: gossip's address and port + 1" },
  { form: '--join <address>', path: ['startJoin'], repeat: true, help: 'gossip address to join, tried until one answers; a node that has nobody else to look for (no --retry-join, --discover, --wait-joined, --bootstrap-expect, --data, nor their keys in a config) ends with exit code 1 instead, as Serf does; may be repeated' },
  { form: '--retry-join <address>', path: ['join'], repeat: true, help: 'gossip address to join, tried until one answers, whatever else there is; may be repeated' },
  { form: '--retry-interval <time>', path: ['joining', 'intervalMs'], read: duration, help: 'between two tries of the addresses to join while nobody answers, `30s` or ms; default 1s' },
  { form: '--retry-max <n>', path: ['joining', 'attemptsMax'], read: number, help: 'end after so many tries in vain; default 0: never' },
  { form: '--replay', path: ['joining', 'replay'], help: 'tell user events from before the join' },
  { form: '--discover <cluster>', path: ['discovery', 'serf', 'service'], help: 'find others by multicast DNS under this name, as Serf does' },
  { form: '--wait-joined <time>', path: ['discovery', 'waitJoinedMs'], read: duration, help: 'start waits for another node, but not longer than this, `30s` or ms; default 0' },
  { form: '--require-joined', path: ['discovery', 'requireJoined'], help: 'end with an error when there is no other node by then' },
  { form: '--mdns-iface <name>', path: ['discovery', 'serf', 'interface'], help: 'network interface for --discover' },
  { form: '--iface <name>', path: ['gossip', 'interface'], help: 'bind gossip to the address of this network interface' },
  { form: '--snapshot <file>', path: ['snapshot', 'file'], help: "keep who is there and which events were seen in this file, in Serf's form, for the next start" },
  { form: '--rejoin', path: ['snapshot', 'rejoin'], help: 'go back to the members of the snapshot even after a leave' },
  { form: '--tags-file <file>', path: ['tagsFile'], help: 'JSON file of the tags, kept when they change; not together with --tag' },
  { form: '--keyring-file <file>', path: ['gossip', 'keyringFile'], help: 'JSON file of the keys, kept when they change; not together with --encrypt' },
  { form: '--disable-compression', path: ['gossip', 'compression'], says: false, help: 'do not compress gossip; compressed is always understood' },
  { form: '--protocol <n>', path: ['gossip', 'protocol'], read: number, help: "Serf's protocol that this node says it speaks, 3 to 5; default 5" },
  { form: '--broadcast-timeout <time>', path: ['gossip', 'broadcastTimeoutMs'], read: duration, help: 'longest wait for each step of a leave in a large pool, `5s` or ms; default 5s' },
  { form: '--bootstrap-expect <n>', path: ['bootstrap', 'expect'], read: number, help: 'found a cluster once N nodes are there; default 0: only join' },
  { form: '--last-node <rule>', path: ['quorum', 'lastNode'], help: 'when a voter goes on without a majority: never, on-refusal or on-silence; default never' },
  { form: '--memcached <address>', path: ['memcached', 'bind'], help: 'serve the memcached protocol on ADDR[:PORT], or `off`; default off' },
  { form: '--http <address>', path: ['http', 'bind'], help: 'serve the HTTP API on ADDR[:PORT], or `off`; default 127.0.0.1:7380' },
  { form: '--token <token>', path: ['http', 'token'], help: 'ask for this token in every HTTP request (also TROUPE_TOKEN)' },
  { form: '--rpc-addr <address>', path: ['rpc', 'bind'], help: "serve Serf's RPC on ADDR[:PORT], or `off`; default 127.0.0.1:7373" },
  { form: '--rpc-auth <token>', path: ['rpc', 'auth'], help: "ask for this token from every client of Serf's RPC (also TROUPE_RPC_AUTH)" },
  { form: '--event-handler <handler>', path: ['handlers'], repeat: true, help: '[leader:][EVENT[,EVENT…]=]SCRIPT: run the script for the events, as in Serf; may be repeated' },
  { form: '--handlers-max <n>', path: ['handling', 'runningMax'], read: number, help: 'event handlers that run at one time; default 8' },
  { form: '--handler-timeout <ms>', path: ['handling', 'timeoutMs'], read: number, help: 'terminate an event handler that runs longer; default 60000' },
  { form: '--live-nodes <file>', path: ['liveNodes', 'file'], help: 'keep a list of the live nodes in this file, for programs beside the agent' },
  { form: '--tag <key=value>', path: ['tags'], repeat: true, help: 'a fact about this node for all others to see; may be repeated' },
  { form: '--role <role>', path: ['tags', 'role'], help: 'the same as --tag role=ROLE' },
  { form: '--zone <zone>', path: ['zone'], help: 'failure domain: copies go to different ones; default: the tag `zone`' },
  { form: '--no-voter', path: ['voter'], help: 'never take part in consensus' },
  { form: '--no-storage', path: ['storage'], help: 'hold no copies of partitions' },
  { form: '--leave-on-term', path: ['leaveOnTerminate'], help: 'drain and leave at SIGTERM (the default)' },
  { form: '--no-leave-on-term', path: ['leaveOnTerminate'], help: 'stop at once at SIGTERM' },
  { form: '--log-level <level>', path: ['log', 'level'], help: 'trace, debug, info, warn or error; default info' },
];

/** Serf's flags that this version does not act on, and what to do instead. To take them silently would be worse than to refuse. */
export const refusedFlags: Readonly<Record<string, string>> = {
  '--syslog': 'logs go to stderr; let the service manager or `logger` take them to syslog',
};

/** The name of the option in what commander parsed: `bootstrapExpect` for `--bootstrap-expect <n>`. */
export function optionKey(form: string): string {
  return flagName(form).replace(/^--(no-)?/, '').replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

export function flagName(form: string): string {
  return form.split(' ')[0] as string;
}

/** What the flags say, in the config file's terms. `given` holds only options that were written. */
export function overridesOf(given: Readonly<Record<string, unknown>>): ConfigOverride[] {
  return agentFlags.flatMap((flag): ConfigOverride[] => {
    const value = given[optionKey(flag.form)];
    const name = flagName(flag.form);
    if (value === undefined) return [];
    if (flag.form.startsWith('--no-')) return value === false ? [{ flag: name, path: flag.path, value: false }] : [];
    if (flag.form === '--leave-on-term') return value === true ? [{ flag: name, path: flag.path, value: true }] : [];
    if (name === '--discover') return [{ flag: name, path: ['discovery', 'serf', 'strategy'], value: 'mdns' }, { flag: name, path: flag.path, value }];
    if (flag.says !== undefined) return [{ flag: name, path: flag.path, value: flag.says }];
    if (flag.form.startsWith('--tag ')) return (value as string[]).map((text) => tagOverride(text));
    if (value === 'off' && name === '--memcached') return [{ flag: name, path: ['memcached'], value: undefined }];
    if (value === 'off' && name === '--rpc-addr') return [{ flag: name, path: ['rpc'], value: false }];
    if (value === 'off' && name === '--http') return [{ flag: name, path: ['http'], value: false }];
    return [{ flag: name, path: flag.path, value: flag.read === undefined || typeof value !== 'string' ? value : flag.read(value) }];
  });
}

function tagOverride(text: string): ConfigOverride {
  const equals = text.indexOf('=');
  if (equals < 1) throw new TroupeError('BAD_CONFIG', `--tag: '${text}' is no tag: write --tag KEY=VALUE`, { problems: [`--tag: '${text}'`] });
  return { flag: '--tag', path: ['tags', text.slice(0, equals)], value: text.slice(equals + 1) };
}
