import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

/**
 * The watch: one small shell for all scripts of this process. It is told which process groups run, over a pipe; when the
 * pipe ends, whatever ended this process (SIGKILL, a crash, no memory), it ends those groups: SIGTERM, a second later SIGKILL.
 */
const watchProgram = `
trap '' TERM INT HUP QUIT
groups=
while read -r what group; do
  case $what in
    +) groups="$groups $group" ;;
    -) kept=; for each in $groups; do [ "$each" = "$group" ] || kept="$kept $each"; done; groups=$kept ;;
  esac
done
for each in $groups; do kill -s TERM -- "-$each"; done
[ -z "$groups" ] || sleep 1
for each in $groups; do kill -s KILL -- "-$each"; done
`;

/** Lets no script outlive this process. Costs each script two short writes, and all together one shell of about 1 MB. */
export class ScriptWatch {
  readonly #groups = new Set<number>();
  #shell: ChildProcess | undefined;
  #closed = false;

  add(group: number): void {
    this.#groups.add(group);
    if (this.#shell === undefined) this.#start();
    else this.#say(`+ ${group}\n`);
  }

  remove(group: number): void {
    if (this.#groups.delete(group)) this.#say(`- ${group}\n`);
  }

  /** Ends the watch, not what it watches. */
  close(): void {
    this.#closed = true;
    for (const group of this.#groups) this.#say(`- ${group}\n`);
    this.#shell?.stdin?.end();
  }

  /** Lets the watch think that this process is dead; for tests. */
  abandon(): void {
    this.#shell?.stdin?.end();
    this.#shell = undefined;
    this.#groups.clear();
  }

  get pid(): number | undefined {
    return this.#shell?.pid;
  }

  #start(): void {
    if (this.#closed) return;
    // In a session of its own: what is meant for the agent's terminal or service must not take it away first.
    const shell = spawn('/bin/sh', ['-c', watchProgram, 'troupe-watch'], { detached: true, stdio: ['pipe', 'ignore', 'ignore'], env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' } });
    this.#shell = shell;
    const gone = (): void => {
      // Somebody killed it: the next script brings another, which is told of all that run.
      if (this.#shell === shell) this.#shell = undefined;
    };
    shell.on('error', gone);
    shell.on('exit', gone);
    shell.stdin?.on('error', gone);
    // A process that has nothing else to do may end.
    shell.unref();
    (shell.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    for (const group of this.#groups) this.#say(`+ ${group}\n`);
  }

  #say(line: string): void {
    if (this.#shell?.stdin?.writable === true) this.#shell.stdin.write(line);
  }
}
