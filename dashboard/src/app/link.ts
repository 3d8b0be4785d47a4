/** The page's end of the worker, and what the page knows by itself, as signals. */

import { signal } from '@preact/signals';
import type { Phase } from '../arcp/connection';
import type { Answer, Failure, Head, Op, Operations, Push, RuntimeInfo } from '../worker/protocol';

export const phase = signal<Phase>({ is: 'offline' });
export const runtime = signal<RuntimeInfo | undefined>(undefined);
export const head = signal<Head | undefined>(undefined);
export const blocked = signal<string | undefined>(undefined);
/** Grow with each change of what they count. */
export const jobsChanged = signal(0);
export const questionsChanged = signal(0);
export const denialsChanged = signal(0);

/** A refusal or a failure, as a person is told. */
export class Told extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

const worker = new Worker(new URL('../worker/worker.ts', import.meta.url), { type: 'module' });
const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Told): void }>();
let asked = 0;

worker.onmessage = ({ data }: MessageEvent<Answer | Push>) => {
  if ('push' in data) return pushed(data);
  const caller = waiting.get(data.id);
  waiting.delete(data.id);
  if ('error' in data) caller?.reject(new Told(data.error));
  else caller?.resolve(data.value);
};

function pushed(push: Push): void {
  if (push.push === 'phase') {
    phase.value = push.phase;
    if (push.runtime) runtime.value = push.runtime;
  } else if (push.push === 'head') head.value = push.head;
  else if (push.push === 'jobs') jobsChanged.value++;
  else if (push.push === 'questions') questionsChanged.value++;
  else if (push.push === 'denials') denialsChanged.value++;
  else blocked.value = push.url;
}

/** Asks the worker to do something. Rejects with [Told]. */
export function ask<O extends Op>(op: O, args: Operations[O][0]): Promise<Operations[O][1]> {
  const id = ++asked;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
    worker.postMessage({ id, op, args });
  });
}

document.addEventListener('visibilitychange', () => void ask('attend', { isVisible: !document.hidden }));
addEventListener('online', () => void ask('hurry', {}));
