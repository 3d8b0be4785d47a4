import { describe, expect, it } from 'vitest';
import { Peer, type Sent } from '../testing/peer';
import { Backend } from './backend';
import type { Head, Op, Operations, Push } from './protocol';

const LIST = ['ack', 'list_jobs', 'subscribe', 'x-vendor.towline.list', 'x-vendor.towline.input'];
const ANY = { status: [], agent: '', principal: '', text: '', within: 0 };

/** A backend that is connected, and how to ask it. */
function begin(features: string[]) {
  const peer = new Peer();
  const pushes: Push[] = [];
  const backend = new Backend(peer, (push) => pushes.push(push));
  let id = 0;
  const ask = async <O extends Op>(op: O, args: Operations[O][0]): Promise<Operations[O][1]> => {
    const answer = await backend.answer({ id: ++id, op, args });
    if ('error' in answer) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.value as Operations[O][1];
  };
  void ask('connect', { url: 'ws://x/arcp', token: 't' });
  peer.welcome('sess_1', features);
  const head = () => pushes.findLast((push): push is { push: 'head'; head: Head } => push.push === 'head')?.head;
  return { peer, ask, head };
}

/** Lets promises go on that wait for nothing else. */
const settle = async () => {
  for (let n = 0; n < 20; n++) await Promise.resolve();
};

const entry = (id: string, status = 'running', more: Record<string, unknown> = {}) => ({
  job_id: id,
  agent: 'coder@1.0.0',
  status,
  lease: { 'cost.budget': ['USD:2.00'] },
  parent_job_id: null,
  created_at: '2026-01-01T00:00:00.000Z',
  last_event_seq: 3,
  ...more,
});

const reply = (peer: Peer, request: Sent | undefined, type: string, payload: object) => peer.say(type, { request_id: request?.id, ...payload });

describe('a runtime that pushes its list', () => {
  it('is asked once, newest first, and then heard', async () => {
    const { peer, ask } = begin(LIST);
    const [request] = peer.sent('session.list_jobs');
    expect(request?.payload).toMatchObject({ order: 'desc', follow: true, limit: 1000 });
    const told = { principal: 'alice', spent: { USD: 0.5 }, open_questions: 1, started_at: '2026-01-01T00:00:01Z' };
    reply(peer, request, 'session.jobs', { jobs: [entry('a', 'running', told)], next_cursor: null });
    await settle();
    peer.say('session.jobs', { request_id: request?.id, jobs: [entry('b', 'success', { principal: 'bob' })], next_cursor: null });
    peer.pass(10_000);
    await settle();
    expect(peer.sent('session.list_jobs')).toHaveLength(1);
    const { jobs, principals, tells } = await ask('overview', { filter: ANY, limit: 10 });
    expect(jobs.map((job) => job.id)).toEqual(['a', 'b']);
    expect(jobs[0]).toMatchObject({ principal: 'alice', spent: { USD: '0.5' }, openQuestions: 1 });
    expect(principals).toEqual(['alice', 'bob']);
    // Now and then it is looked at all the same, and after a loss it is followed anew.
    for (let n = 0; n < 14; n++) {
      peer.pass(2000);
      await settle();
    }
    expect(peer.sent('session.list_jobs')).toHaveLength(2);
    expect(peer.sent('session.list_jobs')[1]?.payload).not.toHaveProperty('follow');
    peer.lose();
    await settle();
    peer.pass(1000);
    peer.welcome('sess_1', LIST);
    expect(peer.sent('session.list_jobs')[0]?.payload).toMatchObject({ follow: true });
    expect(tells).toMatchObject({ principals: true, questions: true, spent: true });
  });

  it('and its questions can be answered from the inbox', async () => {
    const { peer, ask } = begin(LIST);
    reply(peer, peer.sent('session.list_jobs')[0], 'session.jobs', { jobs: [entry('a', 'running', { open_questions: 1 })], next_cursor: null });
    await settle();
    const [subscribe] = peer.sent('job.subscribe');
    expect(subscribe?.payload).toEqual({ job_id: 'a', history: true });
    reply(peer, subscribe, 'job.subscribed', { job_id: 'a', current_status: 'running', agent: 'coder@1.0.0', lease: {} });
    const asked = { question_id: 'q1', kind: 'approval', title: 'Push?', operation: { namespace: 'tool.call', value: 'exec:git' }, expires_at: '2026-01-01T01:00:00Z' };
    peer.event('a', 1, 1, 'x-vendor.towline.input_request', asked);
    expect(await ask('questions', {})).toMatchObject([{ jobId: 'a', id: 'q1', title: 'Push?', agent: 'coder@1.0.0' }]);
    const answered = ask('answer', { job: 'a', question: 'q1', answer: true, remember: true });
    const [answer] = peer.sent('x-vendor.towline.answer');
    expect(answer).toMatchObject({ job_id: 'a', payload: { job_id: 'a', question_id: 'q1', answer: true, remember: true } });
    reply(peer, answer, 'x-vendor.towline.answered', { job_id: 'a', question_id: 'q1' });
    await answered;
    peer.event('a', 2, 2, 'x-vendor.towline.input_resolved', { question_id: 'q1', outcome: 'answered', answer: true, by: 'alice' });
    expect(await ask('questions', {})).toEqual([]);
  });

  it('and its agents can be spoken to', async () => {
    const { peer, ask } = begin(LIST);
    const said = ask('say', { job: 'a', body: 'stop' });
    const [message] = peer.sent('x-vendor.towline.message');
    expect(message?.payload).toEqual({ job_id: 'a', body: 'stop' });
    reply(peer, message, 'session.error', { code: 'INVALID_REQUEST', message: 'this agent does not listen', retryable: false });
    await expect(said).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });
});

describe('any other runtime', () => {
  it('is asked again while somebody looks, and what ended in between is found', async () => {
    const { peer, ask } = begin(['ack', 'list_jobs', 'subscribe']);
    const answered = new Set<string>();
    /** Answers every listing as a runtime would that has these jobs. */
    const serve = async (jobs: ReturnType<typeof entry>[]) => {
      for (let n = 0; n < 20; n++) {
        await settle();
        for (const request of peer.sent('session.list_jobs').filter(({ id }) => !answered.has(id))) {
          answered.add(request.id);
          const { status, created_after: after } = request.payload.filter ?? {};
          const found = jobs.filter((job) => (!status || status.includes(job.status)) && (!after || job.created_at > after));
          reply(peer, request, 'session.jobs', { jobs: found, next_cursor: null });
        }
      }
    };
    const at = (seconds: number) => ({ created_at: new Date(1_000_000 + seconds * 1000).toISOString() });
    await serve([entry('a', 'running', at(1))]);
    peer.pass(2000);
    // `b` came and went unseen while the newer `c` is live; `a` ended.
    await serve([entry('a', 'error', at(1)), entry('b', 'success', at(2)), entry('c', 'running', at(3))]);
    const { jobs, tells } = await ask('overview', { filter: ANY, limit: 10 });
    expect(jobs.map((job) => [job.id, job.status])).toEqual([['c', 'running'], ['b', 'success'], ['a', 'error']]);
    expect(tells).toMatchObject({ principals: false, questions: false });
    expect(peer.sent('session.list_jobs').every(({ payload }) => !('follow' in payload))).toBe(true);
  });
});

describe('a job that is looked at', () => {
  it('is caught up exactly when the session was lost for good', async () => {
    const { peer, ask, head } = begin(['ack', 'subscribe']);
    await ask('open', { job: 'a' });
    const told = { job_id: 'a', current_status: 'running', agent: 'x', lease: {} };
    reply(peer, peer.sent('job.subscribe')[0], 'job.subscribed', told);
    await settle();
    for (const n of [1, 2, 3]) peer.event('a', n, n);
    peer.lose();
    peer.pass(1000);
    peer.current.events.opened();
    peer.say('session.error', { code: 'RESUME_WINDOW_EXPIRED', message: 'gone', retryable: false });
    peer.welcome('sess_2', ['ack', 'subscribe']);
    const [again] = peer.sent('job.subscribe');
    expect(again?.payload).toEqual({ job_id: 'a', history: true, from_event_seq: 3 });
    reply(peer, again, 'job.subscribed', told);
    await settle();
    // One too many at the seam, and one is missing behind it: dropped, and asked for.
    for (const [seq, jobSeq] of [[1, 3], [2, 4], [3, 6]] as const) peer.event('a', seq, jobSeq);
    const mended = peer.sent('job.subscribe')[1];
    expect(mended?.payload).toEqual({ job_id: 'a', history: true, from_event_seq: 4 });
    reply(peer, mended, 'job.subscribed', told);
    await settle();
    peer.event('a', 4, 5);
    peer.event('a', 5, 6);
    peer.say('job.result', { final_status: 'success', result: { ok: true } }, { job_id: 'a', event_seq: 6, job_seq: 7 });
    peer.pass(1000);
    expect(head()).toMatchObject({ count: 7, status: 'success', isLoading: false });
    const { rows } = await ask('rows', { job: 'a', from: 0, to: 100 });
    expect(rows.map((row) => ('seq' in row ? row.seq : 0))).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(await ask('result', { job: 'a' })).toMatchObject({ text: '{\n  "ok": true\n}', isJson: true });
  });

  it('is subscribed to when the connection is back, having been opened without one', async () => {
    const { peer, ask, head } = begin(['subscribe']);
    peer.lose();
    await ask('open', { job: 'a' });
    await settle();
    peer.pass(1000);
    peer.welcome('sess_1', ['subscribe']);
    reply(peer, peer.sent('job.subscribe')[0], 'job.subscribed', { job_id: 'a', current_status: 'running', agent: 'x', lease: {} });
    await settle();
    peer.pass(1000);
    expect(head()).toMatchObject({ status: 'running', refusal: undefined });
  });

  it('is submitted once, however often it has to be said', async () => {
    const { peer, ask } = begin(['subscribe']);
    const submitted = ask('submit', { agent: 'echo', input: '{"n":1}' });
    const first = peer.sent('job.submit')[0];
    peer.lose();
    await settle();
    peer.pass(1000);
    peer.welcome('sess_1', ['subscribe']);
    await settle();
    const second = peer.sent('job.submit')[0];
    expect(second?.payload).toEqual(first?.payload);
    expect(first?.payload).toMatchObject({ agent: 'echo', input: { n: 1 } });
    reply(peer, second, 'job.accepted', { job_id: 'j1', agent: 'echo' });
    expect(await submitted).toEqual({ job: 'j1' });
    expect(await ask('inputOf', { job: 'j1' })).toBe('{"n":1}');
  });

  it('is numbered by the page where events carry no number of the job', async () => {
    const { peer, ask, head } = begin(['subscribe']);
    await ask('open', { job: 'a' });
    reply(peer, peer.sent('job.subscribe')[0], 'job.subscribed', { job_id: 'a', current_status: 'running', agent: 'x', lease: {} });
    await settle();
    for (const n of [1, 2]) peer.event('a', n, undefined);
    peer.pass(1000);
    expect(head()).toMatchObject({ count: 2 });
  });
});
