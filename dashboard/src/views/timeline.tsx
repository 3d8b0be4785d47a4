/**
 * The log of a job as rows of one height, of which only those in sight are there. A million rows scroll like ten: the
 * worker has the log and answers for the rows that are asked for.
 */

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask } from '../app/link';
import type { EntryRow, FoldRow, RowData } from '../model/watch';
import { clock, duration, nameOf, number, visibleLine } from '../text';
import type { Head } from '../worker/protocol';

const ROW = 30;
const OVERSCAN = 30;
/** Browsers have a highest element; beyond this a step of the scroll bar stands for more than one pixel. */
const TALLEST = 15_000_000;
const KEPT = 2000;

interface Props {
  head: Head;
  follow: boolean;
  setFollow(follow: boolean): void;
  selected: number | undefined;
  select(seq: number): void;
}

/** Where the scroll bar stands, in rows. */
function useScroll(rows: number) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(480);
  const full = rows * ROW;
  const shown = Math.min(full, TALLEST);
  const scale = full > shown ? (full - height) / (shown - height) : 1;
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    let asked = 0;
    const measure = () => {
      asked = 0;
      setTop(element.scrollTop);
      setHeight(element.clientHeight);
    };
    const soon = () => {
      asked ||= requestAnimationFrame(measure);
    };
    measure();
    element.addEventListener('scroll', soon, { passive: true });
    const observer = new ResizeObserver(soon);
    observer.observe(element);
    return () => {
      cancelAnimationFrame(asked);
      element.removeEventListener('scroll', soon);
      observer.disconnect();
    };
  }, []);
  const first = Math.max(0, Math.floor((top * scale) / ROW) - OVERSCAN);
  const last = Math.min(rows, Math.ceil((top * scale + height) / ROW) + OVERSCAN);
  /** The place of row `first`: where it would be, moved along with the scroll bar where that is scaled. */
  const offset = top + (first * ROW - top * scale);
  const scrollTo = (row: number) => {
    const element = box.current;
    if (!element) return;
    const from = element.scrollTop * scale;
    const wanted = row * ROW;
    if (wanted < from) element.scrollTop = wanted / scale;
    else if (wanted + ROW > from + element.clientHeight) element.scrollTop = (wanted + ROW - element.clientHeight) / scale;
  };
  return { box, first, last, offset, shown, top, scrollTo, page: Math.max(1, Math.floor(height / ROW) - 1) };
}

/** The rows from `first` to before `last`, as far as they are known. */
function useRows(job: string, version: number, first: number, last: number): Map<number, RowData> {
  const rows = useRef(new Map<number, RowData>());
  const wanted = useRef({ first, last, version });
  const isBusy = useRef(false);
  const [, draw] = useState(0);
  wanted.current = { first, last, version };
  useEffect(() => {
    if (isBusy.current) return;
    const fetch = async () => {
      isBusy.current = true;
      for (let done: typeof wanted.current | undefined; done !== wanted.current; ) {
        done = wanted.current;
        const { rows: found } = await ask('rows', { job, from: done.first, to: done.last });
        if (rows.current.size > KEPT) rows.current.clear();
        for (const row of found) rows.current.set(row.at, row);
        draw((n) => n + 1);
      }
      isBusy.current = false;
    };
    fetch().catch(() => {
      isBusy.current = false;
    });
  }, [job, version, first, last]);
  return rows.current;
}

/** Keeps the end in sight while it is followed, and stops following when somebody scrolls away from it. */
function useFollow(scroll: ReturnType<typeof useScroll>, rows: number, follow: boolean, setFollow: (follow: boolean) => void) {
  const { box, shown, top } = scroll;
  const isOurs = useRef(false);
  useLayoutEffect(() => {
    if (!follow || !box.current) return;
    isOurs.current = true;
    box.current.scrollTop = box.current.scrollHeight;
  }, [follow, rows, shown]);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 2 * ROW;
    if (follow && !isAtEnd && !isOurs.current) setFollow(false);
    isOurs.current = false;
  }, [top]);
}

/** The row the keys are at: one row of all can be reached by Tab, the others by arrows from there. */
function useKeys(scroll: ReturnType<typeof useScroll>, rows: number, setFollow: (follow: boolean) => void) {
  const { box, first, page, scrollTo } = scroll;
  const [active, setActive] = useState(0);
  const wantsFocus = useRef(false);
  const [, setTurn] = useState(0);
  useLayoutEffect(() => {
    if (!wantsFocus.current) return;
    const button = box.current?.querySelector<HTMLElement>(`[data-row="${active}"] button`);
    if (!button) return;
    wantsFocus.current = false;
    button.focus({ preventScroll: true });
  });
  const move = (event: KeyboardEvent) => {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows, End: rows };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const isInside = event.target !== box.current;
    const from = isInside ? active : first + Math.min(OVERSCAN, first);
    const next = Math.max(0, Math.min(rows - 1, isInside || Math.abs(step) > 1 ? from + step : from));
    if (step < 0) setFollow(false);
    wantsFocus.current = true;
    scrollTo(next);
    setActive(next);
    // Also where the active row stays the same and only the focus comes to it.
    setTurn((turn) => turn + 1);
  };
  return { active, setActive, move };
}

export function Timeline({ head, follow, setFollow, selected, select }: Props) {
  const scroll = useScroll(head.rows);
  const { box, first, last, offset, shown } = scroll;
  const rows = useRows(head.id, head.version, first, last);
  useFollow(scroll, head.rows, follow, setFollow);
  const { active, setActive, move } = useKeys(scroll, head.rows, setFollow);
  const toggle = useCallback(
    (fold: FoldRow) => {
      setFollow(false);
      void ask('fold', { job: head.id, first: fold.first, isOpen: !fold.isOpen });
    },
    [head.id],
  );
  const drawn = [];
  for (let at = first; at < last; at++) {
    const row = rows.get(at);
    const isSelected = row !== undefined && 'seq' in row && row.seq === selected;
    const marks = { isActive: at === active, isSelected };
    drawn.push(<Row key={at} at={at} row={row} total={head.rows} {...marks} select={select} toggle={toggle} onFocus={setActive} />);
  }
  const height = { '--rows': `${Math.min(shown, 2000) + 2}px` };
  return (
    <div ref={box} class="scroller" style={height} tabIndex={0} role="group" aria-label="Timeline" onKeyDown={move}>
      <div class="spacer" style={{ height: `${shown}px` }}>
        <ol class="rows" style={{ transform: `translateY(${offset}px)` }} aria-label="Events">
          {drawn}
        </ol>
      </div>
    </div>
  );
}

interface RowProps {
  at: number;
  row: RowData | undefined;
  total: number;
  isActive: boolean;
  isSelected: boolean;
  select(seq: number): void;
  toggle(fold: FoldRow): void;
  onFocus(at: number): void;
}

function Row({ at, row, total, isActive, isSelected, select, toggle, onFocus }: RowProps) {
  const place = { 'data-row': at, 'aria-setsize': total, 'aria-posinset': at + 1 };
  const tabIndex = isActive ? 0 : -1;
  if (!row)
    return (
      <li {...place} class="row quiet" aria-hidden="true">
        …
      </li>
    );
  if ('seq' in row) {
    return (
      <li {...place} class={`row ${row.tone ?? ''}`} data-job-seq={row.seq} data-kind={row.kind}>
        <button type="button" tabIndex={tabIndex} aria-pressed={isSelected} onFocus={() => onFocus(at)} onClick={() => select(row.seq)}>
          <EntryLine row={row} />
        </button>
      </li>
    );
  }
  const range = row.isOpen ? {} : { 'data-first-seq': row.first, 'data-last-seq': row.last };
  return (
    <li {...place} {...range} class="row fold">
      <button type="button" tabIndex={tabIndex} aria-expanded={row.isOpen} onFocus={() => onFocus(at)} onClick={() => toggle(row)}>
        <FoldLine row={row} />
      </button>
    </li>
  );
}

function EntryLine({ row }: { row: EntryRow }) {
  const kind = row.kind.replace('x-vendor.towline.', '');
  return (
    <>
      <span class="seq num">{row.seq}</span>
      <span class="time num">{clock(row.time)}</span>
      <span class={`kind kind-${/^[a-z_.]+$/.test(kind) ? kind.replace('.', '-') : 'other'}`}>{nameOf(kind)}</span>
      {row.label && <span class="label">{visibleLine(row.label)}</span>}
      <span class="text">{visibleLine(row.text)}</span>
      {row.outcome && (
        <span class={`outcome ${row.outcome.tone ?? ''}`}>
          → {row.outcome.label ? `${visibleLine(row.outcome.label)} ` : ''}
          {visibleLine(row.outcome.text)} <span class="quiet">{duration(row.outcome.ms)}</span>
        </span>
      )}
    </>
  );
}

function FoldLine({ row }: { row: FoldRow }) {
  const what = row.counts.map(([kind, n]) => `${number(n)} × ${nameOf(kind)}`).join(', ');
  return (
    <>
      <span class="seq num" aria-hidden="true">
        {row.isOpen ? '▾' : '▸'}
      </span>
      <span class="time num">{clock(row.from)}</span>
      <span class="kind">fold</span>
      <span class="text">
        {what}
        <span class="quiet">
          {' '}
          · {number(row.first)} to {number(row.last)} · {duration(row.to - row.from) || '0 ms'}
        </span>
      </span>
    </>
  );
}
