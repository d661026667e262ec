import type { Address } from '../ports/address.ts';

/**
 * What an option may be. Tables of these drive the check of the config file, its error messages and
 * docs/discovery.md. Nothing outside is asked here: a rule is plain data.
 */
export interface OptionRule<out T = unknown> {
  readonly kind: OptionKind;
  /** What it does, in one sentence. */
  readonly help: string;
  /** Used when it is not written. `undefined` together with `required` unset: it stays undefined. */
  readonly fallback: T | undefined;
  readonly required: boolean;
  /** In words, where the default is no plain value (`the cluster's key`). */
  readonly fallbackText: string | undefined;
}

export type OptionKind =
  | { readonly type: 'milliseconds' | 'whole'; readonly min: number; readonly max: number }
  | { readonly type: 'choice'; readonly values: readonly string[] }
  | { readonly type: 'addresses' | 'servers' | 'text' | 'boolean' | 'path' | 'url' | 'urls' | 'keys' | 'command' | 'labels' | 'any' };

/** One rule for each option. */
export type OptionRules<O> = { readonly [K in keyof O]-?: OptionRule<O[K]> };

interface Extra<T> {
  readonly help: string;
  readonly fallback?: T;
  readonly fallbackText?: string;
}

const weekMs = 7 * 24 * 3_600_000;

function rule<T>(kind: OptionKind, { help, fallback, fallbackText }: Extra<T>, required: boolean): OptionRule<T> {
  return { kind, help, fallback, required, fallbackText };
}

/** A time in ms with a default. */
export function milliseconds(fallback: number, help: string, min: number = 10): OptionRule<number> {
  return rule({ type: 'milliseconds', min, max: weekMs }, { help, fallback }, false);
}

export function whole(fallback: number, min: number, max: number, help: string): OptionRule<number> {
  return rule({ type: 'whole', min, max }, { help, fallback }, false);
}

export function choice<const T extends string>(values: readonly T[], fallback: T, help: string): OptionRule<T> {
  return rule({ type: 'choice', values }, { help, fallback }, false);
}

export function boolean(fallback: boolean, help: string): OptionRule<boolean> {
  return rule({ type: 'boolean' }, { help, fallback }, false);
}

/** Text that must be given. */
export function text(help: string): OptionRule<string> {
  return rule({ type: 'text' }, { help }, true);
}

export function textOr(fallback: string, help: string): OptionRule<string> {
  return rule({ type: 'text' }, { help, fallback }, false);
}

/** Text that may be left out; `fallbackText` says what happens then. */
export function optionalText(help: string, fallbackText: string = 'none'): OptionRule<string | undefined> {
  return rule<string | undefined>({ type: 'text' }, { help, fallbackText }, false);
}

/** `{ key: value }`, both text. */
export function labels(help: string): OptionRule<Readonly<Record<string, string>>> {
  return rule<Readonly<Record<string, string>>>({ type: 'labels' }, { help, fallback: {}, fallbackText: 'none' }, false);
}

/** Gossip addresses; the port may be left out. */
export function addresses(help: string): OptionRule<readonly Address[]> {
  return rule<readonly Address[]>({ type: 'addresses' }, { help }, true);
}

/** Addresses of name servers; port 53 unless written. */
export function nameServers(): OptionRule<readonly Address[]> {
  return rule<readonly Address[]>({ type: 'servers' }, { help: 'name servers to ask, `IP[:PORT]`', fallback: [], fallbackText: "the system's" }, false);
}

/** A file or directory; relative paths count from the config file. */
export function path(help: string): OptionRule<string> {
  return rule({ type: 'path' }, { help }, true);
}

export function optionalPath(help: string, fallbackText: string): OptionRule<string | undefined> {
  return rule<string | undefined>({ type: 'path' }, { help, fallbackText }, false);
}

export function url(fallback: string | undefined, help: string): OptionRule<string> {
  return rule<string>({ type: 'url' }, fallback === undefined ? { help } : { help, fallback }, fallback === undefined);
}

export function urls(fallback: string, help: string): OptionRule<readonly string[]> {
  return rule<readonly string[]>({ type: 'urls' }, { help, fallback: [fallback], fallbackText: fallback }, false);
}

/** Keys in base64, of 16, 24 or 32 bytes. */
export function keys(help: string, fallbackText: string): OptionRule<readonly Uint8Array[] | undefined> {
  return rule<readonly Uint8Array[] | undefined>({ type: 'keys' }, { help, fallbackText }, false);
}

/** A program and its arguments. */
export function command(help: string): OptionRule<readonly string[]> {
  return rule<readonly string[]>({ type: 'command' }, { help }, true);
}

/** Whatever a program hands to a strategy of its own: a client, a function. Not for config files. */
export function anything<T>(help: string): OptionRule<T> {
  return rule<T>({ type: 'any' }, { help }, true);
}
