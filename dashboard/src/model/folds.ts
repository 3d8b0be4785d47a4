/**
 * Which rows a log has when runs of chatter are folded.
 *
 * A run of at least [SHORTEST] events of noisy kinds is one fold: closed it is one row, open it is a heading and a row
 * for each of its events. While the job runs, the last few events stay outside the fold that grows, so that what is
 * happening can be read.
 */

export const SHORTEST = 12;
export const TAIL = 5;

const NOISY = new Set(['log', 'progress', 'metric', 'thought', 'result_chunk']);
export const isNoisy = (kind: string) => NOISY.has(kind);

export interface Fold {
  first: number;
  last: number;
  isOpen: boolean;
  /** How many events of each kind, by the log's number for the kind. */
  counts: Map<number, number>;
}

export type Row = { seq: number } | { fold: Fold; first: number; last: number };

export class Folds {
  #folds: Fold[] = [];
  /** The row each fold begins at, right for those before `#stale`. */
  #rowAt: number[] = [];
  #stale = 0;
  #count = 0;
  #run: Fold | undefined;
  #isLive = true;

  append(seq: number, kind: number, noisy: boolean): void {
    this.#count = seq;
    if (!noisy) {
      this.#run = undefined;
      return;
    }
    this.#run ??= { first: seq, last: seq, isOpen: false, counts: new Map() };
    const run = this.#run;
    run.last = seq;
    run.counts.set(kind, (run.counts.get(kind) ?? 0) + 1);
    if (run.last - run.first + 1 === SHORTEST) this.#folds.push(run);
  }

  /** The job has ended: nothing has to stay outside any more. */
  end(): void {
    this.#isLive = false;
  }

  set(first: number, isOpen: boolean): void {
    const index = this.#folds.findIndex((fold) => fold.first === first);
    const fold = this.#folds[index];
    if (!fold) return;
    fold.isOpen = isOpen;
    this.#stale = Math.min(this.#stale, index + 1);
  }

  setAll(isOpen: boolean): void {
    for (const fold of this.#folds) fold.isOpen = isOpen;
    this.#stale = 0;
  }

  /** How many folds are there, and how many of them are open. */
  tally(): { folds: number; open: number } {
    return { folds: this.#folds.length, open: this.#folds.reduce((n, fold) => n + Number(fold.isOpen), 0) };
  }

  get rows(): number {
    const last = this.#folds.length - 1;
    if (last < 0) return this.#count;
    const fold = this.#folds[last] as Fold;
    return this.#start(last) + this.#rowsOf(fold) + (this.#count - this.#lastOf(fold));
  }

  row(index: number): Row | undefined {
    if (index < 0 || index >= this.rows) return undefined;
    const at = this.#foldBefore(index);
    const fold = this.#folds[at];
    if (!fold) return { seq: index + 1 };
    const offset = index - this.#start(at);
    const last = this.#lastOf(fold);
    if (offset >= this.#rowsOf(fold)) return { seq: last + 1 + offset - this.#rowsOf(fold) };
    if (offset === 0 && last >= fold.first) return { fold, first: fold.first, last };
    return { seq: fold.first + offset - 1 };
  }

  /** The row an event is in; the fold's own where that is closed. */
  rowOf(seq: number): number {
    let low = 0;
    let high = this.#folds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#folds[middle] as Fold).first <= seq) low = middle + 1;
      else high = middle;
    }
    const fold = this.#folds[low - 1];
    if (!fold) return seq - 1;
    const last = this.#lastOf(fold);
    if (seq > last) return this.#start(low - 1) + this.#rowsOf(fold) + seq - last - 1;
    return this.#start(low - 1) + (fold.isOpen ? 1 + seq - fold.first : 0);
  }

  #lastOf(fold: Fold): number {
    if (!this.#isLive || fold !== this.#run) return fold.last;
    return Math.max(fold.first - 1, fold.last - TAIL);
  }

  #rowsOf(fold: Fold): number {
    const length = this.#lastOf(fold) - fold.first + 1;
    if (length <= 0) return 0;
    return fold.isOpen ? 1 + length : 1;
  }

  /** The row a fold begins at. Folds before the last one do not change but by being opened. */
  #start(index: number): number {
    for (let i = this.#stale; i <= index; i++) {
      const fold = this.#folds[i] as Fold;
      const before = this.#folds[i - 1];
      this.#rowAt[i] = before
        ? (this.#rowAt[i - 1] as number) + this.#rowsOf(before) + (fold.first - 1 - before.last)
        : fold.first - 1;
    }
    this.#stale = Math.max(this.#stale, index + 1);
    return this.#rowAt[index] as number;
  }

  /** The last fold that begins at or before a row; -1 when none does. */
  #foldBefore(row: number): number {
    let low = 0;
    let high = this.#folds.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#start(middle) <= row) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
