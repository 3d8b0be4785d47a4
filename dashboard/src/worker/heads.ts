/** What the page is told of a job, and of sums. */

import { isLive } from '../arcp/wire';
import { gauges, type Job } from '../model/jobs';
import { roughly, written, type Amount } from '../model/money';
import type { Watch } from '../model/watch';
import type { Head, Sum } from './protocol';

export function headOf(watch: Watch, job: Job | undefined, children: Job[], version: number): Head {
  const { digest, log } = watch;
  const expected = Math.max(job?.lastSeq ?? 0, log.count);
  const left = { ...(job?.left ?? watch.left), ...digest.left };
  const seen: Job = {
    ...(job ?? { id: watch.id, agent: watch.agent, status: 'running', created: 0, lastSeq: 0 }),
    lease: Object.keys(watch.lease).length > 0 ? watch.lease : (job?.lease ?? {}),
    left,
  };
  // The log is ahead of the listing while the job runs, the listing knows more once it has ended.
  if (!watch.isLive && job && !isLive(job.status)) seen.left = job.left;
  const status = watch.status ?? job?.status;
  return {
    id: watch.id,
    status,
    agent: watch.agent || (job?.agent ?? ''),
    principal: job?.principal,
    lease: seen.lease,
    expiresAt: watch.expiresAt ?? job?.expiresAt,
    gauges: gauges(seen),
    costs: [...digest.costs].map(([currency, sum]) => ({ currency, sum: written(sum) })),
    traceId: watch.traceId ?? job?.traceId,
    parent: watch.parent ?? job?.parent,
    created: job?.created ?? (log.count > 0 ? log.time(1) : undefined),
    started: job?.started,
    completed: watch.terminal?.time ?? job?.completed,
    schedule: job?.schedule,
    waitingFor: job?.waitingFor,
    count: log.count,
    rows: watch.rows,
    folds: log.folds.tally(),
    counts: [...log.counts],
    isFiltered: watch.matches !== undefined,
    isSearching: watch.isSearching,
    isLoading: !watch.refusal && (!watch.isSubscribed || (status !== undefined && !isLive(status) && !watch.terminal)),
    expected,
    progress: watch.isLive ? digest.progress : undefined,
    phase: digest.phase,
    questions: [...digest.questions.values()],
    denials: digest.denials,
    artifacts: digest.artifacts,
    children,
    terminal: watch.terminal,
    error: watch.error,
    refusal: watch.refusal,
    version,
  };
}

export function sums(found: { currency: string; key: string; sum: Amount; jobs: number }[]): Sum[] {
  return found
    .map(({ currency, key, sum, jobs }) => ({ currency, key, jobs, sum: written(sum), rough: roughly(sum) }))
    .sort((a, b) => b.rough - a.rough);
}
