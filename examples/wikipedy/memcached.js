/** As much of a memcached client as the example needs: one connection per call, get and set of text values. */
import { connect } from 'node:net';
import { once } from 'node:events';

const answerTimeoutMs = 5_000;
const answerBytesMax = 1 << 20;

/**
 * Reads one value.
 * @param {string} address `host:port` @param {string} key
 * @returns {Promise<string | undefined>} undefined if there is no such key
 */
export async function get(address, key) {
  return exchange(address, `get ${key}\r\n`, (answer) => {
    if (answer.equals(Buffer.from('END\r\n'))) return { value: undefined };
    const headerEnd = answer.indexOf('\r\n');
    if (headerEnd < 0) return undefined;
    const header = answer.toString('utf8', 0, headerEnd);
    const [word, name, , length] = header.split(' ');
    if (word !== 'VALUE' || name !== key) throw new Error(`memcached at ${address} answered get ${key} with: ${header}`);
    const start = headerEnd + 2;
    const end = start + Number(length);
    return answer.length >= end + '\r\nEND\r\n'.length ? { value: answer.toString('utf8', start, end) } : undefined;
  });
}

/**
 * Writes many values, all sent at once.
 * @param {string} address `host:port` @param {[key: string, value: string][]} pairs
 */
export async function setAll(address, pairs) {
  const request = pairs.map(([key, value]) => `set ${key} 0 0 ${Buffer.byteLength(value)}\r\n${value}\r\n`).join('');
  await exchange(address, request, (answer) => {
    const lines = answer.toString('utf8').split('\r\n').slice(0, -1);
    const refusal = lines.find((line) => line !== 'STORED');
    if (refusal !== undefined) throw new Error(`memcached at ${address} answered set with: ${refusal}`);
    return lines.length >= pairs.length ? { value: undefined } : undefined;
  });
}

/** Sends the request and feeds everything received so far to `parse` until that gives a result. */
async function exchange(address, request, parse) {
  const colon = address.lastIndexOf(':');
  const socket = connect({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)) });
  socket.setTimeout(answerTimeoutMs, () => socket.destroy(new Error(`memcached at ${address} did not answer within ${answerTimeoutMs} ms`)));
  try {
    await once(socket, 'connect');
    socket.write(request);
    let answer = Buffer.alloc(0);
    for await (const chunk of socket) {
      answer = Buffer.concat([answer, chunk]);
      const result = parse(answer);
      if (result !== undefined) return result.value;
      if (answer.length > answerBytesMax) throw new Error(`memcached at ${address} answered with more than ${answerBytesMax} bytes`);
    }
    throw new Error(`memcached at ${address} closed the connection before it answered`);
  } finally {
    socket.destroy();
  }
}
