import { randomBytes } from 'node:crypto';
import { Prng } from '../base/prng.ts';

/** A generator seeded by the system. */
export function createRandom(): Prng {
  return new Prng(randomBytes(4).readUInt32LE(0));
}
