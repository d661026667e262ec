import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCodeOf } from './socket-errors.ts';

/**
 * mkdir -p. Not Node's own `recursive`, which never returns where an existing parent answers ENOENT, as /proc does
 * (Node 20.20).
 */
export function makeDirectory(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || dirname(path) === path) throw error;
    makeDirectory(dirname(path));
    try {
      mkdirSync(path);
    } catch (again) {
      if (systemCodeOf(again) !== 'EEXIST') throw again;
    }
  }
}
