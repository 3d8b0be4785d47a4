/** What the worker does for the page: it holds the session, the table of jobs and the logs, and answers questions about them. */

import { Connection, RequestError, type Host, type Phase } from '../arcp/connection';
import { INPUT, LIST, isLive, isObject, type EventFrame, type Message, type Welcome } from '../arcp/wire';
import type { Question } from '../model/digest';
import { Jobs, type Job } from '../model/jobs';
import { Lister } from '../model/lister';
import { headOf, sums } from './heads';
import type { Answer, Command, Costs, DenialList, Op, Operations, Push, Submission } from './protocol';
import { Subscriptions } from './subscriptions';

/** How often the runtime is asked, while somebody looks, where it does not tell by itself. */
const POLL_MS = 1500;
/** How often the page is told of what changed. */
const TELL_MS = 100;
/** … and while events pour in, when more often would only take time from them. */
const TELL_LOUD_MS = 400;
const LOUD_EVENTS = 500;
/** Logs of jobs that ended are searched for refusals up to this size. */
const SCANNED_EVENTS = 5000;
/** How long something that has to be said waits for the connection to come back. */
const WELCOME_MS = 30_000;
const SCANNED_JOBS = 40;
/** Questions of a job that is older than this were asked before; its log is short enough to look. */
const ASKED_WITHIN_EVENTS = 5000;

type Handlers = { [O in Op]: (args: Operations[O][0]) => Operations[O][1] | Promise<Operations[O][1]> };

export class Backend {
  #connection: Connection | undefined;
  #jobs = new Jobs();
  #lister: Lister | undefined;
  #subscriptions: Subscriptions;
  #inputs = new Map<string, string>();
  #changedJobs = new Set<string>();
  #isTelling = false;
  #tableChanged = false;
  #untold = 0;
  #wasLoud = false;
  #isVisible = true;
  #stopPolling: () => void = () => {};
  #scan = { limit: SCANNED_JOBS, done: new Set<string>(), skipped: 0, isRunning: false };
  #version = 0;
  #onWelcome: (() => void)[] = [];

  constructor(
    private readonly host: Host,
    private readonly post: (push: Push) => void,
  ) {
    this.#subscriptions = new Subscriptions(
      () => this.#connection,
      () => host.now(),
      (job) => this.#changed(job),
      () => void this.#lister?.refresh(),
    );
  }

  async answer(command: Command): Promise<Answer> {
    const { id, op, args } = command;
    try {
      const handler = this.#handlers[op] as (args: unknown) => unknown;
      return { id, value: await handler(args) };
    } catch (error) {
      const told = error instanceof RequestError ? error : undefined;
      const message = error instanceof Error ? error.message : String(error);
      return { id, error: { code: told?.code ?? 'PAGE_ERROR', message, details: told?.details } };
    }
  }

  readonly #handlers: Handlers = {
    connect: ({ url, token }) => this.#connect(url, token),
    disconnect: () => this.#disconnect(),
    hurry: () => this.#connection?.hurry(),
    attend: ({ isVisible }) => {
      this.#isVisible = isVisible;
      if (isVisible) void this.#refresh();
    },
    overview: ({ filter, limit }) => this.#overview(filter, limit),
    open: ({ job }) => {
      this.#subscriptions.open(job);
      this.#changed(job);
    },
    leave: ({ job }) => this.#subscriptions.leave(job),
    children: ({ job }) => this.#jobs.children(job),
    rows: async ({ job, from, to }) => ({ rows: (await this.#watch(job)?.read(from, to)) ?? [], version: this.#version }),
    rowOf: ({ job, seq }) => this.#watch(job)?.rowOf(seq) ?? 0,
    detail: ({ job, seq }) => this.#watch(job)?.detail(seq),
    filter: ({ job, kinds, text }) => this.#watch(job)?.filter(kinds, text, () => this.#changed(job)),
    fold: ({ job, first, isOpen }) => {
      const folds = this.#watch(job)?.log.folds;
      if (first === undefined) folds?.setAll(isOpen);
      else folds?.set(first, isOpen);
      this.#changed(job);
    },
    result: ({ job }) => this.#watch(job)?.result(),
    inputOf: ({ job }) => this.#inputs.get(job),
    cancel: async ({ job }) => {
      await this.#session().request('job.cancel', { job_id: job, reason: 'cancelled in the dashboard' }, 'job.cancelled');
    },
    submit: (submission) => this.#submit(submission),
    answer: async ({ job, question, answer, note, remember }) => {
      const payload = { job_id: job, question_id: question, answer, ...(note ? { note } : {}), ...(remember ? { remember } : {}) };
      await this.#session().request('x-vendor.towline.answer', payload, 'x-vendor.towline.answered');
    },
    say: async ({ job, body }) => {
      const payload = { job_id: job, body };
      await this.#session().request('x-vendor.towline.message', payload, 'x-vendor.towline.message_accepted');
    },
    costs: () => this.#costs(),
    denials: ({ more }) => this.#denials(more),
    questions: () => this.#questions(),
  };

  #connect(url: string, token: string): void {
    this.#disconnect();
    const connection = new Connection(
      this.host,
      {
        phase: (phase) => connection === this.#connection && this.#phase(phase),
        welcomed: (welcome, resumed) => this.#welcomed(welcome, resumed),
        event: (event) => this.#event(event),
        message: (message) => this.#message(message),
      },
      url,
      token,
    );
    this.#connection = connection;
    this.#lister = new Lister(connection, this.#jobs, () => this.host.now(), () => this.#tableChanges());
    connection.open();
  }

  #disconnect(): void {
    this.#stopPolling();
    this.#connection?.close();
    this.#connection = undefined;
    this.#jobs.clear();
    this.#subscriptions.clear();
    this.#inputs.clear();
    this.#scan = { limit: SCANNED_JOBS, done: new Set(), skipped: 0, isRunning: false };
  }

  #phase(phase: Phase): void {
    const welcome = this.#connection?.welcome;
    const runtime = welcome && { ...welcome.runtime, features: [...welcome.features], agents: welcome.agents };
    this.post({ push: 'phase', phase, runtime });
  }

  #welcomed(_welcome: Welcome, resumed: boolean): void {
    if (!resumed) {
      this.#lister?.restart();
      this.#subscriptions.restart();
    } else {
      this.#lister?.resumed();
      this.#subscriptions.resumed();
    }
    for (const call of this.#onWelcome.splice(0)) call();
    void this.#refresh();
  }

  #event(event: EventFrame): void {
    this.#untold++;
    this.#subscriptions.event(event);
  }

  #message(message: Message): void {
    const { type } = message;
    if (type === 'job.result' || type === 'job.error') this.#subscriptions.end(message);
    else if (type === 'session.jobs' || Array.isArray(message.payload.jobs) || isObject(message.payload.job)) this.#lister?.pushed(message);
    else if (type === 'job.accepted') void this.#lister?.refresh();
  }

  async #refresh(): Promise<void> {
    this.#stopPolling();
    const connection = this.#connection;
    await this.#lister?.refresh();
    if (connection !== this.#connection) return;
    this.#glance();
    this.#stopPolling = this.host.after(POLL_MS, () => {
      if (this.#isVisible) void this.#refresh();
    });
  }

  /** Looks at live jobs a little: how far they are, and whether they ask something. */
  #glance(): void {
    const tellsQuestions = this.#connection?.has(LIST) ?? false;
    const mayAsk = this.#connection?.has(INPUT) ?? false;
    const live = [...this.#jobs.all()].filter((job) => isLive(job.status) && !this.#subscriptions.isKnown(job.id));
    live.sort((a, b) => (b.openQuestions ?? 0) - (a.openQuestions ?? 0) || b.created - a.created);
    for (const job of live) {
      if (!this.#subscriptions.hasRoom) return;
      const asks = tellsQuestions ? (job.openQuestions ?? 0) > 0 : mayAsk && job.lastSeq < ASKED_WITHIN_EVENTS;
      void this.#subscriptions.glance(job.id, job.agent, asks);
    }
  }

  #overview(filter: Operations['overview'][0]['filter'], limit: number): Operations['overview'][1] {
    const overview = this.#jobs.overview(filter, limit, this.host.now());
    overview.jobs = overview.jobs.map((job) => this.#enriched(job));
    overview.questions = Math.max(overview.questions, this.#questions().length);
    overview.isLoaded = this.#lister?.isLoaded ?? false;
    overview.tells.progress ||= overview.jobs.some((job) => job.progress !== undefined);
    overview.tells.questions ||= this.#connection?.has(INPUT) ?? false;
    return overview;
  }

  /** A job with what its events told beyond the listing. */
  #enriched(job: Job): Job {
    const digest = this.#subscriptions.watches.get(job.id)?.digest ?? this.#subscriptions.digests.get(job.id);
    if (!digest) return job;
    return {
      ...job,
      progress: isLive(job.status) ? (digest.progress ?? job.progress) : undefined,
      lastSeq: Math.max(job.lastSeq, digest.seq),
      openQuestions: digest.questions.size > 0 ? digest.questions.size : job.openQuestions,
    };
  }

  #watch(job: string) {
    return this.#subscriptions.watches.get(job);
  }

  #session(): Connection {
    if (!this.#connection) throw new RequestError('OFFLINE', 'there is no connection to the runtime', true);
    return this.#connection;
  }

  async #submit(submission: Submission): Promise<{ job: string }> {
    const { agent, input, lease, expiresAt, maxRuntimeSec } = submission;
    // The key makes it safe to say it twice when the connection goes before the answer comes.
    const payload: Record<string, unknown> = { agent, idempotency_key: `dashboard-${crypto.randomUUID()}` };
    if (input.trim()) payload.input = JSON.parse(input);
    if (lease && Object.keys(lease).length > 0) payload.lease_request = lease;
    if (expiresAt) payload.lease_constraints = { expires_at: expiresAt };
    if (maxRuntimeSec) payload.max_runtime_sec = maxRuntimeSec;
    const reply = await this.#insist(() => this.#session().request('job.submit', payload, 'job.accepted'));
    const job = reply.jobId ?? '';
    this.#inputs.set(job, input.trim());
    void this.#lister?.refresh();
    return { job };
  }

  /** Says it again, after the connection is back, when that was lost before the answer. */
  async #insist<T>(call: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof RequestError) || error.code !== 'OFFLINE' || attempt === 3) throw error;
        await new Promise<void>((resolve, reject) => {
          this.#onWelcome.push(resolve);
          this.host.after(WELCOME_MS, () => reject(error));
        });
      }
    }
  }

  #questions(): Question[] {
    const digests = [...this.#subscriptions.digests.values(), ...[...this.#subscriptions.watches.values()].map((w) => w.digest)];
    const found = new Map<string, Question>();
    for (const digest of digests)
      for (const question of digest.questions.values()) found.set(`${question.jobId} ${question.id}`, question);
    return [...found.values()].sort((a, b) => a.asked - b.asked);
  }

  #costs(): Costs {
    const day = (job: Job) => new Date(job.created).toISOString().slice(0, 10);
    const by = {
      agent: sums(this.#jobs.costs((job) => job.agent.split('@')[0])),
      principal: sums(this.#jobs.costs((job) => job.principal)),
      day: sums(this.#jobs.costs(day)),
    };
    const currencies = [...new Set(by.agent.map((sum) => sum.currency))].sort();
    return { by, currencies, jobs: this.#jobs.size };
  }

  #denials(more: boolean): DenialList {
    if (more) this.#scan.limit += SCANNED_JOBS;
    void this.#scanDenials();
    const digests = new Map(this.#subscriptions.digests);
    for (const watch of this.#subscriptions.watches.values()) digests.set(watch.id, watch.digest);
    const denials = [...digests.values()].flatMap((digest) =>
      digest.denials.map((denial) => ({ ...denial, agent: this.#jobs.get(digest.jobId)?.agent ?? digest.agent })),
    );
    denials.sort((a, b) => b.time - a.time);
    const { done, skipped, isRunning } = this.#scan;
    return { denials: denials.slice(0, 500), scanned: done.size, skipped, isScanning: isRunning };
  }

  /** Reads the logs of the newest jobs for refusals, a few at a time. */
  async #scanDenials(): Promise<void> {
    const scan = this.#scan;
    if (scan.isRunning) return;
    const newest = [...this.#jobs.all()].sort((a, b) => b.created - a.created).slice(0, scan.limit);
    const waiting = newest.filter((job) => !scan.done.has(job.id));
    if (waiting.length === 0) return;
    scan.isRunning = true;
    const lane = async () => {
      for (let job = waiting.shift(); job && scan === this.#scan; job = waiting.shift()) {
        scan.done.add(job.id);
        if (job.lastSeq > SCANNED_EVENTS) scan.skipped++;
        else if (!this.#subscriptions.watches.has(job.id)) await this.#scanJob(job);
      }
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    scan.isRunning = false;
    this.post({ push: 'denials' });
  }

  /** A live job is glanced at from its start and not waited for. */
  async #scanJob(job: Job): Promise<void> {
    const over = this.#subscriptions.glance(job.id, job.agent, true);
    if (!isLive(job.status)) await over;
  }

  #tableChanges(): void {
    this.#tableChanged = true;
    this.#tellSoon();
  }

  #changed(job: string): void {
    this.#changedJobs.add(job);
    this.#tellSoon();
  }

  #tellSoon(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.host.after(this.#wasLoud ? TELL_LOUD_MS : TELL_MS, () => {
      this.#isTelling = false;
      this.#wasLoud = this.#untold > LOUD_EVENTS;
      this.#untold = 0;
      this.#version++;
      if (this.#tableChanged) this.post({ push: 'jobs' });
      this.#tableChanged = false;
      const changed = this.#changedJobs;
      this.#changedJobs = new Set();
      for (const watch of this.#subscriptions.watches.values()) {
        if (!changed.has(watch.id)) continue;
        const job = this.#jobs.get(watch.id);
        const children = this.#jobs.children(watch.id);
        this.post({ push: 'head', head: headOf(watch, job, children, this.#version) });
      }
      if (changed.size > 0) this.post({ push: 'questions' });
    });
  }
}
