// An engine: does what it is sent, and knows nothing of clusters. `node engine.js 127.0.7.1:10031`
import { createServer } from 'node:http';

const [host, port] = process.argv[2].split(':');
let done = 0;

const server = createServer((request, response) => {
  request.resume().on('end', () => {
    done += 1;
    response.end(JSON.stringify({ engine: host, done }));
  });
});
server.listen(Number(port), host, () => console.log(`engine ready on ${host}:${port}`));
