/**
 * Which jobs this session is subscribed to, and for whom: one that is looked at whole ([Watch]), or one whose events are
 * only glanced at for its progress, its questions and its refusals ([Digest]).
 */

import type { Connection } from '../arcp/connection';
import { RequestError } from '../arcp/connection';
import { asStatus, isLive, type EventFrame, type Message } from '../arcp/wire';
import { Digest } from '../model/digest';
import { Watch } from '../model/watch';

/** Looking closer than this at what nobody opened costs more than it tells. */
const GLANCES = 40;
const GLANCE_EVENTS_A_SECOND = 400;
/** A log mended by asking again is not asked for faster than this. */
const MEND_EVERY_MS = 1000;

interface Glance {
  digest: Digest;
  counter: number;
  second: number;
  inSecond: number;
  done: () => void;
}

export class Subscriptions {
  readonly watches = new Map<string, Watch>();
  readonly glances = new Map<string, Glance>();
  /** Digests of jobs whose events are not followed any more. */
  readonly digests = new Map<string, Digest>();
  readonly #noisy = new Set<string>();
  #mended = new Map<string, number>();

  constructor(
    private readonly connection: () => Connection | undefined,
    private readonly now: () => number,
    private readonly changed: (job: string) => void,
    private readonly ended: (job: string) => void,
  ) {}

  /** Everything again, after a welcome that began a new session. */
  restart(): void {
    for (const watch of this.watches.values()) void this.#subscribe(watch);
    const glances = [...this.glances.values()];
    this.glances.clear();
    for (const glance of glances) {
      this.digests.delete(glance.digest.jobId);
      glance.done();
    }
  }

  /** After a welcome that took the session up again: what was asked for while there was no connection. */
  resumed(): void {
    for (const watch of this.watches.values()) if (!watch.isSubscribed && !watch.refusal) void this.#subscribe(watch);
  }

  clear(): void {
    for (const glance of this.glances.values()) glance.done();
    for (const map of [this.watches, this.glances, this.digests, this.#mended]) map.clear();
    this.#noisy.clear();
  }

  open(job: string): Watch {
    const known = this.watches.get(job);
    if (known) return known;
    const watch = new Watch(job);
    this.watches.set(job, watch);
    void this.#subscribe(watch);
    return watch;
  }

  leave(job: string): void {
    const watch = this.watches.get(job);
    if (!watch) return;
    if (!watch.isLive) this.digests.set(job, watch.digest);
    this.watches.delete(job);
    this.#mended.delete(job);
    if (!this.glances.has(job)) this.connection()?.tell('job.unsubscribe', { job_id: job });
  }

  get hasRoom(): boolean {
    return this.glances.size < GLANCES;
  }

  isKnown(job: string): boolean {
    return this.watches.has(job) || this.glances.has(job) || this.#noisy.has(job) || this.digests.has(job);
  }

  /** Looks at a job's events without keeping them. Resolves when that is over: it ended, it is too loud, it is refused. */
  glance(job: string, agent: string, history: boolean): Promise<void> {
    const connection = this.connection();
    if (!connection?.has('subscribe') || this.glances.has(job)) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        this.glances.delete(job);
        resolve();
      };
      const glance: Glance = { digest: new Digest(job, agent), counter: 0, second: 0, inSecond: 0, done };
      this.glances.set(job, glance);
      this.digests.set(job, glance.digest);
      connection.request('job.subscribe', { job_id: job, history }, 'job.subscribed').then(
        ({ payload }) => {
          const status = asStatus(payload.current_status);
          if (!history && status && !isLive(status)) done();
        },
        () => done(),
      );
    });
  }

  event(event: EventFrame): void {
    const watch = this.watches.get(event.jobId);
    if (watch) {
      if (!watch.take(event) && watch.isSubscribed) this.#mend(watch);
      this.changed(event.jobId);
    }
    const glance = this.glances.get(event.jobId);
    if (glance) this.#glanced(glance, event);
  }

  /** A terminal. */
  end(message: Message): void {
    const job = message.jobId ?? '';
    const watch = this.watches.get(job);
    if (watch) {
      if (!watch.end(message) && watch.isSubscribed) this.#mend(watch);
      this.changed(job);
    }
    const status = asStatus(message.payload.final_status) ?? (message.type === 'job.result' ? 'success' : 'error');
    this.digests.get(job)?.end(status);
    this.glances.get(job)?.done();
    this.ended(job);
  }

  async #subscribe(watch: Watch): Promise<void> {
    const connection = this.connection();
    // Before the first welcome nobody knows; that one begins with all of them.
    if (!connection?.welcome) return;
    if (!connection.has('subscribe')) {
      watch.refusal = { code: 'NOT_OFFERED', message: 'this runtime does not let jobs be watched' };
      return this.changed(watch.id);
    }
    const from = watch.log.count;
    const payload = { job_id: watch.id, history: true, ...(from > 0 ? { from_event_seq: from } : {}) };
    // Events that come before the answer are taken as well, for some runtimes send history first; a gap is none yet.
    watch.isSubscribed = false;
    try {
      watch.subscribed(await connection.request('job.subscribe', payload, 'job.subscribed'), from);
    } catch (error) {
      const told = error instanceof RequestError ? error : undefined;
      if (told && !told.retryable) watch.refusal = { code: told.code, message: told.message };
    }
    this.changed(watch.id);
  }

  #mend(watch: Watch): void {
    const before = this.#mended.get(watch.id) ?? 0;
    if (this.now() - before < MEND_EVERY_MS) return;
    this.#mended.set(watch.id, this.now());
    void this.#subscribe(watch);
  }

  #glanced(glance: Glance, event: EventFrame): void {
    const { digest } = glance;
    glance.counter = event.jobSeq ?? glance.counter + 1;
    if (glance.counter <= digest.seq) return;
    const second = Math.floor(this.now() / 1000);
    glance.inSecond = second === glance.second ? glance.inSecond + 1 : 1;
    glance.second = second;
    digest.take(event, glance.counter);
    if (glance.inSecond > GLANCE_EVENTS_A_SECOND && !this.watches.has(event.jobId)) {
      this.#noisy.add(event.jobId);
      this.connection()?.tell('job.unsubscribe', { job_id: event.jobId });
      glance.done();
    }
    this.changed(event.jobId);
  }
}
