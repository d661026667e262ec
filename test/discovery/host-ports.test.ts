import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { completeOptions } from '../../src/discovery/strategy.ts';
import { HostDns } from '../../src/host/dns.ts';
import { HostHttpClient } from '../../src/host/http-client.ts';
import { processTable } from '../../src/host/process-table.ts';
import { textFiles } from '../../src/host/text-files.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import type { DatagramSocket } from '../../src/ports/datagrams.ts';
import { poll } from '../poll.ts';
import { installed } from './support/daemon.ts';
import { Dnsmasq, dnsmasqInstalled } from './support/dnsmasq.ts';
import { hostPorts, temporaryDirectory } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { at, endpointsList, self, strategyNamed } from './support/rigs.ts';
import { ScriptedServer } from './support/scripted-server.ts';

const directory = temporaryDirectory();
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('HostHttpClient', () => {
  const http = new HostHttpClient();
  const server = new ScriptedServer();
  beforeAll(() => server.start());
  afterEach(() => void (server.trouble = 'none'));
  afterAll(() => server.stop());

  test('sends method, headers and body, and gives any status', async () => {
    server.answer = (asked) => asked;
    const { status, body } = await http.request({ url: `${server.url}/a?b=1`, method: 'POST', headers: { 'x-y': 'z' }, body: 'hello' });
    expect(status).toBe(200);
    expect(JSON.parse(Buffer.from(body).toString())).toMatchObject({ method: 'POST', headers: { 'x-y': 'z' }, body: 'hello' });
    server.trouble = '403';
    expect((await http.request({ url: server.url })).status).toBe(403);
    await poll(async () => expect(await server.connections).toBe(0));
  });

  test('drops an answer that is too long, without reading it all', async () => {
    server.trouble = 'huge';
    const before = process.memoryUsage().rss;
    await expect(http.request({ url: server.url, bytesMax: 1000 })).rejects.toMatchObject({ code: 'HTTP_TOO_LARGE' });
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6);
    await poll(async () => expect(await server.connections).toBe(0));
  });

  test('can be given up, before and during; a broken connection and a closed port are told', async () => {
    server.trouble = 'slow';
    const controller = new AbortController();
    const answer = http.request({ url: server.url, signal: controller.signal });
    const asked = server.asked.length;
    await poll(() => expect(server.asked.length).toBeGreaterThan(asked - 1));
    controller.abort();
    await expect(answer).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(http.request({ url: server.url, signal: controller.signal })).rejects.toMatchObject({ code: 'ABORTED' });
    await poll(async () => expect(await server.connections).toBe(0));
    server.trouble = 'cut';
    await expect(http.request({ url: server.url })).rejects.toMatchObject({ code: 'HTTP_UNREACHABLE' });
    await expect(http.request({ url: 'http://user:secret@127.0.0.1:1/x?token=secret' })).rejects.toSatisfy((error: Error) => /ECONNREFUSED/.test(error.message) && !error.message.includes('secret'));
  });
});

describe.skipIf(!installed('/usr/bin/openssl', 'openssl'))('over TLS, as the Kubernetes API is', () => {
  let server: https.Server;
  let url: string;
  const account = join(directory, 'account');

  beforeAll(async () => {
    mkdirSync(account);
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=kubernetes', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', join(directory, 'key.pem'), '-out', join(account, 'ca.crt')], { stdio: 'ignore' });
    server = https.createServer({ key: readFileSync(join(directory, 'key.pem')), cert: readFileSync(join(account, 'ca.crt')) }, (request, response) => {
      if (request.headers.authorization !== `Bearer ${readFileSync(join(account, 'token'), 'utf8')}`) return void response.writeHead(401).end('{}');
      response.end(JSON.stringify(endpointsList([at(2)])));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    writeFileSync(join(account, 'token'), 'first');
    writeFileSync(join(account, 'namespace'), 'default\n');
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  test('the service account is enough, and an exchanged token is used at once', async () => {
    const strategy = strategyNamed('kubernetes');
    const sink = new Recorder();
    const source = strategy.start(completeOptions(strategy, { server: url, serviceAccount: account, pollMs: 20 }), hostPorts('one', self), sink);
    await poll(() => expect(sink.hosts).toEqual(['127.0.0.2:7946']));
    writeFileSync(join(account, 'token'), 'second');
    sink.failures.length = 0;
    const before = sink.foundCount;
    await poll(() => expect(sink.foundCount).toBeGreaterThan(before + 2));
    await source.stop();
  });

  test('a server whose certificate is another is not believed', async () => {
    await expect(new HostHttpClient().request({ url })).rejects.toMatchObject({ code: 'HTTP_UNREACHABLE' });
  });
});

describe('HostDns', () => {
  const dns = new HostDns();

  test('lookup() takes addresses as they are, and asks the system for names', async () => {
    expect(await dns.lookup('10.1.2.3')).toEqual(['10.1.2.3']);
    expect(await dns.lookup('fd00::1')).toEqual(['fd00::1']);
    expect(await dns.lookup('localhost')).toContain('127.0.0.1');
    await expect(dns.lookup('no-such-host.invalid', AbortSignal.timeout(20_000))).rejects.toMatchObject({ code: expect.stringMatching(/^(DNS_|ABORTED)/) as string });
    await expect(dns.lookup('localhost', AbortSignal.abort())).rejects.toMatchObject({ code: 'ABORTED' });
  });

  test.skipIf(!dnsmasqInstalled)('records come from the servers that are named', async () => {
    const server = new Dnsmasq();
    await server.serve(['--host-record=n.test,10.0.0.1,fd00::1', '--srv-host=s.test,n.test,700']);
    const servers = [server.address];
    expect(await dns.addresses('n.test', 'A', { servers })).toEqual(['10.0.0.1']);
    expect(await dns.addresses('n.test', 'AAAA', { servers })).toEqual(['fd00::1']);
    expect(await dns.services('s.test', { servers })).toEqual([{ host: 'n.test', port: 700 }]);
    await expect(dns.addresses('other.test', 'A', { servers })).rejects.toMatchObject({ code: 'DNS_NOT_FOUND' });
    // Too much for a packet: the answer is cut off, and the whole of it fetched by TCP.
    const many = Array.from({ length: 300 }, (_, i) => `--host-record=many.test,10.1.${i >> 8}.${i & 255}`);
    await server.serve(['--edns-packet-max=512', ...many, ...Array.from({ length: 100 }, (_, i) => `--srv-host=many-services.test,n${i}.test,700`)]);
    expect(await dns.addresses('many.test', 'A', { servers })).toHaveLength(300);
    expect(await dns.services('many-services.test', { servers })).toHaveLength(100);
    await server.stop();
    await expect(dns.addresses('n.test', 'A', { servers })).rejects.toMatchObject({ code: 'DNS_FAILED' });
  });
});

describe('textFiles', () => {
  test('makePrivate() makes a directory for this user alone, and refuses one that others may write to, and a link', async () => {
    const own = join(directory, 'deep', 'own');
    await textFiles.makePrivate(own);
    await textFiles.makePrivate(own);
    expect(lstatSync(own).mode & 0o777).toBe(0o700);
    chmodSync(own, 0o777);
    await expect(textFiles.makePrivate(own)).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
    chmodSync(own, 0o700);
    symlinkSync(own, join(directory, 'link'));
    await expect(textFiles.makePrivate(join(directory, 'link'))).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
    writeFileSync(join(directory, 'file'), '');
    await expect(textFiles.makePrivate(join(directory, 'file'))).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
  });

  test('read(), write(), list(), revision() and remove()', async () => {
    const file = join(directory, 'texts', 'a');
    expect(await textFiles.read(file, 100)).toBeUndefined();
    expect(await textFiles.revision(file)).toBeUndefined();
    expect(await textFiles.list(join(directory, 'texts'), 10)).toEqual([]);
    await textFiles.write(file, 'one');
    const revision = await textFiles.revision(file);
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    await textFiles.write(file, 'two');
    expect(await textFiles.revision(file)).not.toBe(revision);
    expect(await textFiles.read(file, 3)).toBe('two');
    await expect(textFiles.read(file, 2)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
    await textFiles.write(join(directory, 'texts', 'b'), '');
    expect((await textFiles.list(join(directory, 'texts'), 1)).length).toBe(1);
    await textFiles.remove(file);
    await textFiles.remove(file);
    expect(existsSync(file)).toBe(false);
  });
});

test('processTable tells processes of one pid apart, and the ended from the living', async () => {
  expect(processTable.identity(processTable.pid)).toBe(processTable.identity(process.pid));
  const child = spawn('sleep', ['100'], { stdio: 'ignore' });
  const pid = child.pid as number;
  const identity = processTable.identity(pid);
  expect(identity).toMatch(/^\d+$/);
  expect(processTable.identity(pid)).toBe(identity);
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
  expect(processTable.identity(pid)).toBeUndefined();
});

describe('UdpDatagrams for many', () => {
  const sockets: DatagramSocket[] = [];
  afterEach(async () => {
    for (const socket of sockets.splice(0)) await socket.close();
  });

  test('shared sockets on one port all get a multicast, the sender\'s own too; another group and an unshared bind do not fit', async () => {
    const datagrams = new UdpDatagrams();
    const got: string[] = [];
    const open = async (name: string, port: number): Promise<DatagramSocket> => {
      const socket = await datagrams.bind({ host: '0.0.0.0', port }, (packet) => got.push(`${name} ${Buffer.from(packet).toString()}`), { shared: true, group: '233.252.1.77', interface: '127.0.0.1' });
      sockets.push(socket);
      return socket;
    };
    const one = await open('one', 0);
    const two = await open('two', one.address.port);
    one.send(Buffer.from('a'), { host: '233.252.1.77', port: one.address.port });
    two.send(Buffer.from('b'), { host: '233.252.1.77', port: one.address.port });
    await poll(() => expect(got.toSorted()).toEqual(['one a', 'one b', 'two a', 'two b']));
    await expect(datagrams.bind({ host: '0.0.0.0', port: one.address.port }, () => {})).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
  });

  test('an interface or a group that does not exist is told', async () => {
    const datagrams = new UdpDatagrams();
    await expect(datagrams.bind({ host: '0.0.0.0', port: 0 }, () => {}, { group: '233.252.1.77', interface: 'nope0' })).rejects.toThrow(/there is no interface 'nope0'.*there is .*lo/);
    await expect(datagrams.bind({ host: '0.0.0.0', port: 0 }, () => {}, { group: '10.0.0.1' })).rejects.toMatchObject({ code: 'ADDRESS_NOT_AVAILABLE' });
    await expect(datagrams.bind({ host: '0.0.0.0', port: 0 }, () => {}, { group: '233.252.1.77', interface: '192.0.2.1' })).rejects.toMatchObject({ code: expect.any(String) as string });
  });
});
