import type { Node } from '../../node/node-types.ts';
import type { NodeParts } from '../../node/node-parts.ts';
import type { SimProcess } from '../sim-host.ts';

/** A node whose process lives, as checkers see it. */
export interface RunningNode {
  readonly name: string;
  readonly node: Node;
  readonly process: SimProcess;
  readonly parts: NodeParts;
}

/** Takes what a checker found. The first finding ends the run. */
export type Report = (checker: string, detail: string) => void;

/** Looks at the living nodes after every event. */
export interface Checker {
  afterEvent(now: number, nodes: readonly RunningNode[]): void;
}
