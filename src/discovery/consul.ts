import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { ConsulRegistration } from './consul-registration.ts';
import { consulRequest } from './consul-request.ts';
import type { ConsulOptions, ConsulPorts } from './consul-request.ts';
import { fetchWithHeaders } from './fetch-json.ts';
import { parseHost } from './host-lines.ts';
import { isRecord, member, textAt } from './json.ts';
import { answerBytesMax } from './limits.ts';
import { boolean, milliseconds, optionalPath, optionalText, text, url, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

/**
 * Looks are Consul's blocking queries: the agent holds its answer back until something has changed, at most for `pollMs`.
 * So a change is known at once, for as many requests as polling takes.
 */
export const consul: Strategy = defineStrategy<ConsulOptions, keyof ConsulPorts>({
  name: 'consul',
  summary: 'The instances of a service that Consul knows; nodes can register themselves.',
  ports: ['clock', 'random', 'http', 'files', 'self', 'log'],
  options: {
    service: text("the service's name"),
    register: boolean(false, 'register this node as an instance of the service, with a health check, and take it away when it stops'),
    ttlSeconds: whole(15, 2, 3600, 'with `register`: the check fails when the node has not been heard for so long (seconds)'),
    passing: boolean(false, 'take only instances whose health checks pass (`/v1/health/service`) instead of all (`/v1/catalog/service`)'),
    tag: optionalText('take only instances with this tag; with `register` this node has it too', 'all'),
    datacenter: optionalText('where to look', "the agent's own"),
    port: whole(0, 0, 65_535, 'gossip port of the instances; 0: the port they are registered with'),
    server: url('http://127.0.0.1:8500', 'the Consul agent'),
    token: optionalPath('file with the ACL token', 'none'),
    ca: optionalPath("file with the agent's certificate authority", "the system's"),
    pollMs: milliseconds(5000, 'the agent may hold an answer back for so long while nothing changes; after a failure, time until the next look'),
    timeoutMs: milliseconds(4000, 'a look that takes longer than this and `pollMs` together has failed'),
  },
  contradiction: ({ register, datacenter }) => (register && datacenter !== undefined ? { option: 'datacenter', message: "cannot stand beside register: a node registers with its own agent, in that agent's datacenter" } : undefined),
  start(options, ports, sink) {
    const watch = new ConsulWatch(options, ports);
    // The agent adds up to a sixteenth, so that not all answers fall due together.
    const timing = { pollMs: options.pollMs, timeoutMs: Math.ceil(options.pollMs * (1 + 1 / 16)) + options.timeoutMs, pauseMs: () => (watch.holdsBack ? changePauseMs : options.pollMs) };
    const polling = startPolling(timing, ports, sink, (signal) => watch.look(signal));
    const registration = options.register ? new ConsulRegistration(options, ports) : undefined;
    return {
      stop: async () => {
        await Promise.all([polling.stop(), registration?.stop()]);
      },
    };
  },
});

/** Shortest time between an answer and the next question (ms): a service that changes all the time is not asked all the time. */
const changePauseMs = 200;

class ConsulWatch {
  readonly #options: ConsulOptions;
  readonly #ports: ConsulPorts;
  /** What the last answer was as of; 0: ask without waiting. */
  #index = 0;

  constructor(options: ConsulOptions, ports: ConsulPorts) {
    this.#options = options;
    this.#ports = ports;
  }

  get holdsBack(): boolean {
    return this.#index > 0;
  }

  async look(signal: AbortSignal): Promise<Address[]> {
    const { tag, datacenter, passing, service, pollMs, port } = this.#options;
    const index = this.#index;
    // Whatever goes wrong: the next question is answered at once.
    this.#index = 0;
    const { base, headers, ca } = await consulRequest(this.#options, this.#ports);
    const query = new URLSearchParams({
      ...(tag === undefined ? {} : { tag }), ...(datacenter === undefined ? {} : { dc: datacenter }), ...(passing ? { passing: 'true' } : {}),
      ...(index === 0 ? {} : { index: String(index), wait: `${pollMs}ms` }),
    }).toString();
    const { content: list, headers: said } = await fetchWithHeaders(this.#ports.http, 'Consul', {
      url: `${base}/v1/${passing ? 'health' : 'catalog'}/service/${encodeURIComponent(service)}${query === '' ? '' : `?${query}`}`,
      headers, ...(ca === undefined ? {} : { ca }), bytesMax: answerBytesMax, signal,
    });
    if (!Array.isArray(list)) throw new TroupeError('DISCOVERY_ANSWER', 'the answer of Consul is no list', {});
    const hosts = list.map((each) => instanceAddress(each, passing, port));
    const next = Number(said['x-consul-index'] ?? 0);
    // An index that goes back means that the agent's state was restored: begin anew (as Consul's documentation asks).
    this.#index = Number.isSafeInteger(next) && next > 0 && next >= index ? next : 0;
    return hosts;
  }
}

/** The service's own address if it has one, else that of its host. */
function instanceAddress(instance: unknown, passing: boolean, fixedPort: number): Address {
  if (!isRecord(instance)) throw new TroupeError('DISCOVERY_ANSWER', 'an instance in the answer of Consul is no object', {});
  const host = passing
    ? (textAt(member(instance, 'Service'), 'Address') ?? textAt(member(instance, 'Node'), 'Address'))
    : (textAt(instance, 'ServiceAddress') ?? textAt(instance, 'Address'));
  const port = fixedPort === 0 ? (passing ? member(member(instance, 'Service'), 'Port') : member(instance, 'ServicePort')) : fixedPort;
  if (host === undefined || typeof port !== 'number' || !Number.isInteger(port)) throw new TroupeError('DISCOVERY_ANSWER', 'an instance in the answer of Consul has no address or no port: register it with one, or set `port`', {});
  return parseHost(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`, 0, 'instance');
}
