import { MsgpackReader, MsgpackWriter, decodeUtf8 } from './msgpack.ts';
import { mapOf, text } from './msgpack-struct.ts';
import { WireError } from './wire-error.ts';

/** memberlist's bound on what a node says about itself (bytes). */
export const tagsBytesMax = 512;

const tagsMagic = 0xff;
const codec = mapOf(text);

/** Tags as they travel in a node's metadata: ff, then a map of text to text. */
export function encodeTags(tags: Readonly<Record<string, string>>): Uint8Array {
  const writer = new MsgpackWriter('old');
  writer.byte(tagsMagic);
  codec.write(writer, new Map(Object.entries(tags)));
  return writer.finish();
}

/** The inverse. Without the leading ff the whole is the tag `role` (Serf's protocol 2). What cannot be read is no tags. */
export function decodeTags(meta: Uint8Array): Record<string, string> {
  try {
    if (meta[0] !== tagsMagic) return meta.length === 0 ? {} : { role: decodeUtf8(meta) };
    // Entries are defined one by one so that a tag called __proto__ is a tag.
    return Object.fromEntries(codec.read(new MsgpackReader(meta, 1, { valuesMax: 2048, depthMax: 2 }).read()));
  } catch (error) {
    if (error instanceof WireError) return {};
    throw error;
  }
}
