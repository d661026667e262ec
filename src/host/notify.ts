import { execFile } from 'node:child_process';
import type { Log } from '../ports/log.ts';

export type ServiceState = 'ready' | 'stopping' | 'reloading';

/**
 * Tells systemd how the service fares (sd_notify), when it asked for that by NOTIFY_SOCKET. Node has no unix datagram
 * sockets, so systemd's own `systemd-notify` speaks for us: the unit needs `NotifyAccess=all`, as the message comes
 * from a child. Never fails: what goes wrong is logged.
 */
export function notifyService(state: ServiceState, log: Log, status?: string): Promise<void> {
  if (process.env['NOTIFY_SOCKET'] === undefined) return Promise.resolve();
  const flags = { ready: ['--ready'], stopping: ['STOPPING=1'], reloading: ['RELOADING=1'] }[state];
  const parameters = [...flags, ...(status === undefined ? [] : [`--status=${status}`]), `--pid=${process.pid}`];
  return new Promise((resolve) => {
    execFile('systemd-notify', parameters, { timeout: 5000 }, (error) => {
      if (error) log.warn('systemd asked to be notified, but systemd-notify failed: use Type=exec in the unit, or install it', { state, error: error.message });
      resolve();
    });
  });
}
