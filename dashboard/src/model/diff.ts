/** Diffs in what agents say: unified ones in text, and pairs of an old and a new text. */

import { isObject } from '../arcp/wire';

export interface Diff {
  path?: string;
  unified?: string;
  before?: string;
  after?: string;
}

export type DiffLine = ['+' | '-' | ' ' | '@', string];

const MOST_DIFFS = 20;
const MOST_LINES = 2000;
const UNIFIED = /^(diff --git |--- [^\n]*\n\+\+\+ |@@ -\d)/m;

export function diffsIn(value: unknown, found: Diff[] = [], depth = 0): Diff[] {
  if (found.length >= MOST_DIFFS || depth > 6) return found;
  if (typeof value === 'string') {
    if (UNIFIED.test(value.slice(0, 4096))) found.push({ unified: value });
  } else if (Array.isArray(value)) for (const item of value.slice(0, 100)) diffsIn(item, found, depth + 1);
  else if (isObject(value)) {
    const before = value.oldText ?? value.old_text ?? value.old_string;
    const after = value.newText ?? value.new_text ?? value.new_string;
    if (typeof after === 'string' && (typeof before === 'string' || before === null || value.type === 'diff')) {
      const path = value.path ?? value.file_path;
      found.push({ path: typeof path === 'string' ? path : undefined, before: typeof before === 'string' ? before : '', after });
    } else for (const item of Object.values(value)) diffsIn(item, found, depth + 1);
  }
  return found;
}

export function lines(diff: Diff): DiffLine[] {
  const all = diff.unified === undefined ? compared(diff.before ?? '', diff.after ?? '') : unified(diff.unified);
  return all.length > MOST_LINES ? [...all.slice(0, MOST_LINES), ['@', `… ${all.length - MOST_LINES} more lines`]] : all;
}

function unified(text: string): DiffLine[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((line): DiffLine => {
      if (/^(diff |index |--- |\+\+\+ |@@|new file|deleted file|similarity|rename )/.test(line)) return ['@', line];
      const sign = line[0];
      return sign === '+' || sign === '-' ? [sign, line.slice(1)] : [' ', line.slice(1)];
    });
}

/** What is common at both ends stays, a few lines of it; what is between is taken out and put in. */
function compared(before: string, after: string): DiffLine[] {
  const old = before === '' ? [] : before.replace(/\n$/, '').split('\n');
  const fresh = after === '' ? [] : after.replace(/\n$/, '').split('\n');
  let head = 0;
  while (head < old.length && head < fresh.length && old[head] === fresh[head]) head++;
  let tail = 0;
  while (tail < old.length - head && tail < fresh.length - head && old.at(-1 - tail) === fresh.at(-1 - tail)) tail++;
  const kept = (part: string[]): DiffLine[] => part.map((line) => [' ', line]);
  return [
    ...kept(old.slice(Math.max(0, head - 3), head)),
    ...old.slice(head, old.length - tail).map((line): DiffLine => ['-', line]),
    ...fresh.slice(head, fresh.length - tail).map((line): DiffLine => ['+', line]),
    ...kept(old.slice(old.length - tail, old.length - tail + 3)),
  ];
}
