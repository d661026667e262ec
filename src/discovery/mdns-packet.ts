/** DNS messages (RFC 1035, RFC 6762), as much of them as finding services needs. */
export interface DnsQuestion {
  readonly name: readonly string[];
  readonly type: number;
  /** The answer should come to the asker alone. */
  readonly unicast: boolean;
}

export type DnsRecord = { readonly name: readonly string[]; readonly ttlSeconds: number } & (
  | { readonly type: 'A' | 'AAAA'; readonly address: string }
  | { readonly type: 'PTR'; readonly target: readonly string[] }
  | { readonly type: 'SRV'; readonly port: number; readonly target: readonly string[] }
  | { readonly type: 'TXT'; readonly text: string }
);

export interface DnsMessage {
  readonly id: number;
  readonly isAnswer: boolean;
  readonly questions: readonly DnsQuestion[];
  /** Answers and additional records, in order. Records of other types are left out. */
  readonly records: readonly DnsRecord[];
}

export const RecordType = { A: 1, PTR: 12, TXT: 16, AAAA: 28, SRV: 33, ANY: 255 } as const;

/** Beyond it a packet is not read (RFC 6762, 17). */
export const dnsBytesMax: number = 9000;
const recordsMax = 256;
const nameBytesMax = 255;
const classInternet = 1;
/** In a question: answer by unicast. In a record: forget what was known before. */
const topBit = 0x8000;

/** Undefined for whatever is no such message. Never throws; takes time and memory in proportion to the packet. */
export function decodeDns(packet: Uint8Array): DnsMessage | undefined {
  if (packet.length < 12 || packet.length > dnsBytesMax) return undefined;
  try {
    return new Decoder(packet).message();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

class Decoder {
  readonly #packet: Uint8Array;
  readonly #view: DataView;
  #at = 12;

  constructor(packet: Uint8Array) {
    this.#packet = packet;
    this.#view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  }

  message(): DnsMessage {
    const flags = this.#view.getUint16(2);
    const counts = [4, 6, 8, 10].map((offset) => this.#view.getUint16(offset));
    const [questionCount = 0, answerCount = 0, authorityCount = 0, additionalCount = 0] = counts;
    const recordCount = answerCount + authorityCount + additionalCount;
    if (questionCount > recordsMax || recordCount > recordsMax) throw new RangeError('too many records');
    const questions = Array.from({ length: questionCount }, () => this.#question());
    const records = Array.from({ length: recordCount }, () => this.#record()).filter((each) => each !== undefined);
    return { id: this.#view.getUint16(0), isAnswer: (flags & topBit) !== 0, questions, records };
  }

  #question(): DnsQuestion {
    const name = this.#name();
    const type = this.#uint16();
    const unicast = (this.#uint16() & topBit) !== 0;
    return { name, type, unicast };
  }

  #record(): DnsRecord | undefined {
    const name = this.#name();
    const type = this.#uint16();
    this.#uint16();
    const ttlSeconds = this.#view.getUint32(this.#at);
    this.#at += 4;
    const length = this.#uint16();
    const start = this.#at;
    const end = start + length;
    if (end > this.#packet.length) throw new RangeError('a record is longer than the packet');
    const record = this.#data(name, ttlSeconds, type, start, length);
    this.#at = end;
    return record;
  }

  #data(name: readonly string[], ttlSeconds: number, type: number, start: number, length: number): DnsRecord | undefined {
    switch (type) {
      case RecordType.A: return length === 4 ? { name, ttlSeconds, type: 'A', address: this.#packet.subarray(start, start + 4).join('.') } : undefined;
      case RecordType.AAAA: return length === 16 ? { name, ttlSeconds, type: 'AAAA', address: Array.from({ length: 8 }, (_, i) => this.#view.getUint16(start + 2 * i).toString(16)).join(':') } : undefined;
      case RecordType.PTR: return { name, ttlSeconds, type: 'PTR', target: this.#name() };
      case RecordType.SRV: {
        this.#at = start + 4;
        const port = this.#uint16();
        return { name, ttlSeconds, type: 'SRV', port, target: this.#name() };
      }
      case RecordType.TXT: return { name, ttlSeconds, type: 'TXT', text: new TextDecoder().decode(this.#packet.subarray(start + 1, start + Math.min(length, 1 + (this.#packet[start] ?? 0)))) };
      default: return undefined;
    }
  }

  #uint16(): number {
    const value = this.#view.getUint16(this.#at);
    this.#at += 2;
    return value;
  }

  /** A pointer must lead backwards, and a name has at most 255 bytes: no loop is possible. */
  #name(): string[] {
    const labels: string[] = [];
    let at = this.#at;
    let end: number | undefined;
    let bytes = 0;
    let lowest = at;
    for (;;) {
      const length = this.#view.getUint8(at);
      if (length === 0) break;
      if ((length & 0xc0) === 0xc0) {
        const target = this.#view.getUint16(at) & 0x3fff;
        end ??= at + 2;
        if (target >= lowest) throw new RangeError('a name points forward');
        at = lowest = target;
        continue;
      }
      if (length > 63 || at + 1 + length > this.#packet.length) throw new RangeError('a label is too long');
      bytes += length + 1;
      if (bytes > nameBytesMax) throw new RangeError('a name is too long');
      labels.push(new TextDecoder().decode(this.#packet.subarray(at + 1, at + 1 + length)));
      at += length + 1;
    }
    this.#at = end ?? at + 1;
    return labels;
  }
}

/** Without compression of names: our messages have few. */
export function encodeDns(message: DnsMessage): Uint8Array {
  const bytes: number[] = [];
  const uint16 = (value: number): void => void bytes.push((value >> 8) & 0xff, value & 0xff);
  const name = (labels: readonly string[]): void => {
    for (const label of labels) {
      const encoded = new TextEncoder().encode(label).subarray(0, 63);
      bytes.push(encoded.length, ...encoded);
    }
    bytes.push(0);
  };
  uint16(message.id);
  uint16(message.isAnswer ? 0x8400 : 0);
  for (const count of [message.questions.length, message.records.length, 0, 0]) uint16(count);
  for (const question of message.questions) {
    name(question.name);
    uint16(question.type);
    uint16(classInternet | (question.unicast ? topBit : 0));
  }
  for (const record of message.records) {
    name(record.name);
    uint16(RecordType[record.type]);
    uint16(classInternet);
    uint16(record.ttlSeconds >>> 16);
    uint16(record.ttlSeconds & 0xffff);
    const lengthAt = bytes.length;
    uint16(0);
    switch (record.type) {
      case 'A':
        bytes.push(...record.address.split('.').map(Number));
        break;
      case 'AAAA':
        for (const group of groupsOf(record.address)) uint16(group);
        break;
      case 'TXT': {
        const text = new TextEncoder().encode(record.text).subarray(0, 255);
        bytes.push(text.length, ...text);
        break;
      }
      case 'SRV':
        for (const value of [0, 0, record.port]) uint16(value);
        name(record.target);
        break;
      case 'PTR':
        name(record.target);
        break;
    }
    const length = bytes.length - lengthAt - 2;
    bytes[lengthAt] = length >> 8;
    bytes[lengthAt + 1] = length & 0xff;
  }
  return Uint8Array.from(bytes);
}

/** The eight groups of an IPv6 address in text. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const read = (part: string): number[] => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  if (tail === undefined) return read(head);
  const before = read(head);
  const after = read(tail);
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}
