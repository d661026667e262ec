import type { ChildProcess as NodeChildProcess } from 'node:child_process';
import type { FromWarden, ToWarden } from './messages.ts';

/**
 * The warden: a process of its own between the agent and one command. It kills the command's whole process group
 * - when the agent dies: the channel to it closes, whatever killed it;
 * - when the lease runs out: an agent that hangs (SIGSTOP, a blocked loop) cannot renew it;
 * - when told to, SIGTERM first.
 * It reports the end only once the group is empty, so that no part of the old instance overlaps the next.
 *
 * The agent runs this function's own text by `node -e`, so it must use nothing from outside itself: that way it is
 * there wherever the library is, and starts without reading a file. (No `require`: bundlers replace it.)
 */
export function wardenProgram(): void {
  const { spawn } = process.getBuiltinModule('node:child_process');
  const fs = process.getBuiltinModule('node:fs');
  const pollMs = 5;
  /** SIGKILL empties a group in well under this; after it, only zombies that nobody reaps can be what is left. */
  const zombieCheckAfterMs = 50;

  let child: NodeChildProcess | undefined;
  let group = 0;
  let leaseUntil = 0;
  let leaseTimer: NodeJS.Timeout | undefined;
  let exit: { code: number | null; signal: string | null } | undefined;
  let killAt = Infinity;
  let killedAt = Infinity;
  let polling = false;
  let agentGone = false;

  const now = (): number => Number(process.hrtime.bigint()) / 1e6;
  const leave = (): void => process.exit(0);
  const report = (message: FromWarden, then: () => void = () => {}): void => {
    if (agentGone || process.send === undefined) then();
    else process.send(message, () => then());
  };

  function signalGroup(signal: NodeJS.Signals): void {
    if (signal === 'SIGKILL') killedAt = Math.min(killedAt, now());
    if (group === 0) return;
    try {
      process.kill(-group, signal);
    } catch {
      // Empty already: the next poll sees it.
    }
  }

  function watchGroup(): void {
    if (polling || group === 0) return;
    polling = true;
    const poll = (): void => {
      if (groupIsEmpty()) {
        if (exit === undefined) setTimeout(poll, pollMs);
        else report({ type: 'exited', code: exit.code, signal: exit.signal }, leave);
        return;
      }
      if (now() >= killAt) signalGroup('SIGKILL');
      setTimeout(poll, pollMs);
    };
    poll();
  }

  function groupIsEmpty(): boolean {
    try {
      process.kill(-group, 0);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ESRCH';
    }
    return now() - killedAt > zombieCheckAfterMs && onlyZombiesLeft();
  }

  /** Where pid 1 does not reap orphans (a container's plain command), the dead stay in the group for good. */
  function onlyZombiesLeft(): boolean {
    let pids: string[];
    try {
      pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    } catch {
      return false;
    }
    return pids.every((pid) => {
      try {
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
        const [state, , processGroup] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
        return Number(processGroup) !== group || state === 'Z' || state === 'X';
      } catch {
        return true;
      }
    });
  }

  function killNow(): void {
    killAt = 0;
    signalGroup('SIGKILL');
    watchGroup();
  }

  function armLease(): void {
    clearTimeout(leaseTimer);
    leaseTimer = setTimeout(() => {
      if (now() >= leaseUntil) killNow();
      else armLease();
    }, Math.max(1, Math.min(leaseUntil - now(), 2 ** 31 - 1)));
  }

  function start(message: Extract<ToWarden, { type: 'start' }>): void {
    process.title = message.title;
    leaseUntil = message.leaseUntil;
    const [program = '', ...parameters] = message.command;
    try {
      child = spawn(program, parameters, { cwd: message.directory, env: message.environment as NodeJS.ProcessEnv, stdio: ['inherit', 'inherit', 'inherit'], detached: true });
    } catch (error) {
      report({ type: 'failed', error: (error as Error).message }, leave);
      return;
    }
    child.on('error', (error) => {
      if (group === 0) report({ type: 'failed', error: error.message }, leave);
    });
    child.on('exit', (code, signal) => {
      exit = { code, signal };
      // The command is over. While it is being stopped, the rest of its group may use the time that is left.
      if (killAt === Infinity) killAt = 0;
      watchGroup();
    });
    if (child.pid === undefined) return;
    group = child.pid;
    report({ type: 'started', pid: group });
    armLease();
    if (agentGone) killNow();
  }

  // Signals meant for the agent's terminal or service must not take the warden away before its command.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => {});
  process.on('disconnect', () => {
    agentGone = true;
    if (group === 0 || exit !== undefined && groupIsEmpty()) leave();
    killNow();
  });
  process.on('message', (message: ToWarden) => {
    switch (message.type) {
      case 'start':
        start(message);
        break;
      case 'lease':
        leaseUntil = message.until;
        armLease();
        break;
      case 'stop':
        killAt = Math.min(killAt, now() + message.killAfterMs);
        signalGroup('SIGTERM');
        watchGroup();
        break;
      case 'kill':
        killNow();
        break;
    }
  });
}
