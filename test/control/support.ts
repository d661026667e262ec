import { apply } from '../../src/core/control/apply.ts';
import type { AppAction, Command, Outcome } from '../../src/core/control/commands.ts';
import { Decisions, defaultDecisionOptions } from '../../src/core/control/decisions.ts';
import type { DecisionOptions, Wishes } from '../../src/core/control/decisions.ts';
import { emptyMap } from '../../src/core/control/map.ts';
import type { AppEntry, AppSpec, ClusterMap, Evidence, KeyspaceOptions } from '../../src/core/control/map.ts';

export const noWishes: Wishes = { keyspaces: new Map(), apps: new Map() };
export const keyspaceOptions: KeyspaceOptions = { partitions: 8, replicas: 3, acks: 'all', engine: 'memory', maxMemoryBytes: 1 << 20, eviction: 'lru', minInSync: 1 };

export function specOf(name: string, tiers: readonly (readonly string[])[], more: Partial<AppSpec> = {}): AppSpec {
  return { name, tiers, failoverTimeoutMs: 0, takeover: 'automatic', stopTimeoutMs: 1000, startTimeoutMs: 1000, ...more };
}

/** A map with a leader that decides, and nodes that do at once what the map asks of them (unless told to fail or to hang). */
export class Control {
  readonly map: ClusterMap = emptyMap();
  now = 10_000;
  decisions: Decisions;
  /** Nodes on which the start of an app fails: `app@node`. */
  readonly failing: Set<string> = new Set();
  /** Nodes that do nothing. */
  readonly hanging: Set<string> = new Set();
  /** Every start, in order: `app@node type from epoch`. */
  readonly starts: string[] = [];
  readonly refusals: Outcome[] = [];
  wishes: Wishes = noWishes;
  #index = 0;
  #instances = 0;
  readonly #options: DecisionOptions;

  constructor(options: Partial<DecisionOptions> = {}) {
    this.#options = { ...defaultDecisionOptions, ...options };
    this.decisions = new Decisions(this.now, this.#options);
  }

  apply(command: Command): Outcome {
    return apply(this.map, command, ++this.#index);
  }

  up(name: string, apps: readonly string[] = [], more: Partial<Extract<Command, { type: 'open-session' }>> = {}): Outcome {
    return this.apply({
      type: 'open-session', name, raftId: `${name}/1`, instance: `${name}-${++this.#instances}`, peer: { host: name, port: 1 }, gossip: { host: name, port: 2 }, zone: '', eligible: true,
      storage: true, version: 't', offers: Object.fromEntries(apps.map((app) => [app, 'd'])), resumes: 0, replaces: this.map.nodes[name]?.instance ?? '', ...more,
    });
  }

  down(name: string, evidence: Evidence = 'refused'): Outcome {
    return this.apply({ type: 'close-sessions', sessions: [{ name, session: this.map.nodes[name]?.session ?? 0, evidence }] });
  }

  app(name: string): AppEntry {
    return this.map.apps[name] as AppEntry;
  }

  act(app: string, action: AppAction): Outcome {
    return this.apply({ type: 'app', app, action });
  }

  move(app: string, to: string): Outcome {
    return this.act(app, { type: 'take-over', to, epoch: this.app(app).epoch, byHand: true });
  }

  permit(app: string, node: string, allowed: boolean): Outcome {
    return this.act(app, { type: 'permit', node, allowed });
  }

  /** The leader changes: what the old one remembered is gone. */
  newLeader(): void {
    this.decisions = new Decisions(this.now, this.#options);
  }

  /** Lets everybody do what is to do, until nothing is. */
  run(): void {
    for (let round = 0; round < 200; round++) {
      let changed = false;
      for (const command of this.decisions.decide(this.now, this.map, this.wishes)) if (this.apply(command).ok) changed = true;
      for (const app of Object.values(this.map.apps)) if (this.#obey(app)) changed = true;
      if (!changed) return;
    }
    throw new Error(`the cluster does not come to rest: ${JSON.stringify(this.map.apps)}`);
  }

  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) {
      this.now = Math.min(end, this.now + 50);
      this.run();
    }
  }

  #obey(app: AppEntry): boolean {
    const { node, epoch } = app;
    if (node === undefined || this.hanging.has(node)) return false;
    if (app.phase === 'starting') {
      this.starts.push(`${app.name}@${node} ${app.type} ${app.from ?? '-'} ${epoch}`);
      const action: AppAction = this.failing.has(`${app.name}@${node}`) ? { type: 'failed', epoch, error: 'it does not want' } : { type: 'started', epoch };
      return this.act(app.name, action).ok;
    }
    return app.phase === 'stopping' && this.act(app.name, { type: 'stopped', epoch, hasState: true }).ok;
  }

  where(app: string): string {
    const entry = this.app(app);
    return entry.phase === 'running' ? (entry.node as string) : entry.phase;
  }
}
