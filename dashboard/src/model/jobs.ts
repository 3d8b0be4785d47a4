/** The table of jobs, as the runtime lists them. */

import { amountsAt, members, textAt } from '../arcp/raw';
import {
  STATUSES,
  asLease,
  asNumber,
  asStatus,
  asString,
  isLive,
  isObject,
  type Lease,
  type Message,
  type Status,
} from '../arcp/wire';
import { ZERO, amount, caps, minus, plus, written, type Amount } from './money';

export interface Job {
  id: string;
  agent: string;
  status: Status;
  parent?: string;
  created: number;
  traceId?: string;
  lastSeq: number;
  lease: Lease;
  expiresAt?: number;
  /** What is left, by currency, as the runtime wrote it. */
  left?: Record<string, string>;
  // What only some runtimes tell:
  principal?: string;
  started?: number;
  completed?: number;
  spent?: Record<string, string>;
  openQuestions?: number;
  schedule?: string;
  waitingFor?: string;
  progress?: { current: number; total?: number; units?: string; message?: string };
}

/** The jobs of a listing or a push, each read beside its own text for the digits of its amounts. */
export function readJobs(message: Message): Job[] {
  const list = message.payload.jobs;
  const one = message.payload.job;
  if (isObject(one)) return [readJob(one, textAt(message.text, 'payload', 'job') ?? '{}')].filter((job) => job !== undefined);
  if (!Array.isArray(list)) return [];
  const texts = elements(textAt(message.text, 'payload', 'jobs') ?? '[]');
  return list.flatMap((value, index) => {
    const job = readJob(value, texts[index] ?? '{}');
    return job ? [job] : [];
  });
}

/** The texts of an array's elements. */
function elements(array: string): string[] {
  const texts: string[] = [];
  for (let at = 1; at < array.length; at++) {
    if (array[at] !== '{') continue;
    // An object's members are read to find where it ends.
    const found = members(array, at);
    if (!found) return texts;
    const last = [...found.values()].at(-1);
    const end = array.indexOf('}', last ? last[1] : at) + 1;
    texts.push(array.slice(at, end));
    at = end - 1;
  }
  return texts;
}

function readJob(value: unknown, text: string): Job | undefined {
  if (!isObject(value)) return undefined;
  const id = asString(value.job_id);
  const status = asStatus(value.status) ?? asStatus(value.current_status);
  if (!id || !status) return undefined;
  const constraints = isObject(value.lease_constraints) ? value.lease_constraints : {};
  const progress = isObject(value.progress) ? value.progress : undefined;
  const schedule = isObject(value.schedule) ? asString(value.schedule.name) : undefined;
  const waiting = isObject(value.waiting_for) ? value.waiting_for : undefined;
  return {
    id,
    agent: asString(value.agent) ?? '',
    status,
    parent: asString(value.parent_job_id),
    created: time(value.created_at) ?? time(value.submitted_at) ?? 0,
    traceId: asString(value.trace_id),
    lastSeq: asNumber(value.last_event_seq) ?? 0,
    lease: asLease(value.lease),
    expiresAt: time(constraints.expires_at),
    left: amountsAt(text, 'budget'),
    principal: asString(value.principal),
    started: time(value.started_at),
    completed: time(value.completed_at),
    spent: amountsAt(text, 'spent'),
    openQuestions: Array.isArray(value.open_questions) ? value.open_questions.length : asNumber(value.open_questions),
    schedule,
    waitingFor: waiting && `${asString(waiting.queue) ?? 'queue'}, place ${asNumber(waiting.position) ?? '?'}`,
    progress:
      progress && typeof progress.current === 'number'
        ? { current: progress.current, total: asNumber(progress.total), units: asString(progress.units) }
        : undefined,
  };
}

const time = (value: unknown) => {
  const ms = typeof value === 'string' ? Date.parse(value) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
};

/** What a job has spent: as told, or the difference between what it was given and what it has left. */
export function spentOf(job: Job): Map<string, Amount> {
  const spent = new Map<string, Amount>();
  for (const [currency, text] of Object.entries(job.spent ?? {})) spent.set(currency, amount(text) ?? ZERO);
  if (job.spent) return spent;
  const cap = caps(job.lease['cost.budget']);
  for (const [currency, text] of Object.entries(job.left ?? {})) {
    const left = amount(text);
    const given = cap.get(currency);
    if (left && given) spent.set(currency, minus(given, left));
  }
  return spent;
}

export interface Gauge {
  currency: string;
  spent: string;
  cap?: string;
  /** From 0 to 1. */
  share: number;
}

export function gauges(job: Job): Gauge[] {
  const cap = caps(job.lease['cost.budget']);
  const spent = spentOf(job);
  return [...new Set([...cap.keys(), ...spent.keys()])].map((currency) => {
    const used = spent.get(currency) ?? ZERO;
    const given = cap.get(currency);
    const part = given && given.units > 0n ? (Number(used.units) / Number(given.units)) * 10 ** (given.scale - used.scale) : 0;
    return {
      currency,
      spent: written(used),
      cap: given && written(given),
      share: Math.min(1, Math.max(0, part)),
    };
  });
}

export interface Filter {
  status: Status[];
  agent: string;
  principal: string;
  text: string;
  /** Created at most so long ago, in milliseconds; 0 is ever. */
  within: number;
}

export interface Overview {
  jobs: Job[];
  /** How many fit the filter, shown or not. */
  fitting: number;
  total: number;
  counts: Record<Status, number>;
  agents: string[];
  principals: string[];
  startedLastMinute: number;
  endedLastMinute: number;
  failedLastHour: number;
  questions: number;
  /** Whether everything was listed once. */
  isLoaded: boolean;
  tells: { spent: boolean; principals: boolean; questions: boolean; progress: boolean };
}

export class Jobs {
  #jobs = new Map<string, Job>();
  #ends = new Map<string, number>();

  get(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  get size(): number {
    return this.#jobs.size;
  }

  all(): IterableIterator<Job> {
    return this.#jobs.values();
  }

  /** Takes what was listed or pushed. A job that has ended never runs again, and its number never falls. */
  put(job: Job, now: number): void {
    const known = this.#jobs.get(job.id);
    if (known && !isLive(known.status) && isLive(job.status)) return;
    if (known && isLive(known.status) && !isLive(job.status)) this.#ends.set(job.id, job.completed ?? now);
    job.lastSeq = Math.max(job.lastSeq, known?.lastSeq ?? 0);
    job.progress ??= known?.progress;
    this.#jobs.set(job.id, job);
  }

  forget(id: string): void {
    this.#jobs.delete(id);
    this.#ends.delete(id);
  }

  clear(): void {
    this.#jobs.clear();
    this.#ends.clear();
  }

  children(id: string): Job[] {
    return [...this.#jobs.values()].filter((job) => job.parent === id).sort(oldestFirst);
  }

  overview(filter: Filter, limit: number, now: number): Overview {
    const fits = fitting(filter, now);
    const jobs: Job[] = [];
    const counts = Object.fromEntries(STATUSES.map((status) => [status, 0])) as Record<Status, number>;
    const agents = new Set<string>();
    const principals = new Set<string>();
    const tells = { spent: false, principals: false, questions: false, progress: false };
    let started = 0;
    let questions = 0;
    let failed = 0;
    for (const job of this.#jobs.values()) {
      counts[job.status]++;
      agents.add(bare(job.agent));
      if (job.principal) principals.add(job.principal);
      if (now - job.created < 60_000) started++;
      questions += job.openQuestions ?? 0;
      if ((job.status === 'error' || job.status === 'timed_out') && now - (job.completed ?? job.created) < 3_600_000) failed++;
      tells.spent ||= job.spent !== undefined || job.left !== undefined;
      tells.principals ||= job.principal !== undefined;
      tells.questions ||= job.openQuestions !== undefined;
      tells.progress ||= job.progress !== undefined;
      if (fits(job)) jobs.push(job);
    }
    jobs.sort(liveFirst);
    return {
      jobs: jobs.slice(0, limit),
      fitting: jobs.length,
      total: this.#jobs.size,
      counts,
      agents: [...agents].sort(),
      principals: [...principals].sort(),
      startedLastMinute: started,
      endedLastMinute: this.#endedSince(now - 60_000),
      failedLastHour: failed,
      questions,
      isLoaded: false,
      tells,
    };
  }

  #endedSince(since: number): number {
    let ended = 0;
    for (const [id, at] of this.#ends) {
      if (at >= since) ended++;
      else this.#ends.delete(id);
    }
    return ended;
  }

  /** The costs of all jobs by one of their properties. */
  costs(by: (job: Job) => string | undefined): { currency: string; key: string; sum: Amount; jobs: number }[] {
    const sums = new Map<string, { currency: string; key: string; sum: Amount; jobs: number }>();
    for (const job of this.#jobs.values()) {
      const key = by(job);
      if (key === undefined) continue;
      for (const [currency, spent] of spentOf(job)) {
        const found = sums.get(`${currency} ${key}`) ?? { currency, key, sum: ZERO, jobs: 0 };
        sums.set(`${currency} ${key}`, { ...found, sum: plus(found.sum, spent), jobs: found.jobs + 1 });
      }
    }
    return [...sums.values()];
  }
}

/** An agent's name without its version. */
export const bare = (agent: string) => agent.split('@')[0] as string;

function fitting(filter: Filter, now: number): (job: Job) => boolean {
  const text = filter.text.trim().toLowerCase();
  return (job) =>
    (filter.status.length === 0 || filter.status.includes(job.status)) &&
    (!filter.agent || bare(job.agent) === filter.agent) &&
    (!filter.principal || job.principal === filter.principal) &&
    (!filter.within || now - job.created <= filter.within) &&
    (!text || `${job.id} ${job.agent} ${job.principal ?? ''} ${job.traceId ?? ''} ${job.schedule ?? ''}`.toLowerCase().includes(text));
}

const newestFirst = (a: Job, b: Job) => b.created - a.created || (a.id < b.id ? 1 : -1);
const oldestFirst = (a: Job, b: Job) => -newestFirst(a, b);
/** What is happening stands above what has happened. */
const liveFirst = (a: Job, b: Job) => Number(isLive(b.status)) - Number(isLive(a.status)) || newestFirst(a, b);
