/** Whether a node that was frozen answers something old when it thaws: questions wait in its socket all the while. */
import { once } from 'node:events';
import { connect } from 'node:net';

const keyCount = 40;

/** Spread over the partitions; each is `before` when the node freezes and `after` long before it thaws. */
export const staleKeys = Array.from({ length: keyCount }, (_, index) => `frozen:${index}`);

export class FrozenQuestions {
  #socket;
  #text = '';
  #closed = false;

  static async open(port) {
    const questions = new FrozenQuestions();
    questions.#socket = connect({ host: '127.0.0.1', port });
    await once(questions.#socket, 'connect');
    questions.#socket.setEncoding('utf8');
    questions.#socket.on('data', (chunk) => (questions.#text += chunk));
    questions.#socket.on('close', () => (questions.#closed = true));
    questions.#socket.on('error', () => {});
    return questions;
  }

  /** To be called while the node is frozen: it reads this first of all when it thaws. */
  ask() {
    this.#socket.write(staleKeys.map((key) => `get ${key}\r\n`).join(''));
  }

  /** Waits for all answers, and gives how many of them were old. Errors are answers too: "not now" is honest. */
  async stale(timeoutMs) {
    const deadline = performance.now() + timeoutMs;
    while (!this.#closed && performance.now() < deadline && this.#answers() < keyCount) await new Promise((resolve) => setTimeout(resolve, 5));
    this.#socket.destroy();
    const lines = this.#text.split('\r\n');
    return { answered: this.#answers(), stale: lines.filter((line) => line === 'before').length, refusals: lines.filter((line) => line.includes('ERROR')) };
  }

  #answers() {
    return this.#text.split('\r\n').filter((line) => line === 'END' || /^(SERVER_|CLIENT_)?ERROR/.test(line)).length;
  }
}
