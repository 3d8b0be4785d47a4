import { describe, expect, it } from 'vitest';
import { Peer } from '../testing/peer';
import { Connection, type Listener, type Phase } from './connection';
import type { EventFrame, Message, Welcome } from './wire';

function begin() {
  const peer = new Peer();
  const seen = { phases: [] as Phase['is'][], events: [] as EventFrame[], messages: [] as Message[], welcomes: [] as boolean[] };
  const listener: Listener = {
    phase: (phase) => seen.phases.push(phase.is),
    welcomed: (_: Welcome, resumed) => seen.welcomes.push(resumed),
    event: (event) => seen.events.push(event),
    message: (message) => seen.messages.push(message),
  };
  const connection = new Connection(peer, listener, 'ws://x/arcp', 'secret');
  connection.open();
  return { peer, seen, connection };
}

const seqs = (events: EventFrame[]) => events.map((event) => event.eventSeq);

describe('the handshake', () => {
  it('shows the token and what it can do, and no more', () => {
    const { peer } = begin();
    peer.welcome();
    const [hello] = peer.sent('session.hello');
    expect(hello?.payload.auth).toEqual({ scheme: 'bearer', token: 'secret' });
    expect(hello?.payload.capabilities.features).toContain('x-vendor.towline.list');
    expect(hello?.payload.capabilities.features).not.toContain('provisioned_credentials');
    expect(hello?.payload).not.toHaveProperty('resume');
  });

  it('says something at once, so that the token before is spent', () => {
    const { peer } = begin();
    peer.welcome();
    expect(peer.sent('session.ack')).toHaveLength(1);
  });

  it('does not try a refused token again', () => {
    const { peer, seen } = begin();
    peer.current.events.opened();
    peer.say('session.error', { code: 'UNAUTHENTICATED', message: 'no', retryable: false });
    peer.pass(60_000);
    expect(seen.phases.at(-1)).toBe('ended');
    expect(peer.sockets).toHaveLength(1);
  });

  it('tries again where nobody answers', () => {
    const { peer, seen } = begin();
    peer.pass(16_000);
    expect(seen.phases).toContain('reconnecting');
    expect(peer.sockets.length).toBeGreaterThan(1);
  });
});

describe('a lost connection', () => {
  it('is resumed from the last event, in both spellings', () => {
    const { peer, seen } = begin();
    peer.welcome();
    for (const n of [1, 2, 3]) peer.event('job_1', n, n);
    peer.lose();
    expect(seen.phases.at(-1)).toBe('reconnecting');
    peer.pass(1000);
    peer.welcome();
    const [hello] = peer.sent('session.hello');
    expect(hello?.payload.resume).toMatchObject({ session_id: 'sess_1', resume_token: 'rt_1', last_event_seq: 3 });
    expect(hello?.payload).toMatchObject({ resume_token: 'rt_1', last_event_seq: 3 });
    for (const n of [3, 4]) peer.event('job_1', n, n);
    expect(seqs(seen.events)).toEqual([1, 2, 3, 4]);
    expect(seen.welcomes).toEqual([false, true]);
  });

  it('waits longer each time, and at most five seconds', () => {
    const { peer } = begin();
    peer.welcome();
    peer.lose();
    for (let n = 0; n < 12; n++) {
      peer.pass(5_000);
      expect(peer.sockets).toHaveLength(n + 2);
      peer.lose();
    }
  });

  it('begins a new session when the old one is gone', () => {
    const { peer, seen } = begin();
    peer.welcome();
    peer.event('job_1', 1, 1);
    peer.lose();
    peer.pass(1000);
    peer.current.events.opened();
    peer.say('session.error', { code: 'RESUME_WINDOW_EXPIRED', message: 'gone', retryable: false });
    peer.welcome('sess_2');
    expect(peer.sent('session.hello')[0]?.payload).not.toHaveProperty('resume_token');
    peer.event('job_1', 1, 2);
    expect(seen.welcomes).toEqual([false, false]);
    expect(seen.events.map((event) => event.jobSeq)).toEqual([1, 2]);
  });

  it('fails what waits for an answer', async () => {
    const { peer, connection } = begin();
    peer.welcome();
    const asked = connection.request('session.list_jobs', {}, 'session.jobs');
    peer.lose();
    await expect(asked).rejects.toMatchObject({ code: 'OFFLINE', retryable: true });
  });

  it('hears nothing any more of the connection before', () => {
    const { peer, seen } = begin();
    peer.welcome();
    const old = peer.current;
    peer.lose();
    peer.pass(1000);
    peer.welcome();
    old.events.received(JSON.stringify({ type: 'job.event', job_id: 'j', event_seq: 1, payload: { kind: 'log', body: {} } }));
    old.events.closed(1000, '');
    expect(seen.events).toEqual([]);
    expect(seen.phases.at(-1)).toBe('connected');
  });
});

describe('the order of events', () => {
  it('mends a gap by a resume, and hands nothing on behind it', () => {
    const { peer, seen } = begin();
    peer.welcome();
    peer.event('job_1', 1, 1);
    peer.event('job_1', 3, 3);
    expect(seen.phases.at(-1)).toBe('reconnecting');
    peer.pass(1000);
    peer.welcome();
    expect(peer.sent('session.hello')[0]?.payload.last_event_seq).toBe(1);
    for (const n of [2, 3]) peer.event('job_1', n, n);
    expect(seqs(seen.events)).toEqual([1, 2, 3]);
  });

  it('is acknowledged: after 256 events and 250 ms, and at rest', () => {
    const { peer } = begin();
    peer.welcome();
    for (let n = 1; n <= 300; n++) peer.event('job_1', n, n);
    expect(peer.sent('session.ack')).toHaveLength(1);
    peer.pass(300);
    peer.event('job_1', 301, 301);
    expect(peer.sent('session.ack').at(-1)?.payload).toEqual({ last_processed_seq: 301 });
    peer.event('job_1', 302, 302);
    peer.pass(2000);
    expect(peer.sent('session.ack').at(-1)?.payload).toEqual({ last_processed_seq: 302 });
  });
});

describe('heartbeats', () => {
  it('are answered', () => {
    const { peer } = begin();
    peer.welcome();
    peer.say('session.ping', { nonce: 'n1', sent_at: '2026-01-01T00:00:00Z' });
    expect(peer.sent('session.pong')[0]?.payload.ping_nonce).toBe('n1');
  });

  it('are sent after an interval of silence, and two of them end the connection', () => {
    const { peer, seen } = begin();
    peer.welcome();
    peer.pass(31_000);
    expect(peer.sent('session.ping').length).toBeGreaterThan(0);
    peer.pass(30_000);
    expect(seen.phases.at(-1)).not.toBe('connected');
    expect(peer.sockets[0]?.isClosed).toBe(true);
  });
});

describe('requests', () => {
  it('are matched by their id, in whatever order the answers come', async () => {
    const { peer, connection } = begin();
    peer.welcome();
    const first = connection.request('job.subscribe', { job_id: 'a' }, 'job.subscribed');
    const second = connection.request('job.subscribe', { job_id: 'b' }, 'job.subscribed');
    const [a, b] = peer.sent('job.subscribe');
    expect(a?.job_id).toBe('a');
    peer.say('job.subscribed', { request_id: b?.id, job_id: 'b' });
    peer.say('session.error', { request_id: a?.id, code: 'JOB_NOT_FOUND', message: 'no such job', retryable: false });
    await expect(second).resolves.toMatchObject({ jobId: 'b' });
    await expect(first).rejects.toMatchObject({ code: 'JOB_NOT_FOUND' });
  });

  it('are matched by order where the runtime names none', async () => {
    const { peer, connection } = begin();
    peer.welcome();
    const asked = connection.request('session.list_jobs', {}, 'session.jobs');
    peer.say('session.jobs', { jobs: [] });
    await expect(asked).resolves.toMatchObject({ type: 'session.jobs' });
  });

  it('have a time', async () => {
    const { peer, connection } = begin();
    peer.welcome();
    const asked = connection.request('job.cancel', { job_id: 'a' }, 'job.cancelled');
    peer.pass(25_000);
    await expect(asked).rejects.toMatchObject({ code: 'NO_ANSWER' });
  });
});
