import { Hono } from 'hono';
import type { Context } from 'hono';
import * as z from 'zod';
import { TroupeError } from '../../base/errors.ts';
import { formatAddress, parseAddress } from '../../ports/address.ts';
import type { AppAction } from '../../core/control/commands.ts';
import { refuseWebPages, requireToken } from './access.ts';
import type { HttpBackend, HttpMember } from './backend.ts';
import { answerError, errorResponse } from './errors.ts';
import { addKeyValueRoutes } from './kv.ts';

export interface HttpApiOptions {
  /** Asked for in every request if given. */
  readonly token?: string;
  /** Only reachable from this host: then requests that a web page could have made are refused. */
  readonly loopback: boolean;
  /** Where gossip listens when a join names no port. */
  readonly gossipPort: number;
}

/** More bytes than this in a JSON body are refused; values have a limit of their own. */
const jsonBytesMax = 64 * 1024;

/** The routes under /v1; docs/http.md describes them. */
export function createHttpApi(backend: HttpBackend, options: HttpApiOptions): (request: Request) => Promise<Response> {
  const app = new Hono();
  app.use(options.token === undefined ? refuseWebPages(options.loopback) : requireToken(options.token));
  app.onError((error) => answerError(error));
  app.notFound((context) => errorResponse('NOT_FOUND', `there is no ${context.req.method} ${context.req.path} here; docs/http.md lists what there is`, 404));

  app.get('/v1/version', () => Response.json({ name: backend.name, version: backend.version }));
  app.get('/v1/health', () => Response.json({ ready: backend.isReady() }, { status: backend.isReady() ? 200 : 503 }));
  addMembershipRoutes(app, backend, options);
  addClusterRoutes(app, backend);
  addAppRoutes(app, backend);
  addKeyValueRoutes(app, backend);
  return async (request) => app.fetch(request);
}

function addMembershipRoutes(app: Hono, backend: HttpBackend, options: HttpApiOptions): void {
  app.get('/v1/members', () => Response.json({ members: backend.members().map(memberJson) }));
  app.post('/v1/join', async (context) => {
    const { addresses } = await jsonBody(context, z.strictObject({ addresses: z.array(z.string()).min(1).max(256) }));
    const result = await backend.join(addresses.map((text) => parseAddress(text, options.gossipPort)));
    return Response.json({ joined: result.joined, errors: result.errors.map(({ address, code, message }) => ({ address: formatAddress(address), code, message })) });
  });
  app.post('/v1/leave', async () => {
    await backend.leave();
    return Response.json({ left: true });
  });
  app.post('/v1/force-leave', async (context) => {
    const { name, prune } = await jsonBody(context, z.strictObject({ name: z.string().min(1), prune: z.boolean().default(false) }));
    if (!backend.members().some((member) => member.name === name)) return errorResponse('NO_SUCH_MEMBER', `there is no member '${name}'; \`troupe members\` lists them`);
    await backend.forceLeave(name, prune);
    return Response.json({ done: true });
  });
}

/** Serf's form of a member (its `members -format json`). */
function memberJson(member: HttpMember): object {
  return {
    name: member.name,
    addr: formatAddress(member.address),
    port: member.address.port,
    tags: member.tags,
    status: member.status,
    protocol: { max: member.delegate.max, min: member.delegate.min, version: member.delegate.current },
  };
}

function addClusterRoutes(app: Hono, backend: HttpBackend): void {
  app.get('/v1/status', () => Response.json(backend.status()));
  app.get('/v1/discovery', () => Response.json({ topologies: backend.discovery() }));
  app.get('/v1/ps', async (context) => Response.json(await backend.ps(context.req.query('node'))));
  app.get('/v1/nodes', () => Response.json({ nodes: backend.status().nodes }));
  app.get('/v1/voters', () => {
    const { leader, term, voters, quorum } = backend.status();
    return Response.json({ leader, term, voters, quorum });
  });
  app.post('/v1/voters/transfer', async (context) => {
    const { to } = await jsonBody(context, z.strictObject({ to: z.string().optional() }));
    await backend.transferLeadership(to);
    return Response.json({ done: true });
  });
  app.get('/v1/partitions', (context) => {
    const keyspace = context.req.query('keyspace');
    return Response.json({ partitions: backend.partitions().filter((each) => keyspace === undefined || each.keyspace === keyspace) });
  });
  app.post('/v1/partitions/accept-loss', async (context) => {
    const { keyspace, partitions } = await jsonBody(context, z.strictObject({ keyspace: z.string(), partitions: z.array(z.int().min(0)).max(4096).optional() }));
    return Response.json({ accepted: await backend.acceptLoss(keyspace, partitions) });
  });
  app.post('/v1/nodes/:name/drain', async (context) => {
    const { on } = await jsonBody(context, z.strictObject({ on: z.boolean().default(true) }));
    await backend.drainNode(context.req.param('name'), on);
    return Response.json({ done: true });
  });
  app.delete('/v1/nodes/:name', async (context) => {
    await backend.forgetNode(context.req.param('name'));
    return Response.json({ done: true });
  });
  app.post('/v1/maintenance', async (context) => {
    const { on } = await jsonBody(context, z.strictObject({ on: z.boolean() }));
    await backend.maintenance(on);
    return Response.json({ done: true });
  });
}

type OperatorAction = AppAction | { readonly type: 'move'; readonly to: string };

/** What an operator may ask of an app; the rest of AppAction is for runners only. */
const appActions: Readonly<Record<string, (node: string | undefined, here: string) => OperatorAction>> = {
  start: () => ({ type: 'want', wanted: 'started' }),
  stop: () => ({ type: 'want', wanted: 'stopped' }),
  takeover: (node, here) => ({ type: 'move', to: node ?? here }),
  move: (node) => ({ type: 'move', to: needed(node) }),
  permit: (node) => ({ type: 'permit', node: needed(node), allowed: true }),
  forbid: (node) => ({ type: 'permit', node: needed(node), allowed: false }),
};

function needed(node: string | undefined): string {
  if (node === undefined) throw new TroupeError('BAD_REQUEST', 'this action needs a node: send {"node": NAME}');
  return node;
}

function addAppRoutes(app: Hono, backend: HttpBackend): void {
  app.get('/v1/apps', () => Response.json({ apps: backend.status().apps }));
  app.post('/v1/apps/:name/:action', async (context) => {
    const { name, action } = context.req.param();
    if (!Object.hasOwn(appActions, action)) return errorResponse('BAD_REQUEST', `'${action}' is nothing to do with an app; there is ${Object.keys(appActions).join(', ')}`);
    const { node } = await jsonBody(context, z.strictObject({ node: z.string().min(1).optional() }));
    await backend.app(name, (appActions[action] as (node: string | undefined, here: string) => OperatorAction)(node, backend.name));
    return Response.json({ done: true });
  });
}

/** The body as JSON of the given form; no body is `{}`. @throws TroupeError BAD_REQUEST, TOO_LARGE */
async function jsonBody<T>(context: Context, schema: z.ZodType<T, unknown>): Promise<T> {
  const text = await context.req.text();
  if (text.length > jsonBytesMax) throw new TroupeError('TOO_LARGE', `the body has ${text.length} characters; at most ${jsonBytesMax} are read`);
  let value: unknown;
  try {
    value = text === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw new TroupeError('BAD_REQUEST', 'the body is not JSON', {}, error);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new TroupeError('BAD_REQUEST', parsed.error.issues.map((issue) => `${issue.path.length === 0 ? 'body' : issue.path.join('.')}: ${issue.message}`).join('; '));
}
