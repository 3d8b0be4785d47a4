/** A scripted runtime and a clock that is moved by hand, for tests. */

import type { Host, Socket, SocketEvents } from '../arcp/connection';

export interface Sent {
  type: string;
  id: string;
  session_id?: string;
  job_id?: string;
  payload: Record<string, any>;
}

export class Peer implements Host {
  /** Every connection that was made, the last one current. */
  sockets: { url: string; events: SocketEvents; sent: Sent[]; isClosed: boolean }[] = [];
  #now = 1_000_000;
  #timers: { at: number; call: () => void }[] = [];

  connect(url: string, events: SocketEvents): Socket {
    const socket = { url, events, sent: [] as Sent[], isClosed: false };
    this.sockets.push(socket);
    return {
      send: (text) => void socket.sent.push(JSON.parse(text)),
      close: () => {
        socket.isClosed = true;
      },
    };
  }

  now = () => this.#now;
  random = () => 0.5;

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + ms, call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets time pass, timers in their order. */
  pass(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
    }
    this.#now = end;
  }

  get current() {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('nothing has connected');
    return socket;
  }

  /** What was sent of a type on the current connection. */
  sent(type: string): Sent[] {
    return this.current.sent.filter((frame) => frame.type === type);
  }

  say(type: string, payload: unknown, envelope: Record<string, unknown> = {}): void {
    this.current.events.received(JSON.stringify({ arcp: '1.1', id: 'x', type, session_id: 'sess_1', ...envelope, payload }));
  }

  welcome(session = 'sess_1', features: string[] = ['ack', 'heartbeat', 'list_jobs', 'subscribe'], extra = {}): void {
    this.current.events.opened();
    this.say(
      'session.welcome',
      {
        runtime: { name: 'peer', version: '1' },
        resume_token: `rt_${this.sockets.length}`,
        resume_window_sec: 600,
        heartbeat_interval_sec: 30,
        capabilities: { encodings: ['json'], features, agents: [{ name: 'echo', versions: ['1'] }] },
        ...extra,
      },
      { session_id: session },
    );
  }

  event(job: string, seq: number, jobSeq: number | undefined, kind = 'log', body: unknown = { level: 'info', message: `n${seq}` }): void {
    const told = jobSeq === undefined ? {} : { job_seq: jobSeq };
    this.say('job.event', { kind, ts: '2026-01-01T00:00:00.000Z', body }, { job_id: job, event_seq: seq, ...told });
  }

  lose(): void {
    this.current.events.closed(1006, '');
  }
}
