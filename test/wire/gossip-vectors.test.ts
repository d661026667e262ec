import { describe, expect, test } from 'vitest';
import { aliveCodec, encodeMessage, indirectPingCodec, messageType, pingCodec, suspectCodec } from '../../src/core/wire/gossip-messages.ts';
import { decodeRelay, encodeFilter, encodeRelay, encodeSerfMessage, serfJoinCodec, serfKeyRequestCodec, serfQueryCodec, serfQueryResponseCodec, serfType } from '../../src/core/wire/serf-messages.ts';
import { decodeTags, encodeTags } from '../../src/core/wire/serf-tags.ts';

/** Bytes that Debian's serf 0.9.4 was seen to send. */
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const loopback = (last: number): Uint8Array => Uint8Array.of(127, 0, 0, last);
const none = new Uint8Array(0);

describe('messages have exactly the bytes of a real agent', () => {
  test('ping', () => {
    const bytes = hex('00 85 a44e6f6465 a566616b6531 a55365714e6f 01 aa536f7572636541646472 a47f000001 aa536f757263654e6f6465a27731 aa536f75726365506f7274 cd593e');
    const value = { SeqNo: 1, Node: 'fake1', SourceAddr: loopback(1), SourcePort: 22846, SourceNode: 'w1' };
    expect(toHex(encodeMessage(messageType.ping, pingCodec, value))).toBe(toHex(bytes));
    expect(pingCodec.decode(bytes.subarray(1))).toEqual(value);
  });
  test('a ping without a source leaves the optional fields out', () => {
    const value = { SeqNo: 7, Node: 'b', SourceAddr: none, SourcePort: 0, SourceNode: '' };
    expect(toHex(encodeMessage(messageType.ping, pingCodec, value))).toBe('0082a44e6f6465a162a55365714e6f07');
    expect(pingCodec.decode(hex('82a44e6f6465a162a55365714e6f07'))).toEqual(value);
  });
  test('alive', () => {
    const bytes = hex('04 86 a441646472 a47f000032 ab496e6361726e6174696f6e 01 a44d657461 b4 ff82a4726f6c65a466616b65a46c616e67a26a73 a44e6f6465 a566616b6531 a4506f7274 cd593e a356736e a6010502020505');
    const value = { Incarnation: 1, Node: 'fake1', Addr: loopback(50), Port: 22846, Meta: encodeTags({ role: 'fake', lang: 'js' }), Vsn: hex('010502020505') };
    expect(toHex(encodeMessage(messageType.alive, aliveCodec, value))).toBe(toHex(bytes));
    const read = aliveCodec.decode(bytes.subarray(1));
    expect(read).toEqual(value);
    expect(decodeTags(read.Meta)).toEqual({ role: 'fake', lang: 'js' });
  });
  test('suspect', () => {
    const bytes = hex('0383a446726f6da27731ab496e6361726e6174696f6e01a44e6f6465a27733');
    expect(toHex(encodeMessage(messageType.suspect, suspectCodec, { Incarnation: 1, Node: 'w3', From: 'w1' }))).toBe(toHex(bytes));
  });
  test('indirect ping', () => {
    const bytes = hex('0188a44e61636bc3a44e6f6465a27733a4506f7274cd593ea55365714e6f06aa536f7572636541646472a47f000001aa536f757263654e6f6465a27731aa536f75726365506f7274cd593ea6546172676574a47f000003');
    const value = { SeqNo: 6, Target: loopback(3), Port: 22846, Node: 'w3', Nack: true, SourceAddr: loopback(1), SourcePort: 22846, SourceNode: 'w1' };
    expect(toHex(encodeMessage(messageType.indirectPing, indirectPingCodec, value))).toBe(toHex(bytes));
    expect(indirectPingCodec.decode(bytes.subarray(1))).toEqual(value);
  });
  test('serf join', () => {
    expect(toHex(encodeSerfMessage(serfType.join, serfJoinCodec, { LTime: 2, Node: 'fake1' }))).toBe('0182a54c54696d6502a44e6f6465a566616b6531');
  });
  test('serf query with both kinds of filter', () => {
    const bytes = hex('048ba441646472a47f000001a746696c7465727392a80091a566616b6533b40182a445787072a3662e2aa3546167a4726f6c65a5466c61677301a24944ce0bacaa08a54c54696d6502a44e616d65a27132a75061796c6f6164a27878a4506f7274cd593eab52656c6179466163746f7200aa536f757263654e6f6465a27731a754696d656f7574ce3b9aca00');
    const value = {
      LTime: 2, ID: 0x0bacaa08, Addr: loopback(1), Port: 22846, SourceNode: 'w1', Flags: 1, RelayFactor: 0, Timeout: 1_000_000_000, Name: 'q2', Payload: Uint8Array.from(Buffer.from('xx')),
      Filters: [encodeFilter({ type: 'nodes', names: ['fake3'] }), encodeFilter({ type: 'tag', tag: 'role', expression: 'f.*' })],
    };
    expect(toHex(encodeSerfMessage(serfType.query, serfQueryCodec, value))).toBe(toHex(bytes));
    expect(serfQueryCodec.decode(bytes.subarray(1))).toEqual(value);
  });
  test('relay around a query response', () => {
    const bytes = hex('0982a8446573744164647283a24950a47f000001a4506f7274cd593ea45a6f6e65a0a8446573744e616d65a277310585a5466c61677301a446726f6da27731a24944ce4d1a8a16a54c54696d6501a75061796c6f6164c0');
    const inner = encodeSerfMessage(serfType.queryResponse, serfQueryResponseCodec, { LTime: 1, ID: 0x4d1a8a16, From: 'w1', Flags: 1, Payload: none });
    expect(toHex(encodeRelay({ ip: loopback(1), port: 22846, name: 'w1' }, inner))).toBe(toHex(bytes));
    expect(decodeRelay(bytes.subarray(1))).toEqual({ ip: loopback(1), port: 22846, name: 'w1', inner });
  });
  test('list-keys payload', () => {
    expect(toHex(encodeSerfMessage(serfType.keyRequest, serfKeyRequestCodec, { Key: none }))).toBe('0781a34b6579a0');
  });
});

describe('what is read leniently', () => {
  test('a struct as an array in the order of declaration', () => {
    expect(suspectCodec.decode(hex('93 05 a161 a162'))).toEqual({ Incarnation: 5, Node: 'a', From: 'b' });
  });
  test('unknown keys are ignored and missing ones are zero', () => {
    expect(suspectCodec.decode(hex('82 a3787878 c3 a44e6f6465 a161'))).toEqual({ Incarnation: 0, Node: 'a', From: '' });
  });
  test('metadata without the leading ff is a role', () => {
    expect(decodeTags(Buffer.from('web'))).toEqual({ role: 'web' });
    expect(toHex(encodeTags({}))).toBe('ff80');
    expect(decodeTags(hex('ff81'))).toEqual({});
  });
});
