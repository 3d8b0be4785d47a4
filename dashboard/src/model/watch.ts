/**
 * One job that somebody looks at: its log, its digest, and the rows to show.
 *
 * Events come by their number in the job; one that is known is dropped, one too far ahead is asked for again, so the log
 * is the job's own whatever the connection went through [ARCP 7.6-3].
 */

import { amountsAt } from '../arcp/raw';
import {
  asLease,
  asString,
  asStatus,
  isLive,
  isObject,
  readError,
  type EventFrame,
  type Lease,
  type Message,
  type Status,
} from '../arcp/wire';
import { Digest, parsed } from './digest';
import type { Fold } from './folds';
import { Log, type Entry } from './log';
import { summarise } from './summary';

export interface Terminal {
  kind: 'job.result' | 'job.error';
  seq: number;
  time: number;
  body: string;
}

export interface EntryRow {
  at: number;
  seq: number;
  kind: string;
  time: number;
  label?: string;
  text: string;
  tone?: string;
  /** For a tool call: how it came out, when that is near. */
  outcome?: { text: string; label?: string; tone?: string; ms: number };
}

export interface FoldRow {
  at: number;
  first: number;
  last: number;
  isOpen: boolean;
  counts: [string, number][];
  from: number;
  to: number;
}

export type RowData = EntryRow | FoldRow;

/** How far a call's result, or a result's call, is looked for. */
const REACH = 5000;

export class Watch {
  readonly log = new Log();
  readonly digest: Digest;
  status: Status | undefined;
  agent = '';
  lease: Lease = {};
  expiresAt: number | undefined;
  left: Record<string, string> = {};
  traceId: string | undefined;
  parent: string | undefined;
  terminal: Terminal | undefined;
  refusal: { code: string; message: string } | undefined;
  isSubscribed = false;
  /** The numbers that fit the filter; `undefined` without one. */
  matches: number[] | undefined;
  isSearching = false;
  #kinds: ReadonlySet<string> = new Set();
  #needle = '';
  #search = 0;
  #counter = 0;

  constructor(readonly id: string) {
    this.digest = new Digest(id);
  }

  /** The answer to our subscription. Numbers begin behind what was asked for, where events do not carry their own. */
  subscribed(message: Message, from: number): void {
    const { payload, text } = message;
    this.isSubscribed = true;
    this.refusal = undefined;
    this.#counter = Math.max(from, this.log.count);
    this.status = this.terminal ? this.status : (asStatus(payload.current_status) ?? this.status);
    this.agent = asString(payload.agent) ?? this.agent;
    this.digest.agent = this.agent;
    this.lease = asLease(payload.lease);
    const constraints = isObject(payload.lease_constraints) ? payload.lease_constraints : {};
    const expires = Date.parse(String(constraints.expires_at));
    this.expiresAt = Number.isNaN(expires) ? undefined : expires;
    this.left = amountsAt(text, 'payload', 'budget') ?? this.left;
    this.traceId = asString(payload.trace_id);
    this.parent = asString(payload.parent_job_id);
  }

  /** Takes an event. `false`: there is something missing before it. */
  take(event: EventFrame): boolean {
    const seq = this.#number(event.jobSeq);
    if (seq <= this.log.count) return true;
    if (seq > this.log.count + 1) return false;
    this.#append(event.kind, event.time, event.body);
    this.digest.take(event, seq);
    if (this.status === 'pending' || this.status === undefined) this.status = 'running';
    return true;
  }

  /** Takes the job's end, which is the last entry of its log. */
  end(message: Message): boolean {
    const seq = this.#number(message.jobSeq);
    if (seq <= this.log.count) return true;
    if (seq > this.log.count + 1) return false;
    const kind = message.type === 'job.result' ? 'job.result' : 'job.error';
    const status = asStatus(message.payload.final_status) ?? (kind === 'job.result' ? 'success' : 'error');
    const at = Date.parse(String(message.payload.completed_at));
    const time = Number.isNaN(at) ? Date.now() : at;
    const body = JSON.stringify(message.payload);
    this.#append(kind, time, body);
    this.terminal = { kind, seq, time, body };
    this.status = status;
    this.digest.end(status);
    this.log.folds.end();
    return true;
  }

  get isLive(): boolean {
    return this.status === undefined || isLive(this.status);
  }

  get error() {
    return this.terminal?.kind === 'job.error' ? readError(parsed(this.terminal.body)) : undefined;
  }

  get rows(): number {
    return this.matches ? this.matches.length : this.log.folds.rows;
  }

  /** Shows only events of these kinds with this text; with neither, all of them, folded. */
  async filter(kinds: string[], needle: string, changed: () => void): Promise<void> {
    const search = ++this.#search;
    this.#kinds = new Set(kinds);
    this.#needle = needle.trim().toLowerCase();
    if (this.#kinds.size === 0 && !this.#needle) {
      this.matches = undefined;
      this.isSearching = false;
      return changed();
    }
    const matches: number[] = [];
    this.matches = matches;
    this.isSearching = true;
    let told = 0;
    for (let from = 1; from <= this.log.count; ) {
      // What comes while this goes on is found by another turn.
      for await (const { found, upTo } of this.log.search(this.#kinds, this.#needle, from)) {
        if (search !== this.#search) return;
        for (const seq of found) matches.push(seq);
        from = upTo + 1;
        if (matches.length - told > 1000) {
          told = matches.length;
          changed();
        }
      }
    }
    this.isSearching = false;
    changed();
  }

  rowOf(seq: number): number {
    if (!this.matches) return this.log.folds.rowOf(seq);
    const at = this.matches.findIndex((match) => match >= seq);
    return at < 0 ? this.matches.length - 1 : at;
  }

  /** The rows from one to before another. */
  async read(from: number, to: number): Promise<RowData[]> {
    const wanted: ({ at: number; seq: number } | FoldRow)[] = [];
    for (let at = from; at < Math.min(to, this.rows); at++) {
      const row = this.matches ? { seq: this.matches[at] as number } : this.log.folds.row(at);
      if (!row) break;
      if ('seq' in row) wanted.push({ at, seq: row.seq });
      else
        wanted.push({
          at,
          first: row.first,
          last: row.last,
          isOpen: row.fold.isOpen,
          counts: this.#counts(row.fold, row.last),
          from: this.log.time(row.first),
          to: this.log.time(row.last),
        });
    }
    const entries = await this.#entries(wanted.flatMap((row) => ('seq' in row ? [row.seq] : [])));
    const rows = wanted.map((row) => ('seq' in row ? this.#entryRow(row.at, entries.get(row.seq)) : row));
    await this.#outcomes(rows.filter((row): row is EntryRow => row !== undefined && 'kind' in row && row.kind === 'tool_call'), entries);
    return rows.filter((row) => row !== undefined);
  }

  /** An event with the other half of its tool call. */
  async detail(seq: number): Promise<{ entry: Entry; other?: Entry } | undefined> {
    const entry = await this.log.get(seq);
    if (!entry) return undefined;
    const id = parsed(entry.body).call_id;
    if (entry.kind === 'tool_call') return { entry, other: await this.#find('tool_result', id, seq, 1) };
    if (entry.kind === 'tool_result') return { entry, other: await this.#find('tool_call', id, seq, -1) };
    return { entry };
  }

  /** The result, put together: JSON or text, or bytes. */
  async result(): Promise<{ text?: string; bytes?: Uint8Array<ArrayBuffer>; isJson: boolean } | undefined> {
    if (this.terminal?.kind !== 'job.result') return undefined;
    const body = parsed(this.terminal.body);
    const inline = 'result' in body ? body.result : body.output;
    if (body.result_encoding === 'base64' && typeof inline === 'string') return { bytes: unbase64(inline), isJson: false };
    if (inline !== undefined)
      return typeof inline === 'string'
        ? { text: inline, isJson: false }
        : { text: JSON.stringify(inline, null, 2), isJson: true };
    return this.#assembled();
  }

  async #assembled(): Promise<{ text?: string; bytes?: Uint8Array<ArrayBuffer>; isJson: boolean }> {
    const texts: string[] = [];
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for await (const { found } of this.log.search(new Set(['result_chunk']), '')) {
      const first = found[0];
      const last = found.at(-1);
      if (first === undefined || last === undefined) continue;
      for (const entry of await this.log.read(first, last)) {
        if (entry.kind !== 'result_chunk') continue;
        const { data, encoding } = parsed(entry.body);
        if (encoding === 'base64') parts.push(unbase64(String(data ?? '')));
        else texts.push(String(data ?? ''));
      }
    }
    if (parts.length > 0) return { bytes: new Uint8Array(await new Blob(parts).arrayBuffer()), isJson: false };
    return { text: texts.join(''), isJson: false };
  }

  async #entries(seqs: number[]): Promise<Map<number, Entry>> {
    const found = new Map<number, Entry>();
    for (let i = 0; i < seqs.length; ) {
      let j = i;
      while (j + 1 < seqs.length && (seqs[j + 1] as number) === (seqs[j] as number) + 1) j++;
      for (const entry of await this.log.read(seqs[i] as number, seqs[j] as number)) found.set(entry.seq, entry);
      i = j + 1;
    }
    return found;
  }

  /** How many events of each kind a fold covers: all it counted, without those that stay outside while it grows. */
  #counts(fold: Fold, last: number): [string, number][] {
    const counts = new Map([...fold.counts].map(([kind, n]) => [this.log.nameOf(kind), n]));
    for (let seq = last + 1; seq <= fold.last; seq++) {
      const kind = this.log.kind(seq);
      counts.set(kind, (counts.get(kind) ?? 0) - 1);
    }
    return [...counts].filter(([, n]) => n > 0);
  }

  #entryRow(at: number, entry: Entry | undefined): EntryRow | undefined {
    return entry && { at, seq: entry.seq, kind: entry.kind, time: entry.time, ...summarise(entry.kind, entry.body) };
  }

  async #outcomes(calls: EntryRow[], entries: ReadonlyMap<number, Entry>): Promise<void> {
    for (const call of calls) {
      const id = parsed(entries.get(call.seq)?.body).call_id;
      const other = await this.#find('tool_result', id, call.seq, 1, 60);
      if (other) call.outcome = { ...summarise(other.kind, other.body), ms: other.time - call.time };
    }
  }

  async #find(kind: string, callId: unknown, from: number, step: 1 | -1, reach = REACH): Promise<Entry | undefined> {
    if (typeof callId !== 'string') return undefined;
    for (let seq = from + step, left = reach; seq >= 1 && seq <= this.log.count && left > 0; seq += step, left--) {
      if (this.log.kind(seq) !== kind) continue;
      const entry = await this.log.get(seq);
      if (entry && parsed(entry.body).call_id === callId) return entry;
    }
    return undefined;
  }

  #append(kind: string, time: number, body: string): void {
    this.log.append(kind, time, body);
    if (!this.matches || this.isSearching) return;
    if (this.#kinds.size > 0 && !this.#kinds.has(kind)) return;
    if (!this.#needle || body.toLowerCase().includes(JSON.stringify(this.#needle).slice(1, -1))) this.matches.push(this.log.count);
  }

  #number(told: number | undefined): number {
    this.#counter = told ?? this.#counter + 1;
    return this.#counter;
  }
}

function unbase64(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}
