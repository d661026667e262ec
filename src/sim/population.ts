import { messageOf, TroupeError } from '../base/errors.ts';
import type { NodeParts } from '../node/node-parts.ts';
import type { Node } from '../node/node-types.ts';
import type { Report, RunningNode } from './checkers/checker.ts';
import { LiveParts } from './live-parts.ts';
import type { SimScheduler } from './scheduler.ts';
import type { SimCluster } from './sim-cluster.ts';
import type { SimProcess } from './sim-host.ts';
import type { Trace } from './trace.ts';

/** What an operator would see as the reason why a node stopped, and expect. */
const diskCodes = ['DISK_FULL', 'DISK_UNWRITABLE', 'DISK_CLOSED'];
const restartMs = 1000;

/** Which nodes run, and which process each instance is; what starts a node again that had to stop. */
export class Population {
  readonly #cluster: SimCluster;
  readonly #scheduler: SimScheduler;
  readonly #trace: Trace;
  readonly #report: Report;
  readonly #running = new Map<string, RunningNode>();
  readonly #instances = new Map<string, RunningNode>();
  readonly #leaving = new Set<string>();

  constructor(cluster: SimCluster, scheduler: SimScheduler, trace: Trace, report: Report) {
    this.#cluster = cluster;
    this.#scheduler = scheduler;
    this.#trace = trace;
    this.#report = report;
  }

  /** The newest of each name that has come up, dead ones too. */
  all(): Iterable<RunningNode> {
    return this.#running.values();
  }

  /** It is about to stop by itself. */
  leaving(instance: string): void {
    this.#leaving.add(instance);
  }

  /** Also one that is just coming up. */
  byName(name: string): RunningNode | undefined {
    const running = this.#running.get(name);
    return running?.process.alive === true ? running : undefined;
  }

  onNode(name: string, node: Node, process: SimProcess): void {
    const parts = new LiveParts(node as Node & { inspect(): NodeParts });
    const running: RunningNode = { name, node, process, parts };
    this.#running.set(name, running);
    this.#instances.set(parts.instance, running);
    this.#trace.add(`${name} has come up as ${parts.instance}`);
    void node.stopped.then((error) => this.#onStopped(running, error));
  }

  /** As an agent does: when its node has stopped, the process ends; if it had to, something starts it again. */
  #onStopped(running: RunningNode, error: Error | undefined): void {
    if (!running.process.alive) return;
    this.#trace.add(`${running.name} has stopped: ${error === undefined ? 'in order' : messageOf(error)}`);
    running.process.kill();
    if (error === undefined) return;
    if (!this.#isExpected(running.name, error)) this.#report('no-escaped-error', `${running.name} stopped by itself: ${error.stack ?? error.message}`);
    this.#superviseRestart(running.name);
  }

  onFailedStart(name: string, error: unknown, process: SimProcess): void {
    this.#trace.add(`${name} did not start: ${messageOf(error)}`);
    process.kill();
    if (!this.#isExpected(name, error)) this.#report('no-escaped-error', `${name} did not start: ${error instanceof Error ? (error.stack ?? '') : messageOf(error)}`);
    this.#superviseRestart(name);
  }

  #superviseRestart(name: string): void {
    this.#scheduler.after(restartMs, () => {
      if (this.#cluster.host(name).up && this.#cluster.process(name) === undefined) this.#cluster.restart(name);
    });
  }

  isAlive(instance: string): boolean {
    const running = this.#instances.get(instance);
    if (running === undefined) return this.#cluster.names.some((name) => this.#cluster.process(name) !== undefined && !this.#running.has(name));
    return running.process.alive && !running.parts.closed && !this.#leaving.has(instance);
  }

  #isExpected(name: string, error: unknown): boolean {
    if (!(error instanceof TroupeError)) return false;
    return diskCodes.includes(error.code) || (error.code === 'RAFT_LOG_CORRUPT' && this.#cluster.host(name).disk.damaged);
  }
}
