import type { DiscoveryPorts } from './strategy.ts';

export interface ConsulOptions {
  readonly service: string;
  readonly register: boolean;
  readonly ttlSeconds: number;
  readonly passing: boolean;
  readonly tag: string | undefined;
  readonly datacenter: string | undefined;
  readonly port: number;
  readonly server: string;
  readonly token: string | undefined;
  readonly ca: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

export type ConsulPorts = Pick<DiscoveryPorts, 'clock' | 'random' | 'http' | 'files' | 'self' | 'log'>;

/** How to ask the agent: the token is read anew each time, so that it can be exchanged. */
export async function consulRequest({ server, token, ca }: ConsulOptions, { files }: Pick<DiscoveryPorts, 'files'>): Promise<{ readonly base: string; readonly headers: Record<string, string>; readonly ca?: string }> {
  const secret = token === undefined ? undefined : (await files.read(token, 4096))?.trim();
  const authority = ca === undefined ? undefined : ((await files.read(ca, 64 * 1024)) ?? '');
  return { base: server.replace(/\/$/, ''), headers: secret === undefined ? {} : { 'x-consul-token': secret }, ...(authority === undefined ? {} : { ca: authority }) };
}
