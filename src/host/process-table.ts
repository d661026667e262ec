import { readFileSync } from 'node:fs';
import type { ProcessTable } from '../ports/process-table.ts';
import { systemCodeOf } from './socket-errors.ts';

export const processTable: ProcessTable = {
  pid: process.pid,
  identity(pid) {
    if (!isRunning(pid)) return undefined;
    try {
      const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
      // The second field is the program's name in brackets, which may hold anything; the start time is the 22nd.
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      // A zombie runs no more, its parent has only not looked yet.
      return fields[0] === 'Z' || fields[0] === 'X' ? undefined : (fields[19] ?? '');
    } catch {
      return '';
    }
  },
};

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCodeOf(error) === 'EPERM';
  }
}
