import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Source } from '../../src/discovery/strategy.ts';
import { formatAddress } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';
import type { Recorder } from './support/recorder.ts';
import { at, rigs, self, start } from './support/rigs.ts';
import type { Rig } from './support/rigs.ts';

/** What every strategy owes, whatever its source. */
describe.each(rigs)('discovery by %s', (_name, make) => {
  let rig: Rig;
  let source: Source | undefined;
  let sink: Recorder;

  beforeEach(async () => {
    rig = await make();
  });
  afterEach(async () => {
    await source?.stop();
    source = undefined;
    await rig.end();
  });

  const begin = (): void => {
    ({ source, sink } = start(rig));
  };
  /** Sources may name this node itself, which registered with them, and an address that is always there. */
  const seen = (): string[] | undefined => sink.hosts?.filter((each) => each !== formatAddress(self) && each !== '[::1]:7946');
  const sees = async (...hosts: number[]): Promise<void> => {
    await poll(() => expect(seen()).toEqual(hosts.map((each) => formatAddress(at(each)))), 15_000);
  };

  test('finds what is there, what comes, and notices what goes', async () => {
    await rig.set([at(2), at(3)]);
    begin();
    await sees(2, 3);
    if (rig.strategy.name === 'static') return;
    await rig.set([at(2), at(3), at(4)]);
    await sees(2, 3, 4);
    await rig.set([at(3)]);
    await sees(3);
    await rig.set([at(3), at(2)]);
    await sees(2, 3);
  });

  test('an outage is told, and changes nothing; afterwards it goes on', async () => {
    if (rig.outage === undefined) return expect(rig.strategy.name).toBe('static');
    await rig.set([at(2), at(3)]);
    begin();
    await sees(2, 3);
    const told = sink.foundCount;
    await rig.outage();
    await poll(() => expect(sink.failures.length).toBeGreaterThan(0));
    await sees(2, 3);
    expect(sink.failures.filter((each) => each.startsWith('not coded'))).toEqual([]);
    expect(told).toBeGreaterThan(0);
    await rig.recover?.();
    await rig.set([at(3), at(5)]);
    await sees(3, 5);
  });

  test('an outage at the start is no end: it finds everything once the source is there', async () => {
    if (rig.outage === undefined) return expect(rig.strategy.name).toBe('static');
    await rig.set([at(2)]);
    await rig.outage();
    begin();
    await poll(() => expect(sink.failures.length).toBeGreaterThan(0), 15_000);
    expect(sink.hosts).toBeUndefined();
    await rig.recover?.();
    await sees(2);
  });

  test('bad answers are told, and change nothing', async () => {
    if (rig.troubles === undefined) return expect(rig.strategy.name).toBe('static');
    await rig.set([at(2), at(3)]);
    begin();
    for (const [name, trouble, code] of rig.troubles) {
      await sees(2, 3);
      sink.failures.length = 0;
      const answers = sink.foundCount;
      await trouble();
      if (code === undefined) {
        // Ignored: it goes on as if nothing had been.
        await rig.set([at(2), at(3), at(4)]);
        await sees(2, 3, 4);
        expect(sink.failures, name).toEqual([]);
      } else {
        await poll(() => expect(sink.failures, name).toContain(code), 15_000);
        expect(seen(), name).toEqual([at(2), at(3)].map(formatAddress));
      }
      expect(sink.foundCount).toBeGreaterThanOrEqual(answers);
      await rig.calm?.();
      await rig.set([at(2), at(3)]);
    }
    await sees(2, 3);
  });

  test('stop() leaves nothing behind, and after it no word comes', async () => {
    const before = resources();
    await rig.set([at(2)]);
    begin();
    await sees(2);
    const left = source?.stop();
    const words = sink.words;
    await left;
    await source?.stop();
    await poll(async () => expect(await rig.leftOpen?.() ?? 0).toBe(0));
    await rig.set([at(3)]);
    // The rig's own sources and servers are still there until its end.
    await rig.end();
    await poll(() => {
      for (const [kind, count] of Object.entries(resources())) expect(count, kind).toBeLessThanOrEqual(before[kind] ?? 0);
    });
    expect(sink.words).toBe(words);
  });

  test('stop() right after the start, and in the midst of a slow answer, is quick', async () => {
    begin();
    await source?.stop();
    expect(sink.words).toBe(0);
    const slow = rig.troubles?.find(([, , code]) => code === 'DISCOVERY_TIMEOUT');
    if (slow === undefined) return;
    await rig.set([at(2)]);
    begin();
    await sees(2);
    await slow[1]();
    await poll(() => expect(sink.failures).toContain('DISCOVERY_TIMEOUT'), 15_000);
    const begun = performance.now();
    await source?.stop();
    expect(performance.now() - begun).toBeLessThan(2500);
    await rig.calm?.();
  });
});

/** What keeps this process alive, by kind, less what comes and goes by itself. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (['UDPWrap', 'TCPSocketWrap', 'TCPServerWrap', 'ProcessWrap', 'PipeWrap', 'QueryReqWrap', 'GetAddrInfoReqWrap', 'HTTPINCOMINGMESSAGE', 'HTTPCLIENTREQUEST', 'ChannelWrap'].includes(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}
