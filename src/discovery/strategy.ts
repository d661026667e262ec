import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { Cipher } from '../ports/cipher.ts';
import type { Clock } from '../ports/clock.ts';
import type { Datagrams } from '../ports/datagrams.ts';
import type { Dns } from '../ports/dns.ts';
import type { Files } from '../ports/files.ts';
import type { HttpClient } from '../ports/http-client.ts';
import type { Log } from '../ports/log.ts';
import type { ProcessTable } from '../ports/process-table.ts';
import type { Processes } from '../ports/processes.ts';
import type { Random } from '../ports/random.ts';
import type { OptionRule, OptionRules } from './options.ts';

/** All that strategies may ask for; each gets only what it declares. */
export interface DiscoveryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly cipher: Cipher;
  readonly datagrams: Datagrams;
  readonly dns: Dns;
  readonly http: HttpClient;
  readonly files: Files;
  readonly processes: Processes;
  readonly processTable: ProcessTable;
  readonly self: Self;
}

/** What a strategy may tell others about this node. */
export interface Self {
  readonly name: string;
  /** Gossip address that others reach it by. */
  readonly address: Address;
  /** The cluster's keys, the one to encrypt with first; none: the cluster is in plain text. */
  readonly keys: readonly Uint8Array[];
  /** Where this user's sockets and the like lie. */
  readonly runtimeDirectory: string;
}

/** Where a strategy tells what it sees. */
export interface Sink {
  /** All hosts there are, as of now; names are resolved later. Replaces what was told before. */
  found(hosts: readonly Address[]): void;
  /** The source gave no usable answer. What is known stays known. */
  failed(error: unknown): void;
}

export interface Source {
  /** Resolves when nothing of it runs any more: no timer, socket, process. No word after the call. Idempotent. */
  stop(): Promise<void>;
}

/** A way to find the hosts of other nodes. */
export interface Strategy {
  readonly name: string;
  /** One sentence for the docs. */
  readonly summary: string;
  readonly ports: readonly (keyof DiscoveryPorts)[];
  readonly options: Readonly<Record<string, OptionRule>>;
  /** What contradicts itself in complete options: the option and a sentence; undefined when all is well. */
  contradiction?(options: Readonly<Record<string, unknown>>): Contradiction | undefined;
  /** `options` must be complete: see `completeOptions`. */
  start(options: Readonly<Record<string, unknown>>, ports: DiscoveryPorts, sink: Sink): Source;
}

export interface Contradiction {
  readonly option: string;
  readonly message: string;
}

export interface StrategyDefinition<O, P extends keyof DiscoveryPorts> {
  readonly name: string;
  readonly summary: string;
  readonly ports: readonly P[];
  readonly options: OptionRules<O>;
  readonly contradiction?: (options: O) => Contradiction | undefined;
  readonly start: (options: O, ports: Pick<DiscoveryPorts, P>, sink: Sink) => Source;
}

/** Keys that a topology has beside its strategy's options. */
const reservedOptions: ReadonlySet<string> = new Set(['strategy', 'retryMaxMs', 'connect', 'disconnect', 'list']);

/** Makes a strategy that gets exactly the ports it declares, and a sink that is silent after `stop`. @throws TroupeError BAD_STRATEGY when an option has a reserved name */
export function defineStrategy<O extends object, P extends keyof DiscoveryPorts>(definition: StrategyDefinition<O, P>): Strategy {
  const reserved = Object.keys(definition.options).filter((name) => reservedOptions.has(name));
  if (reserved.length > 0) throw new TroupeError('BAD_STRATEGY', `the strategy '${definition.name}' cannot have an option called '${reserved.join("', '")}': every topology has one of this name; choose another`, { strategy: definition.name, reserved });
  return {
    name: definition.name,
    summary: definition.summary,
    ports: definition.ports,
    options: definition.options,
    contradiction: (options) => definition.contradiction?.(options as O),
    start(options, ports, sink) {
      const given = Object.fromEntries(definition.ports.map((name) => [name, ports[name]])) as unknown as Pick<DiscoveryPorts, P>;
      let stopped = false;
      const source = definition.start(options as O, given, {
        found: (hosts) => void (stopped || sink.found(hosts)),
        failed: (error) => void (stopped || sink.failed(error)),
      });
      return {
        stop: () => {
          stopped = true;
          return source.stop();
        },
      };
    },
  };
}

/** The written options, and the defaults of those that were not written. They must have been checked before. */
export function completeOptions(strategy: Strategy, written: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(strategy.options).map(([name, rule]) => [name, written[name] ?? rule.fallback]));
}
