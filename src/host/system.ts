import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import type { ProcessFacts, System } from '../ports/system.ts';

/** How many cores this process may use. */
export function coreCount(): number {
  return os.availableParallelism();
}

/** Files and connections that this process may have open at a time; undefined where the system does not tell. Node.js has raised it as far as it may. */
export function openFilesMax(): number | undefined {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return limit === undefined ? undefined : Number(limit);
  } catch {
    return undefined;
  }
}

export function hostName(): string {
  return os.hostname();
}

export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly host: string;
  readonly v6: boolean;
  readonly loopback: boolean;
  /** For IPv6 link-local addresses, which mean nothing without it. */
  readonly linkLocal: boolean;
}

/** All addresses of this host, those of one interface if `interfaceName` is given. */
export function interfaceAddresses(interfaceName?: string): readonly InterfaceAddress[] {
  return Object.entries(os.networkInterfaces())
    .filter(([name]) => interfaceName === undefined || name === interfaceName)
    .flatMap(([name, addresses]) => (addresses ?? []).map((each) => ({
      interfaceName: name,
      host: each.address,
      v6: each.family === 'IPv6',
      loopback: each.internal,
      linkLocal: each.family === 'IPv6' ? each.address.startsWith('fe80:') : each.address.startsWith('169.254.'),
    })));
}

/**
 * The address that others most likely reach this host by, for those that bind to 0.0.0.0 and advertise nothing:
 * a private IPv4 address first, as Serf does, then any other IPv4, then IPv6, then loopback.
 */
export function defaultAddress(addresses: readonly InterfaceAddress[] = interfaceAddresses()): string {
  const usable = addresses.filter((each) => !each.loopback && !each.linkLocal);
  const best = usable.find((each) => !each.v6 && isPrivate(each.host)) ?? usable.find((each) => !each.v6) ?? usable[0];
  return best?.host ?? '127.0.0.1';
}

/** RFC 1918 and RFC 6598. */
export function isPrivate(host: string): boolean {
  const [a = -1, b = -1] = host.split('.').map(Number);
  return a === 10 || (a === 172 && b >= 16 && b <= 31) || (a === 192 && b === 168) || (a === 100 && b >= 64 && b <= 127);
}

/** Facts about processes: of this one from Node.js, of others from /proc, where there is one. */
export const hostSystem: System = {
  pid: process.pid,
  process(pid) {
    return pid === process.pid ? ownFacts() : readProcess(pid);
  },
  children: readChildren,
};

/** Each thread has a list of those that it has started. */
function readChildren(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`).slice(0, threadsMax);
    return threads.flatMap((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'latin1').split(' ').filter((word) => word.trim() !== '').map(Number));
  } catch {
    return [];
  }
}

const threadsMax = 256;

const commandLengthMax = 200;

function ownFacts(): ProcessFacts {
  const { user, system } = process.cpuUsage();
  return { residentBytes: process.memoryUsage.rss(), cpuMs: (user + system) / 1000, uptimeMs: process.uptime() * 1000, command: [process.execPath, ...process.argv.slice(1)].join(' ').slice(0, commandLengthMax), state: 'running' };
}

/** Linux counts processor time in hundredths of a second for programs, whatever the kernel's own tick is. */
const ticksPerSecond = 100;

/** Fields of proc_pid_stat(5). */
const field = { state: 3, userTicks: 14, systemTicks: 15, startTicks: 22, residentPages: 24 } as const;
const pageBytes = 4096;

/** proc_pid_stat(5): stopped by a signal, or by a debugger. */
const stateWords: Readonly<Record<string, ProcessFacts['state']>> = { R: 'running', D: 'waiting for a disk', T: 'stopped', t: 'stopped' };

function readProcess(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in brackets, which may hold anything, brackets among it.
    const rest = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const at = (number: number): string => rest[number - 3] ?? '';
    if (at(field.state) === 'Z' || at(field.state) === 'X') return undefined;
    const numberAt = (number: number): number => Number(at(number));
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const residentKib = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
    return {
      residentBytes: residentKib === undefined ? numberAt(field.residentPages) * pageBytes : Number(residentKib) * 1024,
      cpuMs: (numberAt(field.userTicks) + numberAt(field.systemTicks)) * (1000 / ticksPerSecond),
      uptimeMs: Math.max(0, os.uptime() * 1000 - numberAt(field.startTicks) * (1000 / ticksPerSecond)),
      command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim().slice(0, commandLengthMax),
      state: stateWords[at(field.state)] ?? 'sleeping',
    };
  } catch {
    return undefined;
  }
}
