import type { Prng } from '../base/prng.ts';
import type { AppContext, AppDefinition } from '../node/app-types.ts';
import type { OnePlace } from './checkers/one-place.ts';
import type { RunningNode } from './checkers/checker.ts';
import type { SimProgramContext, SimPrograms } from './sim-processes.ts';
import type { Trace } from './trace.ts';

const noticesSleepMs = 120;

/** The code of the simulated apps: takes its time to start and stop, fails now and then, and tells the checker everything. */
export class AppRecorder {
  readonly #random: Prng;
  readonly #trace: Trace;
  readonly #checker: OnePlace;
  readonly #find: (node: string) => RunningNode | undefined;
  readonly #slow: Prng | undefined;
  /** Starts and instances fail, and take long, while this is set. */
  failing = true;

  /** @param slow some imports, preparations of files and starts take seconds, up to more than a start may take; undefined: none does */
  constructor(random: Prng, slow: Prng | undefined, trace: Trace, checker: OnePlace, find: (node: string) => RunningNode | undefined) {
    this.#random = random;
    this.#slow = slow;
    this.#trace = trace;
    this.#checker = checker;
    this.#find = find;
  }

  async module(specifier: string, node: string): Promise<{ default: AppDefinition }> {
    const app = specifier.slice(specifier.indexOf(':') + 1);
    await this.linger(node);
    return { default: { start: async (context) => await this.#start(app, node, context) } };
  }

  /** The same as a command. It lives on when its agent is paused or dies, until its warden ends it. */
  programs(node: string): SimPrograms {
    return new Map([['sim', (context: SimProgramContext): void => this.#run(node, context)]]);
  }

  #run(node: string, context: SimProgramContext): void {
    const running = this.#find(node);
    if (running === undefined) return context.exit(1);
    const { environment } = context.options;
    const [app, epoch, type] = [environment['TROUPE_APP'] ?? '', Number(environment['TROUPE_EPOCH']), environment['TROUPE_START_TYPE'] ?? ''];
    this.#trace.add(`${node} command of app ${app} starts: ${type} epoch ${epoch}`);
    const { children } = running.process;
    this.#checker.started({
      app, node, epoch, type, instance: running.parts.instance,
      isActive: () => [...children.running].some((child) => child.options === context.options),
      // Its warden saw to that when it was spawned, and ends it with the lease.
      hasRights: () => true,
    });
    context.onTerminate(() => context.after(this.#random.below(40), () => context.exit(0)));
    if (this.failing && this.#random.chance(0.15)) context.after(200 + this.#random.below(3000), () => context.exit(1));
  }

  async #start(app: string, node: string, context: AppContext): Promise<{ stop(): Promise<unknown>; done: Promise<unknown> }> {
    const running = this.#find(node);
    if (running === undefined) throw new Error('the simulated node is gone');
    const { process, parts } = running;
    this.#trace.add(`${node} app ${app} starts: ${context.type} from ${context.from ?? '-'} epoch ${context.epoch}`);
    context.signal.addEventListener('abort', () => this.#trace.add(`${node} app ${app} is told to end, epoch ${context.epoch}`));
    this.#checker.started({
      app, node, epoch: context.epoch, type: context.type, instance: parts.instance,
      // Nobody tells a process that its machine has slept: it finds out when it next looks, at the latest at the next tick.
      isActive: () => process.alive && !process.paused && !context.signal.aborted && (process.clock.now() - process.clock.wokeAt > noticesSleepMs || parts.session.hasRights(process.clock.now())),
      hasRights: () => parts.session.hasRights(process.clock.now()),
    });
    const fails = this.failing && this.#random.chance(0.05);
    await this.#sleep(running, this.#random.below(30));
    await this.linger(node);
    if (fails) throw new Error('the simulated app does not want to start');
    let end: (error: Error) => void = () => {};
    const done = new Promise<never>((_, reject) => {
      end = reject;
    });
    done.catch(() => {});
    if (this.failing && this.#random.chance(0.15)) void this.#sleep(running, 200 + this.#random.below(3000)).then(() => end(new Error('the simulated app broke')));
    return {
      stop: async () => {
        await this.#sleep(running, this.#random.below(40));
        return { epoch: context.epoch };
      },
      done,
    };
  }

  /** Now and then something takes its time. */
  async linger(node: string): Promise<void> {
    const running = this.#find(node);
    if (running !== undefined && this.failing && this.#slow?.chance(0.2) === true) await this.#sleep(running, this.#slow.below(this.#slow.chance(0.7) ? 1500 : 6500));
  }

  #sleep({ process }: RunningNode, ms: number): Promise<void> {
    return new Promise((resolve) => {
      process.clock.at(process.clock.now() + ms, resolve);
    });
  }
}
