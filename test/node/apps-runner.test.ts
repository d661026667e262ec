import { describe, expect, it } from 'vitest';
import { emptyMap } from '../../src/core/control/map.ts';
import type { AppEntry, ClusterMap } from '../../src/core/control/map.ts';
import { AppsRunner } from '../../src/node/apps-runner.ts';
import type { AppContext, AppInstance } from '../../src/node/app-types.ts';
import type { AppConfig } from '../../src/node/node-types.ts';
import type { SpawnOptions } from '../../src/ports/processes.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

/** One app on one node whose lease the test gives and takes. */
class Bench {
  readonly world = new SimWorld({ seed: 1 });
  readonly process = this.world.addHost('h').start('n1');
  readonly reports: string[] = [];
  readonly contexts: AppContext[] = [];
  readonly spawned: SpawnOptions[] = [];
  readonly killed: SpawnOptions[] = [];
  readonly renewals: number[] = [];
  stops = 0;
  rights = true;
  leaseLeftMs = 700;
  loadMs = 0;
  startMs = 0;
  prepareMs = 0;
  stopMs = 0;
  handsOver: unknown;
  startCommand: () => void = () => {};
  readonly app: AppEntry;
  readonly runner: AppsRunner;

  constructor(config: Partial<AppConfig> = { module: 'm' }) {
    const { clock, log } = this.process;
    const app = this.app = {
      name: 'a', spec: { name: 'a', tiers: [['n1'], ['n2']], failoverTimeoutMs: 0, takeover: 'automatic', stopTimeoutMs: 100, startTimeoutMs: 100 }, wanted: 'started', forbidden: [], phase: 'starting', node: 'n1',
      session: 1, epoch: 3, type: 'normal', from: undefined, next: undefined, handoverEpoch: undefined, handoverFrom: undefined, stays: false, failedOn: [], lastError: undefined,
    } as AppEntry;
    this.runner = new AppsRunner([{ name: 'a', nodes: ['n1', 'n2'], startTimeoutMs: 5000, ...config }], clock, log, {
      self: 'n1', hasRights: () => this.rights, report: (_app, action) => void this.reports.push(action.type), fetchHandover: async () => undefined,
      appNode: () => ({ name: 'n1', config: undefined, keyspace: () => { throw new Error('not here'); } }),
      load: async () => {
        await this.#sleep(this.loadMs);
        return { default: { start: async (context: AppContext): Promise<AppInstance> => await this.#start(context) } };
      },
      command: () => ({
        environment: {}, leaseLeftMs: () => this.leaseLeftMs,
        files: {
          prepare: async () => {
            await this.#sleep(this.prepareMs);
            return '/x';
          },
          collect: async () => undefined,
        },
        processes: {
          spawn: (options, handler) => {
            this.spawned.push(options);
            this.startCommand = () => handler.onStarted?.(1);
            return {
              pid: 1, stop: () => {}, renew: (leftMs) => void this.renewals.push(leftMs ?? 0),
              kill: () => {
                this.killed.push(options);
                this.process.clock.at(clock.now() + 30, () => handler.onExit({ type: 'signalled', signal: 'SIGKILL' }));
              },
            };
          },
        },
      }),
    });
    this.runner.onMap({ ...emptyMap(), apps: { a: app }, nodes: { n1: { session: 1 } } } as unknown as ClusterMap, true);
  }

  async #start(context: AppContext): Promise<AppInstance> {
    this.contexts.push(context);
    await this.#sleep(this.startMs);
    return {
      stop: async () => {
        this.stops++;
        await this.#sleep(this.stopMs);
        return this.handsOver;
      },
    };
  }

  async #sleep(ms: number): Promise<void> {
    if (ms > 0) await new Promise<void>((resolve) => void this.process.clock.at(this.process.clock.now() + ms, resolve));
  }

  async run(ms: number): Promise<void> {
    await this.world.scheduler.runFor(ms);
  }

  loseLease(): void {
    this.rights = false;
    this.runner.revokeAll();
  }
}

describe('an app whose node loses its lease while it starts', () => {
  it('is told to end at once, and gets its chance to clean up when it has started', async () => {
    const bench = new Bench();
    bench.startMs = 2000;
    await bench.run(500);
    expect(bench.contexts.map(({ signal }) => signal.aborted)).toEqual([false]);
    bench.loseLease();
    expect(bench.contexts.map(({ signal }) => signal.aborted)).toEqual([true]);
    expect(bench.stops).toBe(0);
    await bench.run(2000);
    expect(bench.stops).toBe(1);
    expect(bench.reports).toEqual([]);
    await bench.runner.close();
  });

  it('does not start at all when its module has only been loaded', async () => {
    const bench = new Bench();
    bench.loadMs = 1000;
    await bench.run(500);
    bench.loseLease();
    await bench.run(2000);
    expect(bench.contexts).toEqual([]);
    await bench.runner.close();
  });

  it('does not start when the process has slept and nobody has noticed yet', async () => {
    const bench = new Bench();
    bench.loadMs = 50;
    await bench.run(40);
    bench.rights = false;
    await bench.run(1000);
    expect(bench.contexts).toEqual([]);
    await bench.runner.close();
  });

  it('as a command is not run when its files have only been prepared', async () => {
    const bench = new Bench({ command: ['x'] });
    bench.prepareMs = 50;
    await bench.run(40);
    bench.rights = false;
    await bench.run(1000);
    expect(bench.spawned).toEqual([]);
    await bench.runner.close();
  });

  it('as a command that has not said that it runs is killed, and another start waits for its end', async () => {
    const bench = new Bench({ command: ['x'] });
    await bench.run(100);
    expect(bench.spawned.length).toBe(1);
    bench.loseLease();
    expect(bench.killed.length).toBe(1);
    bench.rights = true;
    bench.runner.reconcile();
    await bench.run(20);
    expect(bench.spawned.length).toBe(1);
    await bench.run(100);
    expect(bench.spawned.length).toBe(2);
    bench.loseLease();
    await bench.runner.close();
  });
});

describe('an app whose node loses its lease while it stops', () => {
  it('is asked to stop once, and what it hands over is kept', async () => {
    const bench = new Bench();
    await bench.run(50);
    bench.runner.reconcile();
    bench.stopMs = 300;
    bench.handsOver = { n: 1 };
    bench.app.phase = 'stopping';
    bench.runner.reconcile();
    await bench.run(100);
    expect(bench.stops).toBe(1);
    bench.loseLease();
    await bench.run(50);
    bench.rights = true;
    bench.runner.reconcile();
    await bench.run(50);
    expect(bench.reports).not.toContain('stopped');
    await bench.run(300);
    expect(bench.stops).toBe(1);
    expect(bench.reports).toContain('stopped');
    expect(bench.runner.handover('a', 3)).toBeDefined();
    await bench.runner.close();
  });

  it('as a command that was killed is reported as stopped when it is gone', async () => {
    const bench = new Bench({ command: ['x'] });
    await bench.run(10);
    bench.startCommand();
    await bench.run(10);
    bench.loseLease();
    bench.app.phase = 'stopping';
    bench.rights = true;
    bench.runner.reconcile();
    await bench.run(20);
    expect(bench.reports).not.toContain('stopped');
    await bench.run(50);
    expect(bench.reports).toContain('stopped');
    await bench.runner.close();
  });
});

describe('a command', () => {
  it('gets what is left of the lease, and what it is prolonged by while it starts', async () => {
    const bench = new Bench({ command: ['x'] });
    bench.leaseLeftMs = 123;
    await bench.run(100);
    expect(bench.spawned.map(({ leaseMs }) => leaseMs)).toEqual([123]);
    bench.runner.renewed(456);
    expect(bench.renewals).toEqual([456]);
    bench.loseLease();
    await bench.runner.close();
  });

  it('that does not come up in time is gone before it is reported as failed', async () => {
    const bench = new Bench({ command: ['x'], startTimeoutMs: 200 });
    await bench.run(215);
    expect(bench.killed.length).toBe(1);
    expect(bench.reports).toEqual([]);
    await bench.run(200);
    expect(bench.reports).toContain('failed');
    await bench.runner.close();
  });
});

describe('a module', () => {
  it('that starts too late is stopped again', async () => {
    const bench = new Bench({ module: 'm', startTimeoutMs: 200 });
    bench.startMs = 1000;
    await bench.run(500);
    expect(bench.reports).toContain('failed');
    expect(bench.contexts.map(({ signal }) => signal.aborted)).toEqual([true]);
    await bench.run(1000);
    expect(bench.stops).toBe(1);
    await bench.runner.close();
  });

  it('that is just starting when the node closes is told to end, and waited for', async () => {
    const bench = new Bench();
    bench.startMs = 1000;
    await bench.run(100);
    const { now } = bench.world.scheduler;
    await bench.world.scheduler.settle(bench.runner.close());
    expect(bench.world.scheduler.now - now).toBeGreaterThan(800);
    expect(bench.contexts.map(({ signal }) => signal.aborted)).toEqual([true]);
    expect(bench.stops).toBe(1);
  });
});
