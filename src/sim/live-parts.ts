import type { NodeParts } from '../node/node-parts.ts';

/** The parts as they are at the time of asking; those that never change are asked for once. */
export class LiveParts implements NodeParts {
  readonly #node: { inspect(): NodeParts };
  readonly instance: string;
  readonly consensus: NodeParts['consensus'];
  readonly session: NodeParts['session'];
  readonly store: NodeParts['store'];
  readonly requests: NodeParts['requests'];

  constructor(node: { inspect(): NodeParts }) {
    this.#node = node;
    const { instance, consensus, session, store, requests } = node.inspect();
    this.instance = instance;
    this.consensus = consensus;
    this.session = session;
    this.store = store;
    this.requests = requests;
  }

  get closed(): boolean {
    return this.#node.inspect().closed;
  }
}
