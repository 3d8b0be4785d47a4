/**
 * Keeps the table of jobs true.
 *
 * A runtime with `x-vendor.towline.list` pushes what changes after one listing. Any other is asked again while somebody
 * looks: for what is new, for what is live, and for how those ended that are live no more.
 */

import { LIST, isLive, type Message } from '../arcp/wire';
import type { Connection } from '../arcp/connection';
import { readJobs, type Job, type Jobs } from './jobs';

const PAGE = 1000;
/** As many jobs as are held; older ones are not asked for. */
const MOST = 20_000;
const LOOK_AGAIN_MS = 30_000;
/** Pages come oldest first, so the past is asked for in strips from now backwards, until there are enough jobs. */
const STRIPS = [600_000, 3_600_000, 6 * 3_600_000, 86_400_000, 7 * 86_400_000, 30 * 86_400_000];

type Filter = Record<string, unknown>;

export class Lister {
  #isBusy = false;
  #again = false;
  #newest = 0;
  #isFollowing = false;
  #isLoaded = false;
  #listedAt = 0;
  #known = new Set<string>();

  constructor(
    private readonly connection: Connection,
    private readonly jobs: Jobs,
    private readonly now: () => number,
    private readonly changed: () => void,
  ) {}

  /** Whether everything there is was listed once, or there is nothing to list. */
  get isLoaded(): boolean {
    return this.#isLoaded || (this.connection.welcome !== undefined && !this.connection.has('list_jobs') && !this.connection.has(LIST));
  }

  /** After a welcome of a new session. What was followed is not any more, and what was known may have ended. */
  restart(): void {
    this.#isFollowing = false;
    this.#newest = 0;
  }

  /** After a welcome that took the session up: pushes may have been missed, and whether they go on is not told. */
  resumed(): void {
    this.#isFollowing = false;
  }

  /** A push, or a page that nobody waits for. */
  pushed(message: Message): void {
    this.#take(readJobs(message));
  }

  /** Brings the table up to date; asked while it is doing so, it does so once more. */
  async refresh(): Promise<void> {
    if (this.#isBusy) {
      this.#again = true;
      return;
    }
    this.#isBusy = true;
    try {
      do {
        this.#again = false;
        if (this.connection.has(LIST)) await this.#follow();
        else if (this.connection.has('list_jobs')) await this.#poll();
      } while (this.#again);
    } catch {
      // No connection, or a refusal that the next turn will meet again: the table stays as it is.
    } finally {
      this.#isBusy = false;
    }
  }

  async #follow(): Promise<void> {
    if (this.#isFollowing) {
      // Pushes tell everything; the newest page is looked at now and then all the same, for who relies on them alone shows
      // what is wrong for ever when one is lost.
      if (this.now() - this.#listedAt < LOOK_AGAIN_MS) return;
      this.#listedAt = this.now();
      await this.#page({}, undefined, { order: 'desc' });
      return;
    }
    this.#listedAt = this.now();
    let cursor: string | undefined;
    let taken = 0;
    const seen = new Set<string>();
    do {
      const first = cursor === undefined;
      const page = await this.#page({}, cursor, first ? { order: 'desc', follow: true } : { order: 'desc' });
      if (first) this.#isFollowing = true;
      for (const job of page.jobs) seen.add(job.id);
      taken += page.jobs.length;
      cursor = page.next;
    } while (cursor !== undefined && taken < MOST);
    this.#forgetOthers(seen, cursor === undefined);
  }

  async #poll(): Promise<void> {
    if (this.#newest === 0) {
      return this.#past();
    }
    // Before anything else is listed: what is live may be newer than something that came and went unseen.
    const since = this.#newest;
    const before = [...this.jobs.all()].filter((job) => isLive(job.status)).map((job) => job.id);
    const live = await this.#pages({ status: ['pending', 'running'] });
    // One millisecond of overlap: the bound is exclusive, and others may have been created within it.
    await this.#pages({ created_after: iso(since - 1) });
    const ended = before.flatMap((id) => {
      const job = live.has(id) ? undefined : this.jobs.get(id);
      return job && isLive(job.status) ? [job] : [];
    });
    if (ended.length > 0) await this.#ends(ended);
  }

  /** Everything there is, newest strip first. */
  async #past(): Promise<void> {
    const seen = new Set<string>();
    const now = this.now();
    let until: number | undefined;
    for (const strip of [...STRIPS, Number.POSITIVE_INFINITY]) {
      const filter: Filter = {};
      if (Number.isFinite(strip)) filter.created_after = iso(now - strip - 1);
      if (until !== undefined) filter.created_before = iso(until);
      for (const id of await this.#pages(filter)) seen.add(id);
      until = now - strip;
      if (seen.size >= MOST) break;
    }
    this.#newest = Math.max(this.#newest, 1);
    this.#forgetOthers(seen, seen.size < MOST);
  }

  /** How jobs ended that are not among the live ones any more. */
  async #ends(ended: Job[]): Promise<void> {
    const times = ended.map((job) => job.created);
    await this.#pages({
      status: ['success', 'error', 'cancelled', 'timed_out'],
      created_after: iso(Math.min(...times) - 1),
      created_before: iso(Math.max(...times) + 1),
    });
  }

  async #pages(filter: Filter): Promise<Set<string>> {
    const seen = new Set<string>();
    let cursor: string | undefined;
    do {
      const page = await this.#page(filter, cursor, {});
      for (const job of page.jobs) seen.add(job.id);
      cursor = page.next;
    } while (cursor !== undefined && seen.size < MOST);
    return seen;
  }

  async #page(filter: Filter, cursor: string | undefined, extra: Filter): Promise<{ jobs: Job[]; next?: string }> {
    const payload = { ...(Object.keys(filter).length > 0 ? { filter } : {}), limit: PAGE, ...(cursor ? { cursor } : {}), ...extra };
    const reply = await this.connection.request('session.list_jobs', payload, 'session.jobs');
    const jobs = readJobs(reply);
    this.#take(jobs);
    const next = reply.payload.next_cursor;
    return { jobs, next: typeof next === 'string' && jobs.length > 0 ? next : undefined };
  }

  #take(jobs: Job[]): void {
    for (const job of jobs) {
      this.jobs.put(job, this.now());
      this.#known.add(job.id);
      this.#newest = Math.max(this.#newest, job.created);
    }
    if (jobs.length > 0) this.changed();
  }

  /** A listing that was whole names every job there is; retention took the others. */
  #forgetOthers(seen: ReadonlySet<string>, isWhole: boolean): void {
    this.#isLoaded = true;
    if (isWhole) for (const id of this.#known) if (!seen.has(id)) this.jobs.forget(id);
    this.#known = new Set(isWhole ? seen : [...this.#known, ...seen]);
    this.changed();
  }
}

const iso = (ms: number) => new Date(ms).toISOString();
