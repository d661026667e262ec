import { Reply } from './scripted-server.ts';
import type { Asked } from './scripted-server.ts';

interface Instance {
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly tags: readonly string[];
  /** Of its TTL check, and how long it lasts (ms); none: a service without a check. */
  readonly ttlMs: number | undefined;
  passingUntil: number;
}

/** The node that the instances are on, where they have no address of their own. */
const nodeAddress = '127.0.0.88';

/**
 * A Consul agent as its HTTP API documentation has it: registering services with TTL checks, the catalog and health
 * endpoints with their filters, blocking queries with `X-Consul-Index`, and ACL tokens. Its answers have the fields of
 * the documentation's samples.
 */
export class ConsulAgent {
  readonly instances: Map<string, Instance> = new Map();
  /** Asked for in `X-Consul-Token`. */
  token: string | undefined;
  index = 100;
  /** Questions that wait for a change at the moment. */
  waiting = 0;
  readonly #changed = new Set<() => void>();

  /** These, and besides them only those that have registered themselves. */
  set(hosts: readonly { readonly host: string; readonly port: number }[]): void {
    for (const id of this.instances.keys()) if (id.startsWith('set-')) this.instances.delete(id);
    hosts.forEach(({ host, port }, i) => this.instances.set(`set-${i}`, { id: `set-${i}`, name: 'troupe', address: host, port, tags: [], ttlMs: undefined, passingUntil: Infinity }));
    this.change();
  }

  change(): void {
    this.index++;
    for (const wake of this.#changed) wake();
  }

  async answer({ method, url, headers, body }: Asked): Promise<unknown> {
    if (this.token !== undefined && headers['x-consul-token'] !== this.token) return new Reply('Permission denied', {}, 403);
    const [, , area, what, verb, ...rest] = url.pathname.split('/');
    const name = decodeURIComponent(rest.join('/') || (verb ?? ''));
    if (method === 'PUT' && area === 'agent') return this.#put(`${what}/${verb}`, name, body);
    if (method === 'GET' && what === 'service' && (area === 'catalog' || area === 'health')) {
      await this.#block(url.searchParams);
      return new Reply(this.#list(area, name, url.searchParams), { 'X-Consul-Index': String(this.index), 'X-Consul-KnownLeader': 'true', 'X-Consul-LastContact': '0' });
    }
    return new Reply('404 page not found', {}, 404);
  }

  #put(what: string, name: string, body: string): Reply {
    switch (what) {
      case 'service/register': {
        const { ID, Name, Address, Port, Tags, Check } = JSON.parse(body) as { ID: string; Name: string; Address: string; Port: number; Tags: string[]; Check: { TTL: string; Status: string; DeregisterCriticalServiceAfter: string } };
        if (!/^\d+s$/.test(Check.TTL) || !/^\d+m$/.test(Check.DeregisterCriticalServiceAfter)) return new Reply('Request decode failed', {}, 400);
        const ttlMs = Number.parseInt(Check.TTL, 10) * 1000;
        this.instances.set(ID, { id: ID, name: Name, address: Address, port: Port, tags: Tags, ttlMs, passingUntil: Check.Status === 'passing' ? Date.now() + ttlMs : 0 });
        break;
      }
      case 'service/deregister':
        if (!this.instances.delete(name)) return new Reply(`Unknown service ID "${name}". Ensure that the service ID is passed, not the service name.`, {}, 404);
        break;
      case 'check/pass': {
        const found = this.instances.get(name.replace(/^service:/, ''));
        if (found?.ttlMs === undefined) return new Reply(`Unknown check ID "${name}". Ensure that the check ID is passed, not the check name.`, {}, 404);
        const wasPassing = found.passingUntil > Date.now();
        found.passingUntil = Date.now() + found.ttlMs;
        if (wasPassing) return new Reply(undefined);
        break;
      }
      default: return new Reply('404 page not found', {}, 404);
    }
    this.change();
    return new Reply(undefined);
  }

  async #block(query: URLSearchParams): Promise<void> {
    const index = Number(query.get('index') ?? 0);
    if (index === 0 || index < this.index) return;
    const waitMs = /^(\d+)(ms|s|m)$/.exec(query.get('wait') ?? '5m');
    if (waitMs === null) throw Object.assign(new Error('Invalid wait time'), { status: 400 });
    const unit = { ms: 1, s: 1000, m: 60_000 }[waitMs[2] as 'ms' | 's' | 'm'];
    this.waiting++;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        this.#changed.delete(end);
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(end, Number(waitMs[1]) * unit * (1 + 1 / 16));
      this.#changed.add(end);
    });
    this.waiting--;
  }

  #list(area: 'catalog' | 'health', name: string, query: URLSearchParams): unknown[] {
    const tag = query.get('tag');
    const isPassing = (each: Instance): boolean => each.passingUntil > Date.now();
    const found = [...this.instances.values()].filter((each) => each.name === name && (tag === null || each.tags.includes(tag)) && (query.get('passing') === null || isPassing(each)));
    // Where a service has no address of its own, its host's counts.
    const own = ({ address }: Instance, i: number): boolean => i % 2 === 1 || address === '';
    return found.map((each, i) => (area === 'health'
      ? {
          Node: { ID: '40e4a748-2192-161a-0510-9bf59fe950b5', Node: `n${i}`, Address: own(each, i) ? nodeAddress : each.address, Datacenter: 'dc1', TaggedAddresses: {}, Meta: {} },
          Service: { ID: each.id, Service: name, Tags: each.tags, Address: own(each, i) ? each.address : '', Meta: {}, Port: each.port, Weights: { Passing: 10, Warning: 1 }, Namespace: 'default' },
          Checks: [{ Node: `n${i}`, CheckID: `service:${each.id}`, Name: `Service '${name}' check`, Status: isPassing(each) ? 'passing' : 'critical', Notes: '', Output: '', ServiceID: each.id, ServiceName: name, ServiceTags: each.tags, Namespace: 'default' }],
        }
      : {
          ID: '40e4a748-2192-161a-0510-9bf59fe950b5', Node: `n${i}`, Address: own(each, i) ? nodeAddress : each.address, Datacenter: 'dc1', TaggedAddresses: {}, NodeMeta: {}, CreateIndex: 51, ModifyIndex: 51,
          ServiceAddress: own(each, i) ? each.address : '', ServiceEnableTagOverride: false, ServiceID: each.id, ServiceName: name, ServicePort: each.port, ServiceMeta: {}, ServiceTaggedAddresses: {}, ServiceTags: each.tags, Namespace: 'default',
        }));
  }
}
