/** Small pieces that several views share. */

import { useEffect, useRef, useState } from 'preact/hooks';
import type { ComponentChildren } from 'preact';
import type { Status } from '../arcp/wire';
import type { Gauge } from '../model/jobs';
import type { Progress } from '../model/digest';
import { nameOf, visibleLine } from '../text';

const WORDS: Record<Status, [string, string]> = {
  running: ['▶', 'Running'],
  pending: ['◌', 'Pending'],
  success: ['✓', 'Succeeded'],
  error: ['✕', 'Failed'],
  cancelled: ['■', 'Cancelled'],
  timed_out: ['◔', 'Timed out'],
};
export const statusWord = (status: Status) => WORDS[status][1];

/** A status by its sign and its word; colour only repeats them. */
export function StatusBadge({ status }: { status: Status }) {
  const [sign, word] = WORDS[status];
  return (
    <span class={`badge ${status}`}>
      <span aria-hidden="true">{sign}</span> {word}
    </span>
  );
}

export function ProgressBar({ progress }: { progress: Progress }) {
  const { current, total, units, message } = progress;
  const share = total ? Math.min(1, current / total) : undefined;
  const text = total === undefined ? `${current} ${units ?? ''}` : `${current} of ${total} ${units ?? ''}`;
  return (
    <span class="progress">
      <Meter share={share ?? 0} label={visibleLine(`Progress: ${text}`)} />
      <span class="num">{share === undefined ? visibleLine(text) : `${Math.floor(share * 100)} %`}</span>
      {message && <span class="quiet ellipsis">{visibleLine(message)}</span>}
    </span>
  );
}

export function Meter({ share, label, tone }: { share: number; label: string; tone?: string }) {
  return (
    <span
      class={`meter ${tone ?? ''}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
    >
      <span style={{ width: `${Math.round(share * 1000) / 10}%` }} />
    </span>
  );
}

/** Spent of budget. */
export function GaugeBar({ gauge }: { gauge: Gauge }) {
  const { currency, spent, cap, share } = gauge;
  const tone = share >= 1 ? 'bad' : share >= 0.8 ? 'warn' : '';
  const text = cap === undefined ? `${spent} ${currency}` : `${spent} of ${cap} ${currency}`;
  return (
    <span class="gauge">
      {cap !== undefined && <Meter share={share} tone={tone} label={`Spent ${nameOf(text)}`} />}
      <span class="num">{visibleLine(text)}</span>
    </span>
  );
}

/** A button that puts a text into the clipboard and says so. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1500);
    } catch {
      // Without the right to the clipboard the text can still be selected.
    }
  };
  return (
    <button type="button" class="small" onClick={copy} aria-label={`Copy ${what}`}>
      {isDone ? 'Copied' : 'Copy'}
    </button>
  );
}

/** The current time, renewed so that ages stay true. */
export function useNow(every = 1000): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** Something fetched from the worker, again whenever `when` changes; what was there stays until the new is. */
export function useAsked<T>(fetch: () => Promise<T>, when: readonly unknown[]): T | undefined {
  const [value, setValue] = useState<T>();
  const turn = useRef(0);
  useEffect(() => {
    const mine = ++turn.current;
    fetch().then(
      (found) => mine === turn.current && setValue(() => found),
      () => {},
    );
  }, when);
  return value;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children && <p>{children}</p>}
    </div>
  );
}

/** What went wrong with what somebody just did. */
export function Alert({ error }: { error: string | undefined }) {
  return <div role="alert">{error !== undefined && <p class="alert">{visibleLine(error)}</p>}</div>;
}
