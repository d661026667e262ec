import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildIfStale } from '../cli/program.ts';
import { serfInstalled } from '../mixed/serf-agent.ts';
import { poll } from '../poll.ts';
import { Daemon, installed } from './support/daemon.ts';
import { MemberProcess } from './support/member-process.ts';
import { temporaryDirectory } from './support/ports.ts';

/** Two hosts on one wire: network namespaces of this machine. */
const left = `trl${process.pid}`;
const right = `trr${process.pid}`;
const wires = { [left]: `vl${process.pid % 100_000}`, [right]: `vr${process.pid % 100_000}` };

function ip(...parameters: string[]): void {
  execFileSync('ip', parameters, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function permitted(): boolean {
  if (!installed('/usr/sbin/ip', 'iproute2')) return false;
  try {
    ip('netns', 'add', left);
    ip('netns', 'add', right);
    ip('link', 'add', wires[left] as string, 'netns', left, 'type', 'veth', 'peer', 'name', wires[right] as string, 'netns', right);
    return true;
  } catch (error) {
    for (const name of [left, right]) try { ip('netns', 'del', name); } catch { /* It was not made. */ }
    if (process.env['CI']) throw error;
    console.warn(`tests on network namespaces are skipped: they need root (${String(error).trim()})`);
    return false;
  }
}

const isPermitted = permitted();
const avahiInstalled = isPermitted && [['/usr/sbin/avahi-daemon', 'avahi-daemon'], ['/usr/bin/avahi-browse', 'avahi-utils'], ['/usr/bin/dbus-daemon', 'dbus']].every(([path, name]) => installed(path as string, name as string));

describe.skipIf(!isPermitted)('two hosts on one network', () => {
  const ends: (() => Promise<void>)[] = [];
  beforeAll(() => {
    buildIfStale();
    for (const [name, host] of [[left, '10.77.0.1'], [right, '10.77.0.2']] as const) {
      const wire = wires[name] as string;
      ip('-n', name, 'addr', 'add', `${host}/24`, 'brd', '10.77.0.255', 'dev', wire);
      ip('-n', name, 'link', 'set', 'lo', 'up');
      // Serf's first question fails while the system still makes sure that nobody else has its IPv6 address.
      ip('netns', 'exec', name, 'sh', '-c', `echo 0 > /proc/sys/net/ipv6/conf/${wire}/accept_dad`);
      ip('-n', name, 'addr', 'add', `fd77::${host.slice(-1)}/64`, 'dev', wire, 'nodad');
      ip('-n', name, 'link', 'set', wire, 'up');
      ip('-n', name, 'route', 'add', 'default', 'dev', wire);
    }
  });
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });
  afterAll(() => {
    for (const name of [left, right]) ip('netns', 'del', name);
  });

  function member(namespace: string, name: string, discovery: Readonly<Record<string, unknown>>, port: number = 7946, v6: boolean = false): MemberProcess {
    const started = new MemberProcess([{ pool: 'p', name, bind: `${v6 ? `[fd77::${namespace === left ? 1 : 2}]` : `10.77.0.${namespace === left ? 1 : 2}`}:${port}`, discovery: { home: discovery } }], namespace);
    ends.push(() => started.kill());
    return started;
  }

  function serf(namespace: string, name: string, service: string): { readonly log: () => string; readonly members: () => string[] } {
    const daemon = new Daemon('ip', ['netns', 'exec', namespace, 'serf', 'agent', '-node', name, '-bind', `${namespace === left ? '10.77.0.1' : '10.77.0.2'}:7946`, '-discover', service, '-iface', wires[namespace] as string, '-profile', 'local']);
    ends.push(() => daemon.end());
    serfLog = () => daemon.output;
    return {
      log: () => daemon.output,
      members: () => {
        const { members } = JSON.parse(execFileSync('ip', ['netns', 'exec', namespace, 'serf', 'members', '-format=json', '-status=alive'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as { members: { name: string }[] };
        return members.map((each) => each.name).sort();
      },
    };
  }

  let serfLog = (): string => '';
  const sees = (member: MemberProcess, ...names: string[]): Promise<void> => poll(() => expect(member.alive.get('p'), `${member.reasons.join('\n')}\n${member.errors}\n${serfLog()}`).toEqual(names), 30_000);

  test.each([
    ['multicast', {}],
    ['multicast on a named interface', { interface: true }],
    ['broadcast', { broadcast: true }],
    ['broadcast of the network', { broadcast: true, address: '10.77.0.255' }],
  ])('gossip finds by %s', async (_name, options) => {
    const of = (namespace: string): Readonly<Record<string, unknown>> => ({ strategy: 'gossip', secret: 'T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=', ...options, ...('interface' in options ? { interface: wires[namespace] } : {}) });
    const one = member(left, 'one', of(left));
    const two = member(right, 'two', of(right));
    await sees(one, 'one', 'two');
    await sees(two, 'one', 'two');
    await two.kill();
    await sees(one, 'one');
    const again = member(right, 'two', of(right));
    await sees(one, 'one', 'two');
    await sees(again, 'one', 'two');
  });

  test('gossip finds by multicast over IPv6', async () => {
    const of = (namespace: string): Readonly<Record<string, unknown>> => ({ strategy: 'gossip', secret: 'T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=', address: 'ff02::7946', interface: wires[namespace] });
    const one = member(left, 'one', of(left), 7946, true);
    const two = member(right, 'two', of(right), 7946, true);
    await sees(one, 'one', 'two');
    await sees(two, 'one', 'two');
    await two.kill();
    await sees(one, 'one');
  });

  test.skipIf(!avahiInstalled)('mdns finds what avahi publishes, and is found by whoever browses with avahi', async () => {
    const directory = temporaryDirectory();
    ends.push(async () => rmSync(directory, { recursive: true, force: true }));
    const bus = `unix:path=${directory}/bus`;
    writeFileSync(join(directory, 'bus.conf'), `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
      <busconfig><type>custom</type><listen>${bus}</listen><auth>EXTERNAL</auth>
      <policy context="default"><allow send_destination="*"/><allow send_requested_reply="true"/><allow receive_sender="*"/><allow own="*"/><allow user="*"/></policy></busconfig>`);
    writeFileSync(join(directory, 'avahi.conf'), `[server]\nhost-name=trh${process.pid}\nallow-interfaces=${wires[right]}\n`);
    const environment = { ...process.env, DBUS_SYSTEM_BUS_ADDRESS: bus, LC_ALL: 'C' };
    const run = (...command: string[]): Daemon => {
      const daemon = new Daemon('ip', ['netns', 'exec', right, ...command], environment);
      ends.unshift(() => daemon.end('SIGTERM'));
      return daemon;
    };
    const busDaemon = run('dbus-daemon', `--config-file=${directory}/bus.conf`, '--nofork', '--nopidfile');
    await poll(() => expect(existsSync(join(directory, 'bus')), busDaemon.output).toBe(true));
    const avahi = run('avahi-daemon', '-f', join(directory, 'avahi.conf'), '--no-drop-root', '--no-chroot', '--no-rlimits');
    await poll(() => expect(avahi.output).toContain('Server startup complete'), 20_000);

    // Avahi asks after 1, 3, 7, 15, … s, and not when it has heard somebody ask the same within 100 ms: a member that asks often, or comes late, is found late.
    const one = member(left, 'one', { strategy: 'mdns', service: 'home', interface: wires[left], pollMs: 2500 });
    await poll(() => expect(one.upAt.size, one.errors).toBe(1), 20_000);
    const browser = run('avahi-browse', '--resolve', '--parsable', '_serf_home._tcp');
    await poll(() => expect(browser.output, `${one.reasons.join('\n')}\n${one.errors}\n${avahi.output}\n${busDaemon.output}`).toContain(`=;${wires[right]};IPv4;one;_serf_home._tcp;local;one.local;10.77.0.1;7946;"Serf 'home' cluster"`), 40_000);

    // A member that has no discovery of its own, on another host: avahi tells of it.
    const two = member(right, 'two', { strategy: 'static', hosts: ['10.77.0.2:7946'] });
    run('avahi-publish-service', 'two', '_serf_home._tcp', '7946', "Serf 'home' cluster");
    await sees(one, 'one', 'two');
    await sees(two, 'one', 'two');
  });

  test('an interface that goes away and comes back is used again', async () => {
    const options = { strategy: 'gossip', heartbeatMinMs: 100, heartbeatMaxMs: 200 };
    const one = member(left, 'one', options);
    await poll(() => expect(one.upAt.size, one.errors).toBe(1), 20_000);
    ip('-n', left, 'link', 'set', wires[left] as string, 'down');
    try {
      // It hears that nothing comes back, or, if it sends first, that there is nothing to send by.
      await poll(() => expect(one.reasons.join('\n')).toMatch(/does not come back|cannot join the group .* ENODEV/), 20_000);
    } finally {
      // Whatever became of it: other tests need the wire.
      ip('-n', left, 'link', 'set', wires[left] as string, 'up');
      ip('-n', left, 'route', 'replace', 'default', 'dev', wires[left] as string);
    }
    const two = member(right, 'two', options);
    await sees(one, 'one', 'two');
    await sees(two, 'one', 'two');
  });

  test('mdns finds other nodes of ours', async () => {
    const of = (namespace: string): Readonly<Record<string, unknown>> => ({ strategy: 'mdns', service: 'home', interface: wires[namespace] });
    const one = member(left, 'one', of(left));
    const two = member(right, 'two', of(right));
    await sees(one, 'one', 'two');
    await sees(two, 'one', 'two');
  });

  test.skipIf(!serfInstalled)('mdns finds a real serf agent that was there before, and is found by one that comes later', async () => {
    const first = serf(left, 'serf', 'home');
    await poll(() => expect(first.members()).toEqual(['serf']), 20_000);
    const ours = member(right, 'ours', { strategy: 'mdns', service: 'home', interface: wires[right] });
    await sees(ours, 'ours', 'serf');
    await poll(() => expect(first.members()).toEqual(['ours', 'serf']), 20_000);
    await ends.shift()?.();
    await sees(ours, 'ours');
    const later = serf(left, 'serf', 'home');
    await sees(ours, 'ours', 'serf');
    await poll(() => expect(later.members()).toEqual(['ours', 'serf']), 20_000);
    // It was the agent that found us, by our answer to its question.
    await poll(() => expect(later.log()).toMatch(/agent\.mdns: Joined \d+ hosts/), 20_000);
    // Those of another name find each other, and nobody else.
    const strangers = [left, right].map((namespace) => member(namespace, `stranger-${namespace}`, { strategy: 'mdns', service: 'other', interface: wires[namespace] }, 7947));
    for (const each of strangers) await sees(each, `stranger-${left}`, `stranger-${right}`);
  });
});
