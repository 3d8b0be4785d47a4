/** All jobs: what is happening above what has happened. */

import { useState } from 'preact/hooks';
import { STATUSES, isLive, type Status } from '../arcp/wire';
import { ask, jobsChanged, phase, questionsChanged } from '../app/link';
import { jobLink } from '../app/place';
import { gauges, type Filter, type Job, type Overview as Found } from '../model/jobs';
import { duration, nameOf, number } from '../text';
import { Empty, GaugeBar, ProgressBar, StatusBadge, statusWord, useAsked, useNow } from './bits';

const PAGE = 100;
const ANY: Filter = { status: [], agent: '', principal: '', text: '', within: 0 };

export function Overview() {
  const [filter, setFilter] = useState<Filter>(ANY);
  const [limit, setLimit] = useState(PAGE);
  const found = useAsked(
    () => ask('overview', { filter, limit }),
    [jobsChanged.value, questionsChanged.value, filter, limit, phase.value.is],
  );
  const change = (part: Partial<Filter>) => {
    setFilter({ ...filter, ...part });
    setLimit(PAGE);
  };
  return (
    <div class="overview">
      <h1 class="hidden">Overview</h1>
      {found && <Figures found={found} />}
      {found && <Filters filter={filter} found={found} change={change} />}
      {found && found.jobs.length > 0 && <Table found={found} />}
      {found && found.fitting > found.jobs.length && (
        <p class="more">
          {number(found.jobs.length)} of {number(found.fitting)} are shown.{' '}
          <button type="button" onClick={() => setLimit(limit + 200)}>
            Show more
          </button>
        </p>
      )}
      {found && !found.isLoaded && found.jobs.length === 0 && <p class="quiet loading">Looking for jobs…</p>}
      {found?.isLoaded && found.jobs.length === 0 && <Nothing total={found.total} clear={() => setFilter(ANY)} />}
    </div>
  );
}

function Nothing({ total, clear }: { total: number; clear: () => void }) {
  if (total === 0)
    return (
      <Empty title="No jobs yet">
        A job that is submitted shows up here at once. <a href="#/runtime">Start one</a>, or run{' '}
        <code>towline run AGENT --url …</code>
      </Empty>
    );
  return (
    <Empty title="No job fits the filter">
      <button type="button" onClick={clear}>
        Show all {number(total)}
      </button>
    </Empty>
  );
}

function Figures({ found }: { found: Found }) {
  const figure = (name: string, value: number, tone?: string) => (
    <div class={`figure ${value > 0 ? (tone ?? '') : ''}`}>
      <dt>{name}</dt>
      <dd>{number(value)}</dd>
    </div>
  );
  return (
    <dl class="figures">
      {figure('Running', found.counts.running, 'live')}
      {figure('Waiting', found.counts.pending)}
      {found.tells.questions && figure('Open questions', found.questions, 'warn')}
      {figure('Failed, last hour', found.failedLastHour, 'bad')}
      {figure('Started, last minute', found.startedLastMinute)}
      {figure('Ended, last minute', found.endedLastMinute)}
      {figure('Jobs in all', found.total)}
    </dl>
  );
}

const TIMES: [number, string][] = [
  [0, 'Any time'],
  [900_000, 'Last 15 minutes'],
  [3_600_000, 'Last hour'],
  [86_400_000, 'Last day'],
  [7 * 86_400_000, 'Last week'],
];

function Filters({ filter, found, change }: { filter: Filter; found: Found; change: (part: Partial<Filter>) => void }) {
  const toggle = (status: Status) =>
    change({ status: filter.status.includes(status) ? filter.status.filter((s) => s !== status) : [...filter.status, status] });
  return (
    <form class="filters" aria-label="Filter" onSubmit={(event) => event.preventDefault()}>
      <label class="search">
        <span class="hidden">Search jobs</span>
        <input
          type="search"
          placeholder="Job, agent, trace…"
          value={filter.text}
          onInput={(event) => change({ text: event.currentTarget.value })}
        />
      </label>
      <div class="chips" role="group" aria-label="Status">
        {STATUSES.map((status) => (
          <button
            key={status}
            type="button"
            class={`chip ${status}`}
            aria-pressed={filter.status.includes(status)}
            onClick={() => toggle(status)}
          >
            {statusWord(status)} <span class="num">{number(found.counts[status])}</span>
          </button>
        ))}
      </div>
      <Choice name="Agent" any="Any agent" value={filter.agent} options={found.agents} choose={(agent) => change({ agent })} />
      {found.tells.principals && (
        <Choice
          name="Principal"
          any="Anybody"
          value={filter.principal}
          options={found.principals}
          choose={(principal) => change({ principal })}
        />
      )}
      <select
        aria-label="Time"
        value={String(filter.within)}
        onChange={(event) => change({ within: Number(event.currentTarget.value) })}
      >
        {TIMES.map(([ms, name]) => (
          <option key={ms} value={String(ms)}>
            {name}
          </option>
        ))}
      </select>
    </form>
  );
}

function Choice(props: { name: string; any: string; value: string; options: string[]; choose: (value: string) => void }) {
  const { name, any, value, options, choose } = props;
  return (
    <select aria-label={name} value={value} onChange={(event) => choose(event.currentTarget.value)}>
      <option value="">{any}</option>
      {options.map((option) => (
        <option key={option} value={option}>
          {nameOf(option)}
        </option>
      ))}
    </select>
  );
}

function Table({ found }: { found: Found }) {
  const now = useNow();
  const { tells } = found;
  return (
    <table class="jobs" role="table">
      <caption class="hidden">Jobs, live ones first</caption>
      <thead>
        <tr>
          <th scope="col">Status</th>
          <th scope="col">Agent</th>
          <th scope="col">Job</th>
          {tells.principals && <th scope="col">Principal</th>}
          <th scope="col">Age</th>
          {tells.progress && <th scope="col">Progress</th>}
          <th scope="col" class="right">
            Events
          </th>
          {tells.spent && <th scope="col">Spent</th>}
        </tr>
      </thead>
      <tbody>
        {found.jobs.map((job) => (
          <JobRow key={job.id} job={job} tells={tells} now={now} />
        ))}
      </tbody>
    </table>
  );
}

function JobRow({ job, tells, now }: { job: Job; tells: Found['tells']; now: number }) {
  return (
    <tr role="row" data-job-id={job.id} data-status={job.status}>
      <td role="cell" data-label="Status">
        <span class="standing">
          <StatusBadge status={job.status} />
          {job.openQuestions ? (
            <a class="badge asks" href={jobLink(job.id)}>
              {number(job.openQuestions)} open
            </a>
          ) : null}
        </span>
      </td>
      <td role="cell" data-label="Agent" class="agent">
        <span>
          {nameOf(job.agent)}
          {job.schedule && <span class="quiet"> · {nameOf(job.schedule)}</span>}
          {job.waitingFor && <span class="quiet"> · waits in {nameOf(job.waitingFor)}</span>}
        </span>
      </td>
      <td role="cell" data-label="Job" class="name">
        <span>
          <a href={jobLink(job.id)}>{nameOf(job.id)}</a>
          {job.parent && (
            <span class="quiet" title={nameOf(job.parent)}>
              {' '}
              child
            </span>
          )}
        </span>
      </td>
      {tells.principals && <td role="cell" data-label="Principal">{nameOf(job.principal ?? '')}</td>}
      <td role="cell" data-label="Age" class="num" title={new Date(job.created).toLocaleString()}>
        {duration(Math.max(0, now - job.created))}
      </td>
      {tells.progress && (
        <td role="cell" data-label="Progress">{job.progress && isLive(job.status) && <ProgressBar progress={job.progress} />}</td>
      )}
      <td role="cell" data-label="Events" class="num right">
        {number(job.lastSeq)}
      </td>
      {tells.spent && (
        <td role="cell" data-label="Spent">
          {gauges(job).map((gauge) => (
            <GaugeBar key={gauge.currency} gauge={gauge} />
          ))}
        </td>
      )}
    </tr>
  );
}
