import { startHttp } from '../frontends/http/server.ts';
import { NodeHttpServer } from '../host/http-server.ts';
import type { HttpConfig } from '../node/config.ts';
import type { Node } from '../node/node-types.ts';
import type { HttpListener } from '../ports/http.ts';
import type { Log } from '../ports/log.ts';
import { backendOf } from './http-backend.ts';
import type { BackendOptions } from './http-backend.ts';

/** The HTTP API of a node of this host. In a file of its own, as what it needs is only loaded where HTTP is served, after gossip has begun. */
export async function startHttpSide(node: Node, config: HttpConfig, options: BackendOptions, log: Log): Promise<HttpListener> {
  return await startHttp({ ...config, server: new NodeHttpServer(log), backend: backendOf(node, options), gossipPort: node.addresses.gossip.port });
}
