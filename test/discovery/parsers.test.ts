import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { decodeHeartbeat, encodeHeartbeat, HeartbeatKind } from '../../src/discovery/heartbeat-packet.ts';
import type { Heartbeat } from '../../src/discovery/heartbeat-packet.ts';
import { parseHostLines } from '../../src/discovery/host-lines.ts';
import { hostsAt } from '../../src/discovery/http.ts';
import { hostOfEndpoint, hostOfPod, hostsOfSlice } from '../../src/discovery/kubernetes-lists.ts';
import type { AddressMode } from '../../src/discovery/kubernetes-lists.ts';
import { hostsMax } from '../../src/discovery/limits.ts';
import { parseJson } from '../../src/discovery/json.ts';
import { parseEntry } from '../../src/discovery/local.ts';
import { decodeDns, encodeDns, RecordType } from '../../src/discovery/mdns-packet.ts';
import type { DnsMessage } from '../../src/discovery/mdns-packet.ts';
import { servicesIn } from '../../src/discovery/mdns.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { endpointsList, podList, sliceList } from './support/rigs.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Whatever comes from outside: a result, or an error of ours; in the time that a test has, and without keeping memory. */
function survives<T>(arbitrary: fc.Arbitrary<T>, parse: (input: T) => unknown, runs: number = 2000): void {
  collectGarbage();
  const before = process.memoryUsage().heapUsed;
  fc.assert(fc.property(arbitrary, (input) => {
    try {
      parse(input);
    } catch (error) {
      if (!(error instanceof TroupeError)) throw error;
      if (error.message.length > 600) throw new Error(`a message of ${error.message.length} characters`);
    }
  }), { numRuns: runs });
  collectGarbage();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(20e6);
}

/** A good packet with some bytes changed, cut or added: it gets further in than noise does. */
const mutated = (packet: Uint8Array): fc.Arbitrary<Uint8Array> => fc.tuple(fc.array(fc.tuple(fc.nat(packet.length - 1), fc.nat(255)), { maxLength: 6 }), fc.nat(packet.length), fc.uint8Array({ maxLength: 20 })).map(([changes, length, tail]) => {
  const copy = new Uint8Array(packet);
  for (const [at, value] of changes) copy[at] = value;
  return Uint8Array.from([...copy.subarray(0, length), ...tail]);
});

const heartbeat: Heartbeat = { kind: HeartbeatKind.here, instance: '0123456789abcdef', wallTime: 1_790_000_000_123, counter: 7, group: 'default', address: { host: '10.0.0.2', port: 7946 } };
const key = new Uint8Array(32).fill(1);
const otherKey = new Uint8Array(16).fill(2);

describe('heartbeats', () => {
  test('come back as they were, plain and sealed, with IPv6 too', () => {
    for (const keys of [[], [key], [otherKey, key]]) {
      expect(decodeHeartbeat(encodeHeartbeat(heartbeat, aesGcmCipher, keys), aesGcmCipher, keys)).toEqual(heartbeat);
      const six = { ...heartbeat, kind: HeartbeatKind.bye, address: { host: 'fd00::1', port: 1 } };
      expect(decodeHeartbeat(encodeHeartbeat(six, aesGcmCipher, keys), aesGcmCipher, keys)).toEqual(six);
    }
  });

  test('with keys only sealed ones count, without keys only plain ones; any of the keys opens', () => {
    const sealed = encodeHeartbeat(heartbeat, aesGcmCipher, [key]);
    const plain = encodeHeartbeat(heartbeat, aesGcmCipher, []);
    expect(decodeHeartbeat(sealed, aesGcmCipher, [otherKey, key])).toEqual(heartbeat);
    expect(decodeHeartbeat(sealed, aesGcmCipher, [otherKey])).toBe('key');
    expect(decodeHeartbeat(sealed, aesGcmCipher, [])).toBe('key');
    expect(decodeHeartbeat(plain, aesGcmCipher, [key])).toBe('key');
  });

  test('no changed byte of a sealed one is accepted', () => {
    const sealed = encodeHeartbeat(heartbeat, aesGcmCipher, [key]);
    for (let i = 0; i < sealed.length; i++) {
      const changed = new Uint8Array(sealed);
      changed[i] = (changed[i] as number) ^ 0x10;
      expect(typeof decodeHeartbeat(changed, aesGcmCipher, [key]), `byte ${i}`).toBe('string');
    }
    expect(Buffer.from(sealed).includes('10.0.0.2')).toBe(false);
  });

  test('never throw, whatever the packet', () => {
    const plain = encodeHeartbeat(heartbeat, aesGcmCipher, []);
    survives(fc.oneof(fc.uint8Array({ maxLength: 2000 }), mutated(plain)), (packet) => {
      const decoded = decodeHeartbeat(packet, aesGcmCipher, []);
      if (typeof decoded !== 'string' && !/^[0-9a-f.:]+$/i.test(decoded.address.host)) throw new Error('a host that is no address');
    });
    survives(fc.uint8Array({ maxLength: 300 }), (packet) => decodeHeartbeat(packet, aesGcmCipher, [key]));
  });
});

const service = ['_serf_home', '_tcp', 'local'];
const answer: DnsMessage = {
  id: 4711, isAnswer: true, questions: [],
  records: [
    { name: service, ttlSeconds: 120, type: 'PTR', target: ['a.b', ...service] },
    { name: ['a.b', ...service], ttlSeconds: 120, type: 'SRV', port: 7946, target: ['host', 'local'] },
    { name: ['host', 'local'], ttlSeconds: 120, type: 'A', address: '10.0.0.2' },
    { name: ['host', 'local'], ttlSeconds: 120, type: 'AAAA', address: 'fd00:0:0:0:0:0:0:1' },
    { name: ['a.b', ...service], ttlSeconds: 120, type: 'TXT', text: "Serf 'home' cluster" },
  ],
};

describe('multicast DNS messages', () => {
  test('come back as they were', () => {
    expect(decodeDns(encodeDns(answer))).toEqual(answer);
    const question: DnsMessage = { id: 1, isAnswer: false, questions: [{ name: service, type: RecordType.PTR, unicast: true }], records: [] };
    expect(decodeDns(encodeDns(question))).toEqual(question);
  });

  test("the question is byte for byte that of a real `serf agent -discover home`", () => {
    // Recorded from Debian's serf 0.8.2; only the id is drawn.
    const recorded = Buffer.from('6bf0000000010000000000000a5f736572665f686f6d65045f746370056c6f63616c00000c0001', 'hex');
    expect(Buffer.from(encodeDns({ id: 0x6bf0, isAnswer: false, questions: [{ name: service, type: RecordType.PTR, unicast: false }], records: [] }))).toEqual(recorded);
  });

  test('compressed names are read (RFC 1035, 4.1.4)', () => {
    const bytes = Buffer.concat([Buffer.from([0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Buffer.from('\x05_serf\x04_tcp\x00', 'latin1'), Buffer.from([0, 12, 0, 1, 0, 0, 0, 9, 0, 4, 1, 0x61, 0xc0, 12])]);
    expect(decodeDns(bytes)?.records).toEqual([{ name: ['_serf', '_tcp'], ttlSeconds: 9, type: 'PTR', target: ['a', '_serf', '_tcp'] }]);
  });

  test('services are found by name in either case, with the address of the sender where none is given', () => {
    expect(servicesIn(answer, service.map((label) => label.toUpperCase()), '9.9.9.9')).toEqual([{ name: 'a.b._serf_home._tcp.local', address: { host: '10.0.0.2', port: 7946 }, gone: false }]);
    const without = { ...answer, records: answer.records.filter((record) => record.type !== 'A' && record.type !== 'AAAA') };
    expect(servicesIn(without, service, '9.9.9.9')[0]?.address.host).toBe('9.9.9.9');
    // As avahi answers: with all addresses of its host, those of one link among them.
    const others = (...addresses: string[]): DnsMessage => ({ ...without, records: [...without.records, ...addresses.map((address) => ({ name: ['host', 'local'], ttlSeconds: 120, type: address.includes(':') ? ('AAAA' as const) : ('A' as const), address }))] });
    expect(servicesIn(others('fe80:0:0:0:1:2:3:4', '10.78.0.2'), service, '10.9.9.9')[0]?.address.host).toBe('10.78.0.2');
    expect(servicesIn(others('172.17.0.1', '10.78.0.2'), service, '10.78.0.2')[0]?.address.host).toBe('10.78.0.2');
    expect(servicesIn(others('fe80:0:0:0:1:2:3:4'), service, '10.9.9.9')[0]?.address.host).toBe('10.9.9.9');
    expect(servicesIn(others('0:0:0:0:0:0:0:0', 'fd00:0:0:0:0:0:0:2'), service, '10.9.9.9')[0]?.address.host).toBe('fd00:0:0:0:0:0:0:2');
    expect(servicesIn(answer, ['_serf_other', '_tcp', 'local'], '9.9.9.9')).toEqual([]);
  });

  test('never throw, whatever the packet, and a loop of pointers ends', () => {
    survives(fc.oneof(fc.uint8Array({ maxLength: 9500 }), mutated(encodeDns(answer))), (packet) => {
      const decoded = decodeDns(packet);
      if (decoded !== undefined) servicesIn(decoded, service, '10.0.0.1');
    }, 5000);
    // Every record's name points at one long chain: the bound on a packet's records is what bounds the work.
    const chain = Buffer.alloc(9000, 0xc0);
    chain.writeUInt16BE(255, 6);
    expect(decodeDns(chain)).toBeUndefined();
  });
});

describe('texts', () => {
  test('parseHostLines() reads lines and Erlang\'s hosts file', () => {
    expect(parseHostLines("10.0.0.1\n 10.0.0.2:8000 # me\n\n% old\n'host.example.org'.\r\n[fd00::1]:1\nfd00::2\n", 7946)).toEqual([
      { host: '10.0.0.1', port: 7946 }, { host: '10.0.0.2', port: 8000 }, { host: 'host.example.org', port: 7946 }, { host: 'fd00::1', port: 1 }, { host: 'fd00::2', port: 7946 },
    ]);
    expect(() => parseHostLines('10.0.0.1\n10.0.0.2 10.0.0.3\n', 1)).toThrow(/line 2/);
    expect(() => parseHostLines('a:b', 1)).toThrow(/line 1/);
    expect(() => parseHostLines('x\u001b[2J', 1)).toThrow(/line 1/);
  });

  test('parseHostLines() and parseEntry() survive everything', () => {
    survives(fc.oneof(fc.string({ maxLength: 500, unit: 'binary' }), fc.array(fc.constantFrom('10.0.0.1', ':', '\n', "'", '.', '[', ']', '#', '99999999', ' '), { maxLength: 200 }).map((parts) => parts.join(''))), (text) => parseHostLines(text, 7946));
    survives(fc.oneof(fc.json(), fc.string(), fc.record({ address: fc.string(), pid: fc.integer(), identity: fc.string() }).map((entry) => JSON.stringify(entry))), parseEntry);
  });
});

describe('JSON documents', () => {
  const two = [{ host: '10.0.0.1', port: 7946 }, { host: '10.0.0.2', port: 7946 }];

  test('hostsAt() finds texts and objects, at the top and down a path', () => {
    expect(hostsAt(['10.0.0.1', '10.0.0.2:7946'], '', 7946)).toEqual(two);
    expect(hostsAt({ a: { b: [{ address: '10.0.0.1' }, { ip: '10.0.0.2', port: 7946 }] } }, 'a.b', 7946)).toEqual(two);
    expect(hostsAt({ a: [{ n: { host: '10.0.0.1' } }, { n: { host: '10.0.0.2' } }] }, 'a.*.n', 7946)).toEqual(two);
    expect(hostsAt([['10.0.0.1'], ['10.0.0.2']], '*', 7946)).toEqual(two);
    expect(hostsAt({ a: [[], ['10.0.0.1', '10.0.0.2']] }, 'a.1', 7946)).toEqual(two);
    expect(hostsAt([], '', 7946)).toEqual([]);
  });

  test.each([[{}, ''], [{ a: 1 }, 'b'], [{ a: 1 }, 'a'], [{ a: {} }, 'a.*'], [[{ host: 'x', port: 0 }], ''], [[{ host: 'x', port: 'y' }], ''], [['a b'], ''], [{}, '__proto__'], [{}, 'constructor']])('hostsAt(%j, %j) is refused', (document, path) => {
    expect(() => hostsAt(document, path, 7946)).toThrow(TroupeError);
  });

  const modes: AddressMode[] = (['ip', 'dns', 'hostname'] as const).flatMap((address) => [true, false].map((includeNotReady) => ({ address, namespace: 'default', service: 'troupe', clusterDomain: 'cluster.local', includeNotReady })));

  test('endpoints and pods are called as asked', () => {
    const endpoint = (endpointsList(two) as { items: unknown[] }).items[0];
    const pod = (podList(two) as { items: unknown[] }).items[0];
    const by = (address: AddressMode['address'], includeNotReady: boolean): AddressMode => modes.find((mode) => mode.address === address && mode.includeNotReady === includeNotReady) as AddressMode;
    expect(hostOfEndpoint(endpoint, by('ip', true))).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(hostOfEndpoint(endpoint, by('ip', false))).toEqual(['10.0.0.1']);
    expect(hostOfEndpoint(endpoint, by('dns', false))).toEqual(['10-0-0-1.default.pod.cluster.local']);
    expect(hostOfEndpoint(endpoint, by('hostname', false))).toEqual(['troupe-0.troupe.default.svc.cluster.local']);
    expect(hostOfPod(pod, by('ip', false))).toEqual(['10.0.0.1']);
    expect(hostOfPod({ ...(pod as object), status: { phase: 'Running', podIP: '10.0.0.1', conditions: [{ type: 'Ready', status: 'False' }] } }, by('ip', false))).toEqual([]);
    expect(hostOfPod({ status: { podIP: 'fd00::1' } }, by('dns', true))).toEqual(['fd00--1.default.pod.cluster.local']);
  });

  test('slices are read as their documentation asks', () => {
    const [slice] = (sliceList(two) as { items: unknown[] }).items;
    const by = (address: AddressMode['address'], includeNotReady: boolean): AddressMode => modes.find((mode) => mode.address === address && mode.includeNotReady === includeNotReady) as AddressMode;
    expect(hostsOfSlice(slice, by('ip', true))).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(hostsOfSlice(slice, by('ip', false))).toEqual(['10.0.0.1']);
    expect(hostsOfSlice(slice, by('dns', false))).toEqual(['10-0-0-1.default.pod.cluster.local']);
    expect(hostsOfSlice(slice, by('hostname', true))).toEqual(['troupe-0.troupe.default.svc.cluster.local', 'troupe-1.troupe.default.svc.cluster.local']);
    expect(hostsOfSlice({ addressType: 'FQDN', endpoints: [{ addresses: ['a.example.org'] }] }, by('ip', false))).toEqual(['a.example.org']);
    expect(hostsOfSlice({ addressType: 'IPv6', endpoints: [{ addresses: ['fd00::1'], conditions: {} }] }, by('ip', false))).toEqual(['fd00::1']);
    expect(() => hostsOfSlice({ endpoints: [{ addresses: [7] }] }, by('ip', true))).toThrow(TroupeError);
  });

  test('JSON is not parsed when its nesting or the number of its parts would take much more memory than its text', () => {
    collectGarbage();
    const before = process.memoryUsage().rss;
    const texts = ['['.repeat(8 << 20) + ']'.repeat(8 << 20), `[${'[],'.repeat(5 << 20)}0]`, '{"a":'.repeat(3 << 20), `"${'['.repeat(1000)}`, '"\\'];
    for (const text of texts) expect(() => parseJson(Buffer.from(text), 'a test')).toThrow(TroupeError);
    expect(process.memoryUsage().rss - before).toBeLessThan(200e6);
    expect(parseJson(Buffer.from(`{"a":"${'['.repeat(1000)}\\"${'{'.repeat(1000)}"}`), 'a test')).toMatchObject({ a: expect.stringContaining('"{') as string });
    survives(fc.oneof(fc.json(), fc.string(), fc.array(fc.constantFrom('[', ']', '{', '}', '"', '\\', ',', ':', '1')).map((parts) => parts.join(''))), (text) => {
      const bytes = new TextEncoder().encode(text);
      let parsed: unknown;
      try {
        parsed = JSON.parse(text);
      } catch {
        return parseJson(bytes, 'a test');
      }
      expect(parseJson(bytes, 'a test')).toEqual(parsed);
    });
  });

  test('whatever the document, the answer is hosts or an error of ours', () => {
    survives(fc.tuple(fc.jsonValue(), fc.constantFrom('', '*', 'a.*', 'a.0.b')), ([document, path]) => hostsAt(document, path, 7946));
    const shape = fc.record({ subsets: fc.array(fc.record({ addresses: fc.oneof(fc.jsonValue(), fc.array(fc.record({ ip: fc.string() }))), notReadyAddresses: fc.jsonValue() })), status: fc.oneof(fc.jsonValue(), fc.record({ podIP: fc.string(), conditions: fc.jsonValue() })), metadata: fc.jsonValue(), spec: fc.jsonValue() });
    survives(fc.tuple(fc.oneof(fc.jsonValue(), shape), fc.constantFrom(...modes)), ([item, mode]) => [hostOfPod(item, mode), hostOfEndpoint(item, mode)]);
    const slice = fc.record({ addressType: fc.oneof(fc.jsonValue(), fc.constantFrom('IPv4', 'IPv6', 'FQDN')), endpoints: fc.array(fc.record({ addresses: fc.oneof(fc.jsonValue(), fc.array(fc.string())), conditions: fc.jsonValue(), hostname: fc.jsonValue(), targetRef: fc.jsonValue() })) });
    survives(fc.tuple(fc.oneof(fc.jsonValue(), slice), fc.constantFrom(...modes)), ([item, mode]) => hostsOfSlice(item, mode));
  });

  test('a list of lists of lists does not grow without bound', () => {
    const level = (depth: number): unknown => (depth === 0 ? 'x' : Array.from({ length: 30 }, () => level(depth - 1)));
    expect(() => hostsAt(level(4), '*.*.*', 1)).toThrow(/leads to more than/);
    expect(hostsMax).toBe(1024);
  });
});
