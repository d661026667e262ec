import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import type { Log } from '../../src/ports/log.ts';
import { silentLog } from '../../src/ports/log.ts';
import { notifyService } from '../../src/host/notify.ts';

const warnings: string[] = [];
const log: Log = { ...silentLog, warn: (message) => void warnings.push(message) };
afterEach(() => {
  delete process.env['NOTIFY_SOCKET'];
  warnings.length = 0;
});

it('notifyService() does nothing where systemd did not ask', async () => {
  await notifyService('ready', log);
  expect(warnings).toEqual([]);
});

it('notifyService() warns and goes on when nobody can be told', async () => {
  process.env['NOTIFY_SOCKET'] = join(tmpdir(), 'no-such-socket');
  await notifyService('ready', log);
  expect(warnings).toHaveLength(1);
});

// The listener is Python's: Node has no unix datagram sockets, which is why systemd-notify is used at all.
const canListen = ['systemd-notify', 'python3'].every((program) => spawnSync(program, ['--version']).status === 0);
it.runIf(canListen)('notifyService() tells systemd of ready and stopping', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-notify-'));
  const path = join(directory, 'socket');
  const program = `
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(${JSON.stringify(path)})
print('bound', flush=True)
while True: print(s.recv(4096).decode().replace(chr(10), ' '), flush=True)`;
  const listener = spawn('python3', ['-c', program]);
  try {
    let heard = '';
    listener.stdout.on('data', (bytes: Buffer) => (heard += bytes.toString()));
    await expect.poll(() => heard, { timeout: 5000 }).toContain('bound');
    process.env['NOTIFY_SOCKET'] = path;
    await notifyService('ready', log, 'serving');
    await expect.poll(() => heard, { timeout: 3000 }).toContain('READY=1');
    expect(heard).toContain('STATUS=serving');
    expect(heard).toContain(`MAINPID=${process.pid}`);
    await notifyService('stopping', log);
    await expect.poll(() => heard, { timeout: 3000 }).toContain('STOPPING=1');
    expect(warnings).toEqual([]);
  } finally {
    listener.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
});
