import * as z from 'zod';
import { messageOf } from '../base/errors.ts';
import { parseAddress } from '../ports/address.ts';
import type { Address } from '../ports/address.ts';

/** Names of nodes, apps and keyspaces: they appear in keys of plain objects, in file names and in logs. */
const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Says why a name cannot be used; undefined when it can. */
export function nameProblem(name: string): string | undefined {
  if (!namePattern.test(name)) return `'${name}' is no name: write 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit`;
  if (name in Object.prototype) return `'${name}' cannot be a name: JavaScript has its own use for this word; choose another`;
  return undefined;
}

/** A problem that already says everything; it is shown as it is. */
function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

export const nameValue: z.ZodType<string, string> = z.string().superRefine((text, context) => {
  const problem = nameProblem(text);
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
}).describe('a name');

export interface AddressRule {
  /** For text without a port; without it a port is asked for. */
  readonly defaultPort?: number;
  /** A DNS name will do, because the address is only connected to. */
  readonly name?: boolean;
}

export function addressValue(rule: AddressRule): z.ZodType<Address, string> {
  return z.string().transform((text, context) => {
    try {
      const address = parseAddress(text, rule.defaultPort);
      if (address.host === 'localhost') return { host: '127.0.0.1', port: address.port };
      if (rule.name !== true && !isIp(address.host)) return refuse(context, `'${text}' has no IP address: write one and a port, for example 127.0.0.1:${rule.defaultPort === 0 ? 7946 : (rule.defaultPort ?? 7946)}; names are only looked up for addresses to connect to`);
      if (rule.name === true && !isIp(address.host) && !hostPattern.test(address.host)) return refuse(context, `'${text}' is no address: write HOST:PORT with an IP address or a host name, for example 127.0.0.1:${rule.defaultPort ?? 7946}`);
      return address;
    } catch (error) {
      return refuse(context, messageOf(error));
    }
  }).describe('an address HOST:PORT');
}

const hostPattern = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})$/;

function isIp(host: string): boolean {
  return (host.includes(':') && /^[0-9a-f:.]+(%\w+)?$/i.test(host)) || (/^\d+(\.\d+){3}$/.test(host) && host.split('.').every((part) => Number(part) <= 255));
}

const units: Readonly<Record<string, number>> = { '': 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30, TIB: 2 ** 40, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Bytes, as a number or as text such as `512MiB`. */
export const sizeValue: z.ZodType<number, number | string> = z.union([z.number(), z.string()]).transform((value, context) => {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(String(value).trim());
  const unit = units[(match?.[2] ?? '').toUpperCase()];
  const bytes = match === null || unit === undefined ? Number.NaN : Math.floor(Number(match[1]) * unit);
  if (!Number.isSafeInteger(bytes) || bytes < 1) return refuse(context, `'${value}' is no size: write bytes, or a number with B, KiB, MiB, GiB, KB, MB or GB, for example 512MiB`);
  return bytes;
}).describe('a size such as 512MiB');

/** An encryption key: 16, 24 or 32 bytes in base64, as `troupe keygen` and `serf keygen` print them. */
export const keyValue: z.ZodType<Uint8Array, string> = z.string().transform((text, context) => {
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
  } catch {
    return refuse(context, 'the key is not base64: make one with `troupe keygen`');
  }
  if (![16, 24, 32].includes(bytes.length)) return refuse(context, `the key has ${bytes.length} bytes; it must have 16, 24 or 32: make one with \`troupe keygen\``);
  return bytes;
}).describe('a key in base64');

/** A whole number within bounds. */
export function whole(minimum: number, maximum: number, what: string = 'a whole number'): z.ZodType<number, number> {
  return z.int().min(minimum).max(maximum).describe(`${what} from ${minimum} to ${maximum}`);
}

/** A time in milliseconds, at most a week. */
export function milliseconds(minimum: number): z.ZodType<number, number> {
  return whole(minimum, 7 * 24 * 3_600_000, 'milliseconds');
}

export function oneOf<const T extends string>(...values: readonly [T, ...T[]]): z.ZodEnum<{ [K in T]: K }> {
  return z.enum(values).describe(values.length === 1 ? values[0] : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`) as z.ZodEnum<{ [K in T]: K }>;
}

export const text: z.ZodType<string, string> = z.string().describe('text');
export const yesOrNo: z.ZodType<boolean, boolean> = z.boolean().describe('true or false');
