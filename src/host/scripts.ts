import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { messageOf } from '../base/errors.ts';
import { TailBuffer } from '../base/tail-buffer.ts';
import { ScriptWatch } from './script-watch.ts';
import type { RunningScript, ScriptExit, ScriptOptions, Scripts } from '../ports/scripts.ts';

/** What a script left behind in the background may hold its output open; after the shell has ended we wait this long (ms). */
const outputGraceMs = 250;

/** Scripts as plain children in process groups of their own, which one watch ends should this process be killed: some milliseconds each, where a warden would cost 40 ms and 22 MB. */
export class HostScripts implements Scripts {
  readonly watch: ScriptWatch = new ScriptWatch();

  run(options: ScriptOptions, onExit: (exit: ScriptExit) => void): RunningScript {
    const output = new TailBuffer(options.outputBytesMax);
    const finish = once((end: ScriptExit['end']) => onExit({ end, output: output.read(), outputBytes: output.total }));
    let child: ChildProcess;
    try {
      child = spawn('/bin/sh', ['-c', options.script], { detached: true, env: { ...process.env, ...options.environment }, stdio: ['pipe', 'pipe', 'pipe'] });
    } catch (error) {
      setImmediate(() => finish({ type: 'failed', error: messageOf(error) }));
      return { pid: undefined, terminate: () => {}, kill: () => {} };
    }
    const { pid } = child;
    if (pid !== undefined) this.watch.add(pid);
    const collect = (bytes: Buffer): void => output.write(bytes);
    child.stdout?.on('data', collect).on('error', () => {});
    child.stderr?.on('data', collect).on('error', () => {});
    // A script need not read what it is told.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input);
    child.on('error', (error) => finish({ type: 'failed', error: error.message }));
    const endOf = (code: number | null, signal: NodeJS.Signals | null): ScriptExit['end'] => (signal === null ? { type: 'exited', code: code ?? 0 } : { type: 'signalled', signal });
    child.on('exit', (code, signal) => {
      // What it has left behind in the background is not the handler any more.
      if (pid !== undefined) this.watch.remove(pid);
      const timer = setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        finish(endOf(code, signal));
      }, outputGraceMs);
      child.once('close', () => clearTimeout(timer));
    });
    child.on('close', (code, signal) => finish(endOf(code, signal)));
    return { pid: child.pid, terminate: () => signalGroup(child.pid, 'SIGTERM'), kill: () => signalGroup(child.pid, 'SIGKILL') };
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

function once<T>(run: (value: T) => void): (value: T) => void {
  let done = false;
  return (value) => {
    if (done) return;
    done = true;
    run(value);
  };
}
