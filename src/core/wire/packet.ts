import { crc32 } from './crc32.ts';
import { decodeCompound } from './compound.ts';
import { compressCodec, encodeMessage, messageType } from './gossip-messages.ts';
import { lzwCompress, lzwDecompress } from './lzw.ts';
import { WireError } from './wire-error.ts';

/** What a compressed packet may unfold to (bytes). Senders gather at most 1400; 64 KiB is what UDP itself carries. */
export const packetUnfoldedMax: number = 256 * 1024;
const nestingMax = 4;
const partsMax = 4096;
const checksumHeader = 5;

/** Type 9 around a message. Both sides know only one algorithm. */
export function compressMessage(message: Uint8Array): Uint8Array {
  return encodeMessage(messageType.compress, compressCodec, { Algo: 0, Buf: lzwCompress(message) });
}

/** `bytes` starts with the type byte 9. @throws WireError */
export function decompressMessage(bytes: Uint8Array, outputMax: number): Uint8Array {
  const { Algo, Buf } = compressCodec.decode(bytes.subarray(1), { valuesMax: 64, depthMax: 4 });
  if (Algo !== 0) throw new WireError(`compression algorithm ${Algo} is not known`);
  return lzwDecompress(Buf, outputMax);
}

/** Type 12 and a CRC before a packet. */
export function addChecksum(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(checksumHeader + message.length);
  out[0] = messageType.checksum;
  new DataView(out.buffer).setUint32(1, crc32(message));
  out.set(message, checksumHeader);
  return out;
}

/** Checks and takes off the outermost CRC, if there is one. @throws WireError when it does not fit */
export function stripChecksum(packet: Uint8Array): Uint8Array {
  if (packet[0] !== messageType.checksum || packet.length < checksumHeader) return packet;
  const claimed = new DataView(packet.buffer, packet.byteOffset).getUint32(1);
  if (crc32(packet, checksumHeader) !== claimed) throw new WireError('the checksum does not fit');
  return packet.subarray(checksumHeader);
}

/** Makes a packet of a message: compressed if that is shorter, then the checksum. */
export function wrapPacket(message: Uint8Array, options: { readonly compress: boolean; readonly checksum: boolean }): Uint8Array {
  let out = message;
  if (options.compress) {
    const compressed = compressMessage(message);
    if (compressed.length < message.length) out = compressed;
  }
  return options.checksum ? addChecksum(out) : out;
}

/**
 * Takes a packet's layers off and gives each plain message in it, in order. Work and memory are bounded whatever the
 * bytes say: nesting, unfolded size and number of parts have limits. What came before the first bad part is delivered.
 * @throws WireError
 */
export function unwrapPacket(packet: Uint8Array, visit: (message: Uint8Array) => void): void {
  let unfolded = 0;
  let parts = 0;
  const open = (message: Uint8Array, depth: number): void => {
    if (depth > nestingMax) throw new WireError(`packets nested deeper than ${nestingMax}`);
    const type = message[0];
    if (type === undefined) throw new WireError('an empty message');
    if (type === messageType.checksum) throw new WireError('a checksum where none belongs');
    if (type === messageType.compress) {
      const inner = decompressMessage(message, packetUnfoldedMax - unfolded);
      unfolded += inner.length;
      open(inner, depth + 1);
    } else if (type === messageType.compound) {
      const compound = decodeCompound(message);
      parts += compound.parts.length;
      if (parts > partsMax) throw new WireError(`more than ${partsMax} messages in one packet`);
      for (const part of compound.parts) open(part, depth + 1);
      if (compound.truncated > 0) throw new WireError(`${compound.truncated} messages of a compound were cut off`);
    } else visit(message);
  };
  open(stripChecksum(packet), 0);
}
