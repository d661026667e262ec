import { Reader, Writer } from './bytes.ts';
import { readConfiguration, writeConfiguration } from './configuration.ts';
import type { Entry, EntryType, Message, Snapshot } from './types.ts';

/** Message types by their number on the wire; only ever append. */
const messageTypes = [
  'pre-vote', 'vote', 'pre-vote-response', 'vote-response', 'append', 'append-response', 'heartbeat', 'heartbeat-response', 'snapshot', 'timeout-now',
] as const satisfies readonly Message['type'][];
const entryTypes = ['normal', 'config', 'empty'] as const satisfies readonly EntryType[];

export function writeEntry(writer: Writer, entry: Entry): void {
  writer.number(entry.index);
  writer.number(entry.term);
  writer.byte(entryTypes.indexOf(entry.type));
  writer.bytes(entry.data);
}

export function readEntry(reader: Reader): Entry {
  const index = reader.number();
  const term = reader.number();
  const code = reader.byte();
  const type = entryTypes[code];
  if (type === undefined) reader.fail(`${code} is no type of entry`);
  return { index, term, type, data: reader.bytes() };
}

export function writeSnapshot(writer: Writer, snapshot: Snapshot): void {
  writer.number(snapshot.index);
  writer.number(snapshot.term);
  writeConfiguration(writer, snapshot.configuration);
  writer.bytes(snapshot.data);
}

export function readSnapshot(reader: Reader): Snapshot {
  return { index: reader.number(), term: reader.number(), configuration: readConfiguration(reader), data: reader.bytes() };
}

export function encodeMessage(message: Message): Uint8Array {
  const writer = new Writer();
  writer.byte(messageTypes.indexOf(message.type));
  writer.text(message.from);
  writer.text(message.to);
  writer.number(message.term);
  switch (message.type) {
    case 'pre-vote':
    case 'vote':
      writer.number(message.lastIndex);
      writer.number(message.lastTerm);
      writer.byte(message.transfer ? 1 : 0);
      writer.optionalText(message.leaderKnownDead);
      break;
    case 'pre-vote-response':
    case 'vote-response':
      writer.byte(message.granted ? 1 : 0);
      // Rounded down to a microsecond: it must never be over-stated.
      writer.number(Math.floor(message.sinceLeaderMs * 1000));
      break;
    case 'append':
      writer.number(message.previousIndex);
      writer.number(message.previousTerm);
      writer.number(message.commit);
      writer.list(message.entries, (entry) => writeEntry(writer, entry));
      break;
    case 'append-response':
      writer.byte(message.rejected ? 1 : 0);
      writer.number(message.index);
      writer.number(message.hintIndex);
      writer.number(message.hintTerm);
      writer.number(message.lastIndex);
      break;
    case 'heartbeat':
      writer.number(message.commit);
      writer.number(message.round);
      break;
    case 'heartbeat-response':
      writer.number(message.round);
      writer.number(message.lastIndex);
      break;
    case 'snapshot':
      writeSnapshot(writer, message.snapshot);
      break;
    case 'timeout-now':
      break;
  }
  return writer.finish();
}

/**
 * Reads what {@link encodeMessage} wrote; copies what it keeps. Memory stays within a small multiple of the input.
 * @throws TroupeError BAD_MESSAGE
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new Reader(bytes, 'a raft message');
  const message = readMessage(reader);
  reader.end();
  return message;
}

function readMessage(reader: Reader): Message {
  const code = reader.byte();
  const type = messageTypes[code];
  if (type === undefined) reader.fail(`${code} is no type of message`);
  const envelope = { from: reader.text(), to: reader.text(), term: reader.number() };
  switch (type) {
    case 'pre-vote':
    case 'vote':
      return {
        type, ...envelope, lastIndex: reader.number(), lastTerm: reader.number(), transfer: reader.boolean(), leaderKnownDead: reader.optionalText(),
      };
    case 'pre-vote-response':
    case 'vote-response':
      return { type, ...envelope, granted: reader.boolean(), sinceLeaderMs: reader.number() / 1000 };
    case 'append':
      return {
        type, ...envelope, previousIndex: reader.number(), previousTerm: reader.number(), commit: reader.number(),
        entries: reader.list(4, () => readEntry(reader)),
      };
    case 'append-response':
      return {
        type, ...envelope, rejected: reader.boolean(), index: reader.number(), hintIndex: reader.number(), hintTerm: reader.number(),
        lastIndex: reader.number(),
      };
    case 'heartbeat':
      return { type, ...envelope, commit: reader.number(), round: reader.number() };
    case 'heartbeat-response':
      return { type, ...envelope, round: reader.number(), lastIndex: reader.number() };
    case 'snapshot':
      return { type, ...envelope, snapshot: readSnapshot(reader) };
    case 'timeout-now':
      return { type, ...envelope };
  }
}
