import { describe, expect, it } from 'vitest';
import { diffsIn, lines } from './diff';
import { Digest } from './digest';
import { Folds, SHORTEST, TAIL } from './folds';
import { Jobs, gauges, spentOf, type Job } from './jobs';
import { flagFor, operationOf } from './lease';
import { Log } from './log';
import { amount, caps, minus, plus, written } from './money';
import { visible, visibleLine } from '../text';

const money = (text: string) => amount(text) ?? { units: -1n, scale: 0 };

describe('money', () => {
  it('adds without floats', () => {
    expect(written(plus(money('0.1'), money('0.2')))).toBe('0.30');
    expect(written(minus(money('1'), money('0.0000000000000000000001')))).toBe('0.9999999999999999999999');
    expect(written(money('12e-1'))).toBe('1.20');
    expect(amount('1.2.3')).toBeUndefined();
    expect(written(caps(['USD:1.00', 'USD:0.5', 'EUR:2']).get('USD') ?? money('0'))).toBe('1.50');
  });
});

/** Every way a log's rows can be asked for agrees with every other. */
function check(folds: Folds, count: number): number[] {
  const covered: number[] = [];
  for (let row = 0; row < folds.rows; row++) {
    const found = folds.row(row);
    if (!found) throw new Error(`no row ${row}`);
    if ('seq' in found) {
      covered.push(found.seq);
      expect(folds.rowOf(found.seq)).toBe(row);
    } else if (!found.fold.isOpen) {
      for (let seq = found.first; seq <= found.last; seq++) {
        covered.push(seq);
        expect(folds.rowOf(seq)).toBe(row);
      }
    }
  }
  expect(covered).toEqual(Array.from({ length: count }, (_, i) => i + 1));
  expect(folds.row(folds.rows)).toBeUndefined();
  return covered;
}

describe('folds', () => {
  it('cover every event exactly once, live and ended, open and closed', () => {
    for (let seed = 1; seed <= 60; seed++) {
      let state = seed;
      const dice = (n: number) => (state = (state * 48271) % 2147483647) % n;
      const folds = new Folds();
      let count = 0;
      const starts: number[] = [];
      for (let part = 0; part < 8; part++) {
        const noisy = part % 2 === 0;
        const length = noisy ? dice(40) : 1 + dice(3);
        if (noisy && length >= SHORTEST) starts.push(count + 1);
        for (let i = 0; i < length; i++) folds.append(++count, noisy ? 1 : 2, noisy);
        check(folds, count);
        const start = starts[dice(starts.length || 1)];
        if (start !== undefined) folds.set(start, dice(2) === 0);
        check(folds, count);
      }
      folds.end();
      check(folds, count);
      folds.setAll(true);
      check(folds, count);
      folds.setAll(false);
      check(folds, count);
    }
  });

  it('leave the last events of a live run outside', () => {
    const folds = new Folds();
    for (let seq = 1; seq <= 100; seq++) folds.append(seq, 1, true);
    expect(folds.rows).toBe(1 + TAIL);
    folds.end();
    expect(folds.rows).toBe(1);
  });
});

describe('the log', () => {
  it('reads back what came, across blocks that were packed', async () => {
    const log = new Log();
    for (let seq = 1; seq <= 10_000; seq++) log.append(seq % 10 === 0 ? 'status' : 'log', seq, `{"message":"n${seq}"}`);
    await log.settled();
    const read = await log.read(4090, 4105);
    expect(read.map((entry) => entry.seq)).toEqual(Array.from({ length: 16 }, (_, i) => 4090 + i));
    expect(read[0]).toEqual({ seq: 4090, kind: 'status', time: 4090, body: '{"message":"n4090"}' });
    const found: number[] = [];
    for await (const part of log.search(new Set(['log']), 'N999')) found.push(...part.found);
    expect(found).toEqual([999, 9991, 9992, 9993, 9994, 9995, 9996, 9997, 9998, 9999]);
  });

  it('holds a million lines in less than 40 MiB', async () => {
    const log = new Log();
    const filling = 'x'.repeat(90);
    for (let seq = 1; seq <= 1_000_000; seq++) {
      log.append('log', 1.7e12 + seq, `{"level":"info","message":"${seq} ${filling}"}`);
      if (seq % 50_000 === 0) await log.settled();
    }
    await log.settled();
    expect(log.count).toBe(1_000_000);
    expect(log.bytes).toBeLessThan(40 * 1024 * 1024);
    expect((await log.get(777_777))?.body).toContain('"777777 x');
  }, 60_000);
});

const job = (part: Partial<Job>): Job => ({ id: 'j', agent: 'echo@1', status: 'running', created: 1000, lastSeq: 0, lease: {}, ...part });

describe('the table', () => {
  it('never lets a job that ended run again', () => {
    const jobs = new Jobs();
    jobs.put(job({ status: 'success', lastSeq: 9 }), 1);
    jobs.put(job({ status: 'running', lastSeq: 3 }), 2);
    expect(jobs.get('j')).toMatchObject({ status: 'success', lastSeq: 9 });
  });

  it('takes what was spent from what is left', () => {
    const one = job({ lease: { 'cost.budget': ['USD:1.00'] }, left: { USD: '0.6' } });
    expect(written(spentOf(one).get('USD') ?? money('0'))).toBe('0.40');
    expect(gauges(one)).toEqual([{ currency: 'USD', spent: '0.40', cap: '1.00', share: 0.4 }]);
  });

  it('filters by status, agent, time and text, live jobs first', () => {
    const jobs = new Jobs();
    jobs.put(job({ id: 'a', created: 1 }), 9);
    jobs.put(job({ id: 'b', status: 'error', created: 5 }), 9);
    jobs.put(job({ id: 'c', agent: 'sleep', status: 'success', created: 7 }), 9);
    const ids = (part: object) => jobs.overview({ status: [], agent: '', principal: '', text: '', within: 0, ...part }, 10, 9).jobs.map((j) => j.id);
    expect(ids({})).toEqual(['a', 'c', 'b']);
    expect(ids({ status: ['error'] })).toEqual(['b']);
    expect(ids({ agent: 'sleep' })).toEqual(['c']);
    expect(ids({ within: 4 })).toEqual(['c', 'b']);
    expect(ids({ text: 'SLEEP' })).toEqual(['c']);
  });
});

describe('denials', () => {
  it('name the operation and the flag that would allow it', () => {
    const operation = operationOf('fs.read `/etc/pass wd[1]` denied: no pattern of the lease covers it');
    expect(operation).toEqual({ namespace: 'fs.read', value: '/etc/pass wd[1]' });
    expect(flagFor('PERMISSION_DENIED', operation)).toBe("--lease 'fs.read=/etc/pass wd\\[1\\]'");
    expect(flagFor('PERMISSION_DENIED', { namespace: 'net.fetch', value: 'https://a.example/x?token=1' })).toBe('--lease net.fetch=https://a.example/x');
    expect(flagFor('PERMISSION_DENIED', { namespace: 'fs.read', value: '/very/long…' })).toBeUndefined();
  });

  it('and questions come out of the events', () => {
    const digest = new Digest('j', 'a');
    const event = (kind: string, body: unknown) => digest.take({ jobId: 'j', kind, time: 5, body: JSON.stringify(body) }, digest.seq + 1);
    event('tool_result', { call_id: 'c', error: { code: 'PERMISSION_DENIED', message: 'fs.read `/x` denied: no', retryable: false } });
    event('x-vendor.towline.input_request', { question_id: 'q', kind: 'approval', title: 'Go?', expires_at: '2026-01-01T00:00:00Z' });
    expect(digest.denials).toMatchObject([{ seq: 1, flag: '--lease fs.read=/x' }]);
    expect([...digest.questions.values()]).toMatchObject([{ id: 'q', title: 'Go?', mayAnswer: true }]);
    event('x-vendor.towline.input_resolved', { question_id: 'q', outcome: 'answered' });
    expect(digest.questions.size).toBe(0);
  });
});

it('shows what a terminal would obey', () => {
  expect(visible('a\u001b[31mb\u009b\u202e\u2066c\td\r\ne')).toBe('a\\x1b[31mb\\x9b\\u202e\\u2066c\td\ne');
  expect(visibleLine('a\nb\tc')).toBe('a\\nb\\tc');
});

it('finds diffs', () => {
  expect(diffsIn({ a: [{ path: 'x.rs', oldText: 'a\nb\n', newText: 'a\nc\n' }] })).toHaveLength(1);
  expect(lines({ before: 'a\nb\nd', after: 'a\nc\nd' })).toEqual([[' ', 'a'], ['-', 'b'], ['+', 'c'], [' ', 'd']]);
  expect(lines({ unified: '@@ -1 +1 @@\n-a\n+b\n' })).toEqual([['@', '@@ -1 +1 @@'], ['-', 'a'], ['+', 'b']]);
});
