// Sends work to live engines, and to no others. All that it shares with the agent beside it is the file of live nodes:
// node dispatcher.js --catalog catalog.json --live live/127.0.7.1.json --listen 127.0.7.1:10030
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { parseArgs } from 'node:util';
import { watchLiveNodes } from 'troupe';

const { values } = parseArgs({ options: { catalog: { type: 'string' }, live: { type: 'string' }, listen: { type: 'string' } } });
const { engines } = JSON.parse(readFileSync(values.catalog, 'utf8'));
// A node is called as the host part of its engine's address: this is how a name of the list becomes an address.
const addressOf = new Map(engines.map((address) => [address.split(':')[0], address]));

/** The engines that work may be sent to at this moment. */
let live = [];
/** The last attempts, for those who want to check: to whom, which list held then, and how it went. */
const attempts = [];
const attemptsMax = 10_000;
const engineTimeoutMs = 2000;
let turn = 0;
let lists = 0;

async function follow() {
  for await (const nodes of watchLiveNodes(values.live, { expected: [...addressOf.keys()] })) {
    live = nodes.map((node) => node.name).filter((name) => addressOf.has(name));
    lists += 1;
    console.log(`list ${lists}: ${live.join(' ') || 'nobody'}${nodes[0]?.status === 'expected' ? ' (expected: the agent has not spoken)' : ''}`);
  }
}

/** To the engines in turn. One that has died a moment ago may still be in the list: then the next one gets it. */
async function dispatch(job) {
  const tried = new Set();
  for (;;) {
    const open = live.filter((name) => !tried.has(name));
    if (open.length === 0) throw new Error(`no live engine has taken the job; tried ${[...tried].join(', ') || 'nobody'}`);
    const engine = open[turn++ % open.length];
    tried.add(engine);
    const attempt = { engine, list: lists, live, outcome: 'under way' };
    attempts.push(attempt);
    if (attempts.length > attemptsMax) attempts.shift();
    try {
      const answer = await send(addressOf.get(engine), job);
      attempt.outcome = 'done';
      return answer;
    } catch {
      attempt.outcome = 'failed';
      // Doing a job twice must do no harm, or a job that was sent must not be sent again: that is for the jobs to say.
    }
  }
}

function send(address, body) {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host, port, method: 'POST', path: '/', timeout: engineTimeoutMs }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk)).on('end', () => resolve(text)).on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer in time'))).on('error', reject);
    request.end(body);
  });
}

const routes = {
  'POST /jobs': (body) => dispatch(body),
  'GET /live': () => JSON.stringify({ list: lists, live }),
  'GET /attempts': () => JSON.stringify(attempts),
};
const jobBytesMax = 64 * 1024;

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8').on('data', (chunk) => {
    body += chunk;
    if (body.length > jobBytesMax) request.destroy();
  }).on('end', async () => {
    try {
      const route = routes[`${request.method} ${request.url}`];
      response.writeHead(route === undefined ? 404 : 200).end(route === undefined ? 'POST /jobs, GET /live, GET /attempts\n' : await route(body));
    } catch (error) {
      response.writeHead(503).end(error.message);
    }
  });
});
const [host, port] = values.listen.split(':');
server.listen(Number(port), host, () => console.log(`dispatcher ready on ${values.listen}`));
await follow();
