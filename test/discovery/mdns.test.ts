import { expect, test } from 'vitest';
import { decodeDns } from '../../src/discovery/mdns-packet.ts';
import { completeOptions } from '../../src/discovery/strategy.ts';
import { poll } from '../poll.ts';
import { Cable, hostPorts } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { at, strategyNamed } from './support/rigs.ts';

test('nothing but questions goes to the whole network: real Serf agents take any answer that they hear', async () => {
  const strategy = strategyNamed('mdns');
  const options = completeOptions(strategy, { service: `only-${process.pid}`, pollMs: 200 });
  const cables = [new Cable(), new Cable()];
  const sinks = [new Recorder(), new Recorder()];
  const sources = cables.map((cable, i) => strategy.start(options, hostPorts(`n${i}`, at(i + 2), { datagrams: cable }), sinks[i] as Recorder));
  await poll(() => expect(sinks.map((sink) => sink.hosts)).toEqual([['127.0.0.3:7946'], ['127.0.0.2:7946']]));
  for (const source of sources) await source.stop();
  const sent = cables.flatMap((cable) => cable.sent);
  const toAll = sent.filter(({ to }) => to.host === '224.0.0.251');
  expect(toAll.length).toBeGreaterThan(1);
  expect(toAll.filter(({ packet }) => decodeDns(packet)?.isAnswer !== false)).toEqual([]);
  expect(sent.filter(({ packet }) => decodeDns(packet)?.isAnswer === true).length).toBeGreaterThan(1);
});
