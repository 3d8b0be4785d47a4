/**
 * A session with a runtime, kept through lost connections.
 *
 * Give it a [Host] (sockets, clock, timers: stand-ins in tests) and a [Listener], then `open`. It says hello, resumes
 * after a loss from the last event it handed on, answers and sends heartbeats, acknowledges, and sees gaps. What it
 * hands to the listener is in order and without repetition; after `welcomed(…, false)` the session is a new one and
 * whoever watches jobs has to subscribe again.
 */

import {
  FEATURES,
  VERSION,
  asString,
  read,
  readError,
  readWelcome,
  type ErrorPayload,
  type EventFrame,
  type Message,
  type Welcome,
} from './wire';

export interface Socket {
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface SocketEvents {
  opened(): void;
  received(text: string): void;
  /** Once, whether or not it was ever open. */
  closed(code: number, reason: string): void;
}

export interface Host {
  connect(url: string, events: SocketEvents): Socket;
  now(): number;
  /** Calls back after a time; the answer takes it back. */
  after(ms: number, call: () => void): () => void;
  /** From 0 to below 1. */
  random(): number;
}

/** Where the connection is. `ended` says that it will not be tried again by itself, and why. */
export type Phase =
  | { is: 'offline' }
  | { is: 'connecting' }
  | { is: 'connected' }
  | { is: 'reconnecting'; why: string }
  | { is: 'ended'; error: ErrorPayload };

export interface Listener {
  phase(phase: Phase): void;
  welcomed(welcome: Welcome, resumed: boolean): void;
  event(event: EventFrame): void;
  /** Anything that is neither an event nor the answer to a request of ours. */
  message(message: Message): void;
}

/** A request that was refused, or that nobody answered. */
export class RequestError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly retryable: boolean,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

interface Waiting {
  expects: string;
  resolve(message: Message): void;
  reject(error: RequestError): void;
  cancel(): void;
}

const REQUEST_TIMEOUT = 20_000;
const WELCOME_TIMEOUT = 15_000;
const ACK_EVERY_MS = 250;
const ACK_EVERY_EVENTS = 256;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 5_000;
/** Refusals after which the same token would be refused again. */
const FINAL = new Set(['UNAUTHENTICATED', 'PERMISSION_DENIED', 'INVALID_REQUEST']);

export class Connection {
  #socket: Socket | undefined;
  /** Counts sockets, so that a late word of an old one is known as such. */
  #generation = 0;
  #welcome: Welcome | undefined;
  #isOpen = false;
  #lastSeq = 0;
  #ackedSeq = 0;
  #ackedAt = 0;
  #heardAt = 0;
  #saidAt = 0;
  #attempts = 0;
  #sent = 0;
  #timers = new Set<() => void>();
  #waiting = new Map<string, Waiting>();
  #phase: Phase = { is: 'offline' };

  constructor(
    private readonly host: Host,
    private readonly listener: Listener,
    private readonly url: string,
    private readonly token: string,
  ) {}

  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  has(feature: string): boolean {
    return this.#welcome?.features.has(feature) ?? false;
  }

  open(): void {
    this.#tell({ is: 'connecting' });
    this.#dial();
  }

  /** Says goodbye and does not come back. */
  close(): void {
    if (this.#isOpen) this.#send('session.close', { reason: 'page closed' });
    this.#drop();
    this.#tell({ is: 'offline' });
  }

  /** Comes back at once instead of after the pause: the network is there again. */
  hurry(): void {
    if (this.#phase.is !== 'reconnecting') return;
    this.#attempts = 0;
    this.#clearTimers();
    this.#dial();
  }

  /** Sends without an answer to wait for. Nothing happens while there is no connection. */
  tell(type: string, payload: Record<string, unknown>): void {
    if (this.#isOpen) this.#send(type, payload);
  }

  /** Sends a request; the answer is the message of type `expects`, or a [RequestError]. */
  request(type: string, payload: Record<string, unknown>, expects: string): Promise<Message> {
    if (!this.#isOpen)
      return Promise.reject(new RequestError('OFFLINE', 'there is no connection to the runtime', true));
    return new Promise((resolve, reject) => {
      const id = this.#send(type, payload);
      const cancel = this.host.after(REQUEST_TIMEOUT, () => {
        this.#waiting.delete(id);
        reject(new RequestError('NO_ANSWER', `the runtime did not answer ${type}`, true));
      });
      this.#waiting.set(id, { expects, resolve, reject, cancel });
    });
  }

  #dial(): void {
    const generation = ++this.#generation;
    const mine = () => generation === this.#generation;
    this.#isOpen = false;
    this.#socket = this.host.connect(this.url, {
      opened: () => mine() && this.#hello(),
      received: (text) => mine() && this.#received(text),
      closed: (code, reason) => mine() && this.#lost(reason || `connection closed (${code})`),
    });
    this.#after(WELCOME_TIMEOUT, () => !this.#isOpen && this.#lost('no welcome'));
  }

  #hello(): void {
    const payload: Record<string, unknown> = {
      client: { name: 'towline-dashboard', version: '1' },
      auth: { scheme: 'bearer', token: this.token },
      capabilities: { encodings: ['json'], features: [...FEATURES] },
    };
    const session = this.#welcome;
    if (session?.resumeToken) {
      const resume = { resume_token: session.resumeToken, last_event_seq: this.#lastSeq };
      // Both forms: runtimes differ in which one they read.
      Object.assign(payload, resume, { resume: { session_id: session.sessionId, token: session.resumeToken, ...resume } });
    }
    this.#send('session.hello', payload);
  }

  #received(text: string): void {
    this.#heardAt = this.host.now();
    const frame = read(text);
    if (!frame) return;
    if ('event' in frame) {
      const { event } = frame;
      if (this.#isOpen && this.#isNext(event.eventSeq)) this.listener.event(event);
      return;
    }
    const { message } = frame;
    if (message.type === 'session.welcome') return this.#welcomed(message);
    if (message.type === 'session.ping')
      return void this.#send('session.pong', {
        ping_nonce: message.payload.nonce,
        received_at: new Date(this.host.now()).toISOString(),
      });
    if (message.type === 'session.pong') return;
    if (message.type === 'session.closed') return this.#closed(message);
    if (!this.#isOpen) return this.#refused(message);
    if (this.#answered(message)) return;
    if (this.#isNext(message.eventSeq)) this.listener.message(message);
  }

  #welcomed(message: Message): void {
    const before = this.#welcome;
    const welcome = readWelcome(message);
    const resumed = before !== undefined && before.sessionId === welcome.sessionId;
    if (!resumed) this.#lastSeq = this.#ackedSeq = 0;
    this.#welcome = welcome;
    this.#isOpen = true;
    this.#attempts = 0;
    this.#clearTimers();
    this.#watch(welcome);
    // Something at once: only then is the token before this one spent [ARCP 6.3-1].
    this.#acknowledge(true);
    this.#tell({ is: 'connected' });
    this.listener.welcomed(welcome, resumed);
  }

  /** Refused before a welcome. A session that is gone is begun anew; a token that is no good ends it. */
  #refused(message: Message): void {
    if (message.type !== 'session.error' && message.type !== 'job.error') return;
    const error = readError(message.payload);
    if (this.#welcome && error.code !== 'UNAUTHENTICATED' && FINAL.has(error.code)) error.code = 'RESUME_WINDOW_EXPIRED';
    if (error.code === 'RESUME_WINDOW_EXPIRED' && this.#welcome) {
      this.#welcome = undefined;
      this.#drop();
      return this.#dial();
    }
    if (!FINAL.has(error.code)) return this.#lost(error.message);
    this.#drop();
    this.#tell({ is: 'ended', error });
  }

  #closed(message: Message): void {
    const reason = asString(message.payload.reason) ?? 'closed by the runtime';
    if (reason === 'superseded' || reason === 'revoked') {
      this.#drop();
      const text = reason === 'superseded' ? 'this session was taken up elsewhere' : 'access was taken away';
      return this.#tell({ is: 'ended', error: { code: 'CLOSED', message: text, retryable: true } });
    }
    this.#lost(reason);
  }

  /** Whether this number is the session's next one. A repetition is dropped, a gap is mended by a resume [ARCP 8-4]. */
  #isNext(seq: number | undefined): boolean {
    if (seq === undefined) return true;
    if (seq <= this.#lastSeq) return false;
    if (seq > this.#lastSeq + 1) {
      this.#lost(`events ${this.#lastSeq + 1} to ${seq - 1} are missing`);
      return false;
    }
    this.#lastSeq = seq;
    this.#acknowledge(false);
    return true;
  }

  #answered(message: Message): boolean {
    const id = asString(message.payload.request_id) ?? asString(message.payload.reply_to);
    const key = id ?? this.#oldestWaitingFor(message);
    const waiting = key === undefined ? undefined : this.#waiting.get(key);
    if (key === undefined || !waiting) return false;
    this.#waiting.delete(key);
    waiting.cancel();
    if (message.type === waiting.expects) waiting.resolve(message);
    else {
      const error = readError(message.payload);
      waiting.reject(new RequestError(error.code, error.message, error.retryable, error.details));
    }
    return true;
  }

  /** Runtimes that do not say which request they answer do so in order. */
  #oldestWaitingFor(message: Message): string | undefined {
    for (const [id, waiting] of this.#waiting)
      if (waiting.expects === message.type || message.type === 'session.error') return id;
    return undefined;
  }

  #acknowledge(now: boolean): void {
    if (!this.has('ack')) {
      if (now) this.#ping();
      return;
    }
    const waited = this.host.now() - this.#ackedAt;
    const due = this.#lastSeq - this.#ackedSeq >= ACK_EVERY_EVENTS && waited >= ACK_EVERY_MS;
    if (!now && !due) return;
    this.#ackedSeq = this.#lastSeq;
    this.#ackedAt = this.host.now();
    this.#send('session.ack', { last_processed_seq: this.#lastSeq });
  }

  /** Heartbeats and the watch over them, and the acknowledgement of what came last [ARCP 6.4-2, 6.4-3]. */
  #watch(welcome: Welcome): void {
    this.#heardAt = this.host.now();
    const interval = (welcome.heartbeatSec ?? 0) * 1000;
    const tick = () => {
      if (this.#lastSeq > this.#ackedSeq && this.host.now() - this.#ackedAt >= ACK_EVERY_MS) this.#acknowledge(true);
      if (interval > 0) {
        const now = this.host.now();
        if (now - this.#heardAt >= 2 * interval) return this.#lost('the runtime went silent');
        if (now - this.#heardAt >= interval || now - this.#saidAt >= interval) this.#ping();
      }
      this.#after(tickEvery, tick);
    };
    const tickEvery = interval > 0 ? Math.min(interval / 4, 1000) : 1000;
    this.#after(tickEvery, tick);
  }

  #ping(): void {
    if (!this.has('heartbeat')) return;
    this.#send('session.ping', { nonce: this.#newId('p'), sent_at: new Date(this.host.now()).toISOString() });
  }

  #lost(why: string): void {
    this.#drop();
    this.#tell({ is: 'reconnecting', why });
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#attempts++);
    this.#after(longest * (0.5 + this.host.random() / 2), () => this.#dial());
  }

  #drop(): void {
    this.#generation++;
    this.#isOpen = false;
    this.#clearTimers();
    this.#socket?.close(1000);
    this.#socket = undefined;
    for (const waiting of this.#waiting.values()) {
      waiting.cancel();
      waiting.reject(new RequestError('OFFLINE', 'the connection was lost before the answer', true));
    }
    this.#waiting.clear();
  }

  #send(type: string, payload: Record<string, unknown>): string {
    const id = this.#newId('msg');
    const envelope: Record<string, unknown> = { arcp: VERSION, id, type };
    if (this.#isOpen && this.#welcome) envelope.session_id = this.#welcome.sessionId;
    else if (!this.#welcome) envelope.session_id = this.#newId('sess');
    if (typeof payload.job_id === 'string') envelope.job_id = payload.job_id;
    envelope.payload = payload;
    this.#saidAt = this.host.now();
    this.#socket?.send(JSON.stringify(envelope));
    return id;
  }

  #newId(kind: string): string {
    this.#sent += 1;
    const noise = Math.floor(this.host.random() * 36 ** 8).toString(36);
    return `${kind}_${this.host.now().toString(36)}${this.#sent.toString(36)}${noise}`;
  }

  #tell(phase: Phase): void {
    this.#phase = phase;
    this.listener.phase(phase);
  }

  #after(ms: number, call: () => void): void {
    const cancel = this.host.after(ms, () => {
      this.#timers.delete(cancel);
      call();
    });
    this.#timers.add(cancel);
  }

  #clearTimers(): void {
    for (const cancel of this.#timers) cancel();
    this.#timers.clear();
  }
}
