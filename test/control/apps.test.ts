/** OTP's rules for distributed applications, and the items of its own test suites, on the pure machine. */
import { describe, expect, test } from 'vitest';
import { Control, specOf } from './support.ts';

function cluster(names: readonly string[], ...specs: ReturnType<typeof specOf>[]): Control {
  const control = new Control();
  for (const spec of specs) control.apply({ type: 'define-app', spec });
  for (const name of names) control.up(name, specs.map((spec) => spec.name));
  control.run();
  return control;
}

const chain = [['cp1'], ['cp2'], ['cp3']];

describe('failover (application_SUITE: failover)', () => {
  test('only the first of the list runs it', () => {
    expect(cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain)).starts).toEqual(['app@cp1 normal - 1']);
  });

  test('cp1 stops → cp2, as failover from cp1; cp1 is back → takeover from cp2', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    control.down('cp1');
    control.run();
    control.up('cp1', ['app']);
    control.run();
    expect(control.starts).toEqual(['app@cp1 normal - 1', 'app@cp2 failover cp1 2', 'app@cp1 takeover cp2 3']);
  });

  test('in a tier the node that runs the fewest apps is chosen, ties by name', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app1', [['cp1', 'cp2'], ['cp3']]), specOf('app2', [['cp1', 'cp2'], ['cp3']]));
    expect([control.where('app1'), control.where('app2')]).toEqual(['cp1', 'cp2']);
  });

  test('[[cp1,cp2],cp3]: within the tier nothing is taken over; from cp3 it is', () => {
    const control = cluster(['cp2', 'cp3'], specOf('app', [['cp1', 'cp2'], ['cp3']]));
    expect(control.where('app')).toBe('cp2');
    control.up('cp1', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp2');
    control.down('cp2');
    control.run();
    expect(control.where('app')).toBe('cp1');
    control.down('cp1');
    control.run();
    expect(control.where('app')).toBe('cp3');
    control.up('cp2', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp2');
    control.up('cp1', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp2');
  });

  test('takeover by hand moves it to any listed standby, where it stays until a higher node comes up', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    expect(control.move('app', 'cp3')).toEqual({ ok: true });
    control.pass(2000);
    expect(control.where('app')).toBe('cp3');
    expect(control.starts.at(-1)).toBe('app@cp3 takeover cp1 2');
    control.newLeader();
    control.pass(5000);
    expect(control.where('app')).toBe('cp3');
    control.up('cp1', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp1');
  });

  test('takeover manual: a higher node that comes up takes nothing', () => {
    const control = cluster(['cp2'], specOf('app', chain, { takeover: 'manual' }));
    control.up('cp1', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp2');
  });
});

describe('takeover by hand that cannot be', () => {
  test.each([
    ['it runs there already', 'cp1', 'APP_RUNS_THERE'], ['not on the list', 'cp9', 'APP_NOT_LISTED'], ['not live', 'cp3', 'NODE_NOT_ACTIVE'], ['not permitted', 'cp2', 'APP_FORBIDDEN'],
  ])('%s', (_what, to, code) => {
    const control = cluster(['cp1', 'cp2', 'cp9'], specOf('app', chain));
    control.permit('app', 'cp2', false);
    expect(control.move('app', to)).toMatchObject({ ok: false, code });
    expect(control.where('app')).toBe('cp1');
  });

  test('running nowhere', () => {
    const control = cluster([], specOf('app', chain));
    expect(control.move('app', 'cp1')).toMatchObject({ ok: false, code: 'APP_NOT_RUNNING' });
  });
});

describe('fail-over time-outs (script_start: three apps with different time-outs)', () => {
  const specs = [specOf('a', chain, { failoverTimeoutMs: 0 }), specOf('b', chain, { failoverTimeoutMs: 1000 }), specOf('c', chain, { failoverTimeoutMs: 5000 })];

  test('each waits for its own', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], ...specs);
    control.down('cp1');
    control.run();
    expect(['a', 'b', 'c'].map((app) => control.where(app))).toEqual(['cp2', 'waiting', 'waiting']);
    control.pass(1100);
    expect(['a', 'b', 'c'].map((app) => control.where(app))).toEqual(['cp2', 'cp2', 'waiting']);
    control.pass(4000);
    expect(control.where('c')).toBe('cp2');
  });

  test('a node that returns within the window starts it there, as normal', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], ...specs);
    control.down('cp1');
    control.pass(2000);
    control.up('cp1', ['a', 'b', 'c']);
    control.run();
    expect(control.starts.filter((line) => line.startsWith('c@'))).toEqual(['c@cp1 normal - 1', 'c@cp1 normal - 2']);
    expect(control.starts.at(-1)).toContain('takeover');
  });

  test('it starts on the returned node even where another of its tier runs fewer apps', () => {
    const control = cluster(['cp1'], specOf('x', [['cp1']]), specOf('c', [['cp1', 'cp2']], { failoverTimeoutMs: 5000 }));
    control.up('cp2', ['c']);
    control.down('cp1');
    control.pass(1000);
    control.up('cp1', ['x', 'c']);
    control.run();
    expect(control.where('c')).toBe('cp1');
    expect(control.starts.at(-1)).toContain('normal');
  });

  test('a node that returned but may not run it ends the wait: the next one starts it', () => {
    const control = cluster(['cp1', 'cp2'], specOf('c', chain, { failoverTimeoutMs: 5000 }));
    control.down('cp1');
    control.permit('c', 'cp1', false);
    control.pass(1000);
    control.up('cp1', ['c']);
    control.pass(200);
    expect(control.where('c')).toBe('cp2');
  });

  test('it ends even while the returned node is live and the leader changes', () => {
    const control = cluster(['cp1', 'cp2'], specOf('c', chain, { failoverTimeoutMs: 1000 }));
    control.down('cp1');
    control.run();
    control.newLeader();
    control.pass(1200);
    expect(control.where('c')).toBe('cp2');
  });
});

describe('permissions', () => {
  test('revoking walks cp1 → cp2 → cp3; granting cp2 pulls it back from cp3; all revoked: it runs nowhere', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    control.permit('app', 'cp1', false);
    control.run();
    expect(control.where('app')).toBe('cp2');
    control.permit('app', 'cp2', false);
    control.run();
    expect(control.where('app')).toBe('cp3');
    control.permit('app', 'cp2', true);
    control.run();
    expect(control.where('app')).toBe('cp2');
    for (const name of ['cp1', 'cp2', 'cp3']) control.permit('app', name, false);
    control.run();
    expect(control.where('app')).toBe('idle');
    control.permit('app', 'cp3', true);
    control.run();
    expect(control.where('app')).toBe('cp3');
  });

  test('granting a lower node, or one within the running tier, moves nothing', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', [['cp1', 'cp2'], ['cp3']]));
    control.permit('app', 'cp2', false);
    control.permit('app', 'cp3', false);
    control.run();
    const before = control.starts.length;
    control.permit('app', 'cp2', true);
    control.permit('app', 'cp3', true);
    control.run();
    expect(control.starts.length).toBe(before);
  });

  test('permit_false_start: revoking and granting, unstarted, unknown and repeated, is no error', () => {
    const control = new Control();
    for (const allowed of [false, false, true, true, false]) expect(control.permit('app', 'cp1', allowed)).toEqual({ ok: true });
    control.apply({ type: 'define-app', spec: specOf('app', chain) });
    control.up('cp1', ['app']);
    control.up('cp2', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp2');
    for (const allowed of [true, true, false, false]) expect(control.permit('app', 'cp3', allowed)).toEqual({ ok: true });
  });

  test('what is permitted for unknown apps is bounded', () => {
    const control = new Control();
    for (let i = 0; i < 1000; i++) expect(control.permit(`app${i}`, 'n', false).ok).toBe(true);
    expect(control.permit('one-more', 'n', false)).toMatchObject({ ok: false, code: 'NO_SUCH_APP' });
    expect(control.permit('app3', 'n', true).ok).toBe(true);
    expect(control.permit('one-more', 'n', false).ok).toBe(true);
  });

  test('after cp1 crashes only a permitted node fails over', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    control.permit('app', 'cp2', false);
    control.down('cp1');
    control.run();
    expect(control.where('app')).toBe('cp3');
  });
});

describe('stopping and starting by hand', () => {
  test('stopped, it stays stopped through deaths and returns until it is started again', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    control.act('app', { type: 'want', wanted: 'stopped' });
    control.run();
    control.down('cp1');
    control.up('cp1', ['app']);
    control.pass(1000);
    expect(control.where('app')).toBe('idle');
    expect(control.act('app', { type: 'want', wanted: 'started' })).toEqual({ ok: true });
    control.run();
    expect(control.starts.at(-1)).toBe('app@cp1 normal - 2');
  });

  test('started twice, by two nodes: both get the same answer, and it starts once', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    const answers = [1, 2, 3].map(() => control.act('app', { type: 'want', wanted: 'started' }));
    control.run();
    expect(answers).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
    expect(control.starts).toHaveLength(1);
  });

  test('stopping an app that nobody knows is an error that says so', () => {
    expect(new Control().act('app', { type: 'want', wanted: 'stopped' })).toMatchObject({ ok: false, code: 'NO_SUCH_APP' });
  });
});

describe('failures (not tested in OTP)', () => {
  test('a start that fails on the first makes the next try; it is not tried there again by itself', () => {
    const control = new Control();
    control.failing.add('app@cp1');
    control.apply({ type: 'define-app', spec: specOf('app', chain) });
    for (const name of ['cp1', 'cp2', 'cp3']) control.up(name, ['app']);
    control.pass(60_000);
    expect(control.starts).toEqual(['app@cp1 normal - 1', 'app@cp2 failover cp1 2']);
    expect(control.where('app')).toBe('cp2');
  });

  test('a crashed app moves on; a node that came up anew may take it back', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    control.act('app', { type: 'failed', epoch: 1, error: 'it failed 4 times' });
    control.pass(5000);
    expect(control.where('app')).toBe('cp2');
    control.up('cp1', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp1');
  });

  test('a failed takeover brings the old instance back, with its state, and does not go round in circles', () => {
    const control = cluster(['cp2'], specOf('app', chain));
    control.failing.add('app@cp1');
    control.up('cp1', ['app']);
    for (let i = 0; i < 10 && control.app('app').phase !== 'starting'; i++) control.run();
    control.pass(60_000);
    expect(control.where('app')).toBe('cp2');
    expect(control.starts).toEqual(['app@cp2 normal - 1', 'app@cp1 takeover cp2 2', 'app@cp2 failover cp1 3']);
  });

  test('a failed takeover is tried again after two minutes, then ever more rarely, and succeeds once the node can', () => {
    const control = cluster(['cp2'], specOf('app', chain));
    control.failing.add('app@cp1');
    control.up('cp1', ['app']);
    control.pass(119_000);
    expect(control.starts).toHaveLength(3);
    control.pass(2000);
    // Tried in vain; the old one is back.
    expect(control.starts.slice(3)).toEqual(['app@cp1 takeover cp2 4', 'app@cp2 failover cp1 5']);
    control.pass(239_000 - 2000);
    expect(control.starts).toHaveLength(5);
    control.pass(4000);
    expect(control.starts).toHaveLength(7);
    expect(control.where('app')).toBe('cp2');
    control.failing.clear();
    control.pass(481_000);
    expect(control.where('app')).toBe('cp1');
    expect(control.app('app').failedOn).toEqual([]);
    expect(control.starts).toHaveLength(8);
  });

  test.each([
    ['of two tiers', [['cp1'], ['cp2'], ['cp3']]], ['of one tier', [['cp1', 'cp2'], ['cp3']]],
  ])('a higher node that is broken for good does not keep another, %s, from being tried again', (_what, tiers) => {
    const control = cluster(['cp3'], specOf('app', tiers));
    control.failing.add('app@cp1').add('app@cp2');
    control.up('cp1', ['app']);
    control.pass(60_000);
    control.up('cp2', ['app']);
    control.run();
    expect(control.where('app')).toBe('cp3');
    expect(control.app('app').failedOn).toEqual(['cp1', 'cp2']);
    control.failing.delete('app@cp2');
    const before = control.starts.length;
    // cp1 is due after 120 s; cp2 failed 60 s later and has its own two minutes.
    control.pass(61_000);
    expect(control.starts.slice(before).map((line) => line.split(' ')[0])).toEqual(['app@cp1', 'app@cp3']);
    control.pass(60_000);
    expect(control.where('app')).toBe('cp2');
    expect(control.app('app').failedOn).toEqual(['cp1']);
  });

  test('two that are due at once are tried one after the other, in the order of the list, each with its own delay', () => {
    const control = new Control();
    control.failing.add('app@cp1').add('app@cp2');
    control.apply({ type: 'define-app', spec: specOf('app', chain) });
    for (const name of ['cp1', 'cp2', 'cp3']) control.up(name, ['app']);
    control.run();
    const round = ['app@cp1', 'app@cp3', 'app@cp2', 'app@cp3'];
    const tries = (ms: number): (string | undefined)[] => {
      const before = control.starts.length;
      control.pass(ms);
      return control.starts.slice(before).map((line) => line.split(' ')[0]);
    };
    expect(tries(121_000)).toEqual(round);
    expect(tries(238_000)).toEqual([]);
    expect(tries(2000)).toEqual(round);
  });

  test.each([
    ['came up anew', (control: Control): unknown => control.up('cp1', ['app'])],
    ['was off the list for a while', (control: Control): unknown => {
      control.apply({ type: 'define-app', spec: specOf('app', [['cp2']]) });
      control.run();
      return control.apply({ type: 'define-app', spec: specOf('app', chain) });
    }],
  ])('a higher node that %s has two minutes again when it fails', (_what, change) => {
    const control = cluster(['cp2'], specOf('app', chain));
    control.failing.add('app@cp1');
    control.up('cp1', ['app']);
    // Tried again after two and four minutes; the next would be after eight.
    control.pass(361_000);
    change(control);
    control.run();
    const before = control.starts.length;
    control.pass(119_000);
    expect(control.starts).toHaveLength(before);
    control.pass(2000);
    expect(control.starts.length).toBeGreaterThan(before);
  });

  test('a failed takeover is not tried again where an operator moved the app by hand, nor with takeover manual', () => {
    const control = cluster(['cp2'], specOf('app', chain, { takeover: 'manual' }));
    control.failing.add('app@cp1');
    control.up('cp1', ['app']);
    control.move('app', 'cp1');
    control.run();
    const tries = control.starts.length;
    expect(control.where('app')).toBe('cp2');
    control.pass(400_000);
    expect(control.starts).toHaveLength(tries);
  });

  test('the state that was handed over is known until a start has succeeded, unless the node that keeps it is gone', () => {
    const control = cluster(['cp2', 'cp3'], specOf('app', chain));
    control.up('cp1', ['app']);
    control.hanging.add('cp1');
    control.run();
    expect(control.app('app')).toMatchObject({ phase: 'starting', node: 'cp1', handoverEpoch: 1, handoverFrom: 'cp2' });
    control.hanging.add('cp2').add('cp3');
    control.down('cp1');
    expect(control.app('app')).toMatchObject({ phase: 'starting', node: 'cp2', handoverEpoch: 1, handoverFrom: 'cp2' });
    control.down('cp2');
    expect(control.app('app')).toMatchObject({ phase: 'starting', node: 'cp3', handoverEpoch: undefined, handoverFrom: undefined });
  });

  test('where it fails everywhere it is tried again, less and less often', () => {
    const control = new Control();
    for (const name of ['cp1', 'cp2']) control.failing.add(`app@${name}`);
    control.apply({ type: 'define-app', spec: specOf('app', chain) });
    for (const name of ['cp1', 'cp2']) control.up(name, ['app']);
    control.pass(60_000);
    expect(control.starts.length).toBeGreaterThan(8);
    expect(control.starts.length).toBeLessThan(24);
    control.failing.clear();
    control.pass(31_000);
    expect(control.where('app')).toBe('cp1');
  });

  test('when the only node without a failure dies, those that failed are tried at once', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    control.act('app', { type: 'failed', epoch: 1, error: 'long ago' });
    control.run();
    control.down('cp2');
    control.run();
    expect(control.where('app')).toBe('cp1');
  });

  test('late reports of an earlier epoch change nothing', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    control.down('cp1');
    control.run();
    for (const action of [{ type: 'failed', epoch: 1, error: '' }, { type: 'stopped', epoch: 1, hasState: false }, { type: 'started', epoch: 1 }] as const) {
      expect(control.act('app', action)).toMatchObject({ ok: false, code: 'STALE' });
    }
    expect(control.where('app')).toBe('cp2');
  });

  test('a standby that has not the app is passed over (OTP: it blocks the survivors for ever)', () => {
    const control = cluster(['cp1', 'cp3'], specOf('app', chain));
    control.up('cp2', []);
    control.down('cp1');
    control.run();
    expect(control.where('app')).toBe('cp3');
  });

  test('the node that takes over dies while the old instance stops: the best other one starts', () => {
    const control = cluster(['cp2', 'cp3'], specOf('app', chain));
    control.hanging.add('cp2');
    control.up('cp1', ['app']);
    control.run();
    expect(control.app('app')).toMatchObject({ phase: 'stopping', node: 'cp2', next: 'cp1' });
    control.down('cp1');
    control.hanging.clear();
    control.run();
    expect(control.where('app')).toBe('cp2');
  });

  test('the old instance\'s node dies while it stops: the next one starts as failover', () => {
    const control = cluster(['cp2', 'cp3'], specOf('app', chain));
    control.hanging.add('cp2');
    control.up('cp1', ['app']);
    control.run();
    control.down('cp2');
    control.run();
    expect(control.starts.at(-1)).toBe('app@cp1 failover cp2 2');
  });
});

describe('changes while it runs', () => {
  test('a changed list moves nothing; a later crash follows it', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    control.apply({ type: 'define-app', spec: specOf('app', [['cp1'], ['cp3'], ['cp2']]) });
    control.run();
    expect(control.starts).toHaveLength(1);
    control.down('cp1');
    control.run();
    expect(control.where('app')).toBe('cp3');
  });

  test('a list that the nodes changed counts once all live ones agree', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    const changed = specOf('app', [['cp2'], ['cp1']], { takeover: 'manual' });
    control.wishes = { keyspaces: new Map(), apps: new Map([['app', changed]]) };
    control.up('cp2', ['app'], { offers: { app: 'other' } });
    control.run();
    expect(control.app('app').spec.tiers).toEqual(chain);
    control.up('cp1', ['app'], { offers: { app: 'other' } });
    control.run();
    expect(control.app('app').spec).toEqual(changed);
  });

  test('a draining node gives its apps away; in maintenance nothing moves', () => {
    const control = cluster(['cp1', 'cp2'], specOf('app', chain));
    control.apply({ type: 'maintenance', on: true });
    control.apply({ type: 'drain', name: 'cp1', on: true });
    control.run();
    expect(control.where('app')).toBe('cp1');
    control.apply({ type: 'maintenance', on: false });
    control.run();
    expect(control.where('app')).toBe('cp2');
  });

  test('epochs only grow', () => {
    const control = cluster(['cp1', 'cp2', 'cp3'], specOf('app', chain));
    for (let i = 0; i < 30; i++) {
      const name = `cp${(i % 3) + 1}`;
      if (control.map.nodes[name]?.live === true) control.down(name);
      else control.up(name, ['app']);
      control.run();
    }
    const epochs = control.starts.map((line) => Number(line.split(' ').at(-1)));
    expect(epochs).toEqual(epochs.map((_, index) => index + 1));
  });
});
