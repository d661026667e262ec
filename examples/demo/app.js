/**
 * Wikipedy as the demo runs it: the very same app, but each line it prints says which instance printed it, so that a
 * line of an instance that should have ended can be told from one of its successor.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import wikipedy from '../wikipedy/wikipedy.js';

const instances = new AsyncLocalStorage();
let count = 0;
const plainLog = console.log;
console.log = (...words) => {
  const instance = instances.getStore();
  if (instance === undefined) plainLog(...words);
  else plainLog(`wikipedy ${instance.node} ${instance.epoch} ${instance.number} ${words.join(' ')}`);
};

export default {
  async start(context) {
    const instance = { node: context.node.name, epoch: context.epoch, number: (count += 1) };
    const running = await instances.run(instance, () => wikipedy.start(context));
    return {
      async stop() {
        const state = await running.stop();
        instances.run(instance, () => console.log('stopped'));
        return state;
      },
    };
  },
};
