import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ExampleRun } from './readme.ts';
import { until } from '../cli/program.ts';

interface Attempt {
  readonly engine: string;
  readonly list: number;
  readonly live: readonly string[];
  readonly outcome: 'under way' | 'done' | 'failed';
}

describe('the README of examples/droonga', () => {
  let run: ExampleRun;
  beforeAll(() => {
    run = new ExampleRun('droonga', '127.0.7.');
  });
  afterAll(() => run.cleanUp());

  test('every command shows what it says', { timeout: 300_000 }, async () => {
    expect(run.claims.length).toBeGreaterThan(12);
    for (const claim of run.claims) await run.check(claim);
  });
});

describe('the dispatcher', () => {
  let run: ExampleRun;
  beforeAll(() => {
    run = new ExampleRun('droonga', '127.0.7.');
  });
  afterAll(() => run.cleanUp());

  test('under load, sends nothing to killed nodes once the list has changed, and loses no job', { timeout: 300_000 }, async () => {
    const base = run.place('http://127.0.7.1:10030');
    const name = (number: number): string => run.place(`127.0.7.${number}`);
    const live = async (): Promise<{ list: number; live: string[] }> => (await (await fetch(`${base}/live`)).json()) as { list: number; live: string[] };
    const attempts = async (): Promise<Attempt[]> => (await (await fetch(`${base}/attempts`)).json()) as Attempt[];
    const start = async (what: string, number: number): Promise<void> => {
      const command = what === 'engine' ? `node engine.js ${name(number)}:10031` : `troupe agent --config node-${number}.yaml`;
      await run.shell(`${command} > ${what}-${number}.log 2>&1 & echo $! > ${what}-${number}.pid`);
    };
    const liveAre = (numbers: readonly number[]): Promise<void> => until(async () => {
      const now = await live().catch(() => undefined);
      return now?.live.join() === numbers.map(name).join();
    }, () => `the dispatcher does not hold ${numbers.join()} for live\n${run.logs()}`, 40_000);

    await Promise.all([1, 2, 3].flatMap((number) => [start('engine', number), start('node', number)]));
    await run.shell(`node dispatcher.js --catalog catalog.json --live ${run.place('live/127.0.7.1.json')} --listen ${name(1)}:10030 > dispatcher.log 2>&1 & echo $! > dispatcher.pid`);
    await until(() => run.logs().includes('engine ready') && [1, 2, 3].every((number) => run.read(`node-${number}.log`).includes('ready name=')), () => run.logs(), 40_000);
    await liveAre([1, 2, 3]);
    await until(() => /list \d+: [\d. ]+\n/.test(run.read('dispatcher.log')), () => 'the dispatcher has only expected nodes');

    const jobs = { done: 0, failed: [] as string[], stop: false };
    const worker = async (): Promise<void> => {
      while (!jobs.stop) {
        const response = await fetch(`${base}/jobs`, { method: 'POST', body: 'job' }).catch((error: unknown) => error as Error);
        if (response instanceof Error) jobs.failed.push(String(response));
        else if (!response.ok) jobs.failed.push(await response.text());
        else {
          await response.text();
          jobs.done++;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const workers = [worker(), worker(), worker()];
    const someJobs = async (count: number): Promise<void> => {
      const enough = jobs.done + count;
      await until(() => jobs.done >= enough || jobs.failed.length > 0, () => 'no jobs are done');
    };
    try {
      await someJobs(60);
      expect(new Set((await attempts()).filter((attempt) => attempt.outcome === 'done').map((attempt) => attempt.engine))).toEqual(new Set([1, 2, 3].map(name)));

      const left = [1, 2, 3];
      for (const victim of [2, 3]) {
        await run.shell(`kill -9 $(cat node-${victim}.pid engine-${victim}.pid)`);
        left.splice(left.indexOf(victim), 1);
        await liveAre(left);
        expect(run.read(run.place('live/127.0.7.1.json'))).not.toContain(`"${name(victim)}"`);
        const { list } = await live();
        await someJobs(60);
        const since = (await attempts()).filter((attempt) => attempt.list >= list);
        expect(since.length).toBeGreaterThanOrEqual(50);
        // With nobody but live ones in the list, none of the attempts failed, and none went to a dead node.
        expect(since.filter((attempt) => attempt.outcome === 'failed' || !left.map(name).includes(attempt.engine))).toEqual([]);
      }

      await start('engine', 2);
      await until(() => run.read('engine-2.log').includes('engine ready'), () => run.logs());
      await start('node', 2);
      await liveAre([1, 2]);
      await someJobs(20);
      expect((await attempts()).at(-1)?.live).toEqual([1, 2].map(name));
      expect((await attempts()).slice(-20).some((attempt) => attempt.outcome === 'done' && attempt.engine === name(2))).toBe(true);
    } finally {
      jobs.stop = true;
      await Promise.all(workers);
    }
    expect(jobs.failed).toEqual([]);
    // Whatever happened: an engine that was not in the list of the moment was never sent anything.
    expect((await attempts()).filter((attempt) => !attempt.live.includes(attempt.engine))).toEqual([]);
  });
});
