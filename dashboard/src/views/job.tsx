/** One job: what it is, how it stands, everything it said. */

import { useEffect, useMemo, useState } from 'preact/hooks';
import { INPUT, isLive } from '../arcp/wire';
import { Told, ask, head as heads, jobsChanged, phase, runtime } from '../app/link';
import { jobLink, toldInput } from '../app/place';
import type { Job } from '../model/jobs';
import { remedy } from '../model/lease';
import { bytes, date, duration, nameOf, number, visibleLine } from '../text';
import type { Head } from '../worker/protocol';
import { Alert, Copy, Empty, ProgressBar, StatusBadge, useAsked, useNow } from './bits';
import { Detail, Json, Text } from './detail';
import { DenialRows } from './denials';
import { LeaseCard } from './lease-card';
import { QuestionCard } from './question';
import { RunForm } from './run-form';
import { Timeline } from './timeline';

export function JobPage({ id }: { id: string }) {
  useEffect(() => {
    void ask('open', { job: id });
    return () => {
      void ask('leave', { job: id });
      heads.value = undefined;
    };
  }, [id, phase.value.is === 'offline']);
  const head = heads.value?.id === id ? heads.value : undefined;
  if (!head) return <p class="quiet loading">Looking for {nameOf(id)}…</p>;
  if (head.refusal && head.count === 0)
    return (
      <Empty title={head.refusal.code === 'JOB_NOT_FOUND' ? 'No such job' : 'This job cannot be shown'}>
        {visibleLine(`${head.refusal.code}: ${head.refusal.message}`)} <a href="#/">All jobs</a>
      </Empty>
    );
  return <Loaded head={head} />;
}

function Loaded({ head }: { head: Head }) {
  const input = useAsked(async () => (await ask('inputOf', { job: head.id })) ?? null, [head.id]);
  return (
    <div class="job" data-job-id={head.id} data-status={head.status}>
      <Header head={head} />
      <div class="columns">
        <div class="story">
          {head.error && <Failure head={head} />}
          {head.questions.map((question) => (
            <QuestionCard key={question.id} question={question} />
          ))}
          {head.terminal?.kind === 'job.result' && <Result head={head} />}
          <Events head={head} />
          {head.status && isLive(head.status) && <Speak job={head.id} />}
        </div>
        <aside aria-label="About this job">
          <LeaseCard head={head} />
          <Children head={head} />
          <Artifacts head={head} />
          <section class="card" aria-labelledby="again">
            <h2 id="again">Run again, with changes</h2>
            {input !== undefined && (
              <RunForm
                button="Run again"
                first={{ agent: head.agent, input: input ?? '', lease: head.lease }}
                findInput={input === null ? () => toldInput(head.id) : undefined}
              />
            )}
          </section>
        </aside>
      </div>
    </div>
  );
}

function Header({ head }: { head: Head }) {
  const now = useNow();
  const live = head.status !== undefined && isLive(head.status);
  const from = head.started ?? head.created;
  return (
    <header class="jobhead">
      <div class="title">
        <h1>{nameOf(head.agent) || 'Job'}</h1>
        {head.status && <StatusBadge status={head.status} />}
        {live && head.phase && head.phase !== 'running' && <span class="quiet">{visibleLine(head.phase)}</span>}
        {live && <CancelButton job={head.id} />}
      </div>
      <dl class="facts">
        <Fact name="Job">
          <code>{nameOf(head.id)}</code> <Copy text={head.id} what="the job’s id" />
        </Fact>
        {head.created !== undefined && <Fact name="Created">{date(head.created)}</Fact>}
        {from !== undefined && <Fact name={live ? 'Running for' : 'Took'}>{duration((head.completed ?? now) - from)}</Fact>}
        {head.principal && <Fact name="Principal">{nameOf(head.principal)}</Fact>}
        {head.schedule && <Fact name="Schedule">{nameOf(head.schedule)}</Fact>}
        {head.waitingFor && <Fact name="Waits in">{nameOf(head.waitingFor)}</Fact>}
        {head.parent && (
          <Fact name="Parent">
            <a href={jobLink(head.parent)}>{nameOf(head.parent)}</a>
          </Fact>
        )}
        {head.traceId && (
          <Fact name="Trace">
            <code>{nameOf(head.traceId)}</code> <Copy text={head.traceId} what="the trace’s id" />
          </Fact>
        )}
      </dl>
      {head.progress && <ProgressBar progress={head.progress} />}
    </header>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function CancelButton({ job }: { job: string }) {
  const [error, setError] = useState<string>();
  const [isAsked, setAsked] = useState(false);
  const cancel = () => {
    setAsked(true);
    ask('cancel', { job }).catch((refused: Told) => {
      setAsked(false);
      setError(`${refused.failure.code}: ${refused.message}`);
    });
  };
  return (
    <>
      <button type="button" class="danger" onClick={cancel} disabled={isAsked}>
        Cancel
      </button>
      <Alert error={error} />
    </>
  );
}

function Failure({ head }: { head: Head }) {
  const { error } = head;
  if (!error) return null;
  const isMild = error.final_status === 'cancelled';
  return (
    <section class={`card why ${isMild ? 'warn' : 'bad'}`} aria-labelledby="why">
      <h2 id="why">{isMild ? 'Cancelled' : 'Why it failed'}</h2>
      <p>
        <code>{visibleLine(error.code)}</code> {visibleLine(error.message)}
      </p>
      <p class="remedy">{remedy(error, head.lease)}</p>
      {error.details && Object.keys(error.details).length > 0 && (
        <details>
          <summary>Details</summary>
          <Json value={error.details} />
        </details>
      )}
      {head.denials.length > 0 && <DenialRows denials={head.denials.slice(-3).map((denial) => ({ ...denial, agent: head.agent }))} />}
    </section>
  );
}

function Result({ head }: { head: Head }) {
  const result = useAsked(() => ask('result', { job: head.id }), [head.id, head.terminal?.seq]);
  const download = () => {
    if (!result) return;
    const blob = new Blob([result.bytes ?? result.text ?? ''], { type: 'application/octet-stream' });
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = `${head.id.replace(/[^\w.-]/g, '_')}.${result.bytes ? 'bin' : result.isJson ? 'json' : 'txt'}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  return (
    <section class="card result" aria-labelledby="result">
      <header>
        <h2 id="result">Result</h2>
        {result && <span class="quiet">{bytes(result.bytes?.length ?? new Blob([result.text ?? '']).size)}</span>}
        {result?.text !== undefined && <Copy text={result.text} what="the result" />}
        {result && (
          <button type="button" class="small" onClick={download}>
            Download
          </button>
        )}
      </header>
      {result?.text !== undefined && <Text text={result.text} />}
      {result?.bytes && <p class="quiet">Binary; download it to look inside.</p>}
    </section>
  );
}

function Events({ head }: { head: Head }) {
  const [kinds, setKinds] = useState<string[]>([]);
  const [text, setText] = useState('');
  const [selected, select] = useState<number>();
  // The end first: that is where a job that runs is, and what became of one that does not.
  const [follow, setFollow] = useState(true);
  useEffect(() => {
    if (kinds.length > 0 || text) setFollow(false);
  }, [kinds, text]);
  useEffect(() => {
    const timer = setTimeout(() => void ask('filter', { job: head.id, kinds, text }), 150);
    return () => clearTimeout(timer);
  }, [head.id, kinds, text]);
  const toggle = (kind: string) => setKinds(kinds.includes(kind) ? kinds.filter((k) => k !== kind) : [...kinds, kind]);
  const { folds, open } = head.folds;
  return (
    <section class="events" aria-labelledby="events">
      <header>
        <h2 id="events">
          Timeline <span class="quiet num">{number(head.count)}</span>
        </h2>
        <input
          type="search"
          aria-label="Search events"
          placeholder="Search events…"
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        {folds > 0 && !head.isFiltered && (
          <button type="button" class="small" onClick={() => void ask('fold', { job: head.id, isOpen: open < folds })}>
            {open < folds ? 'Unfold all' : 'Fold all'}
          </button>
        )}
        <button type="button" class="small" aria-pressed={follow} onClick={() => setFollow(!follow)}>
          Follow
        </button>
      </header>
      <Kinds counts={head.counts} chosen={kinds} toggle={toggle} />
      <p class="quiet line">
        {head.isLoading && `Loading ${number(head.count)} of ${number(Math.max(head.expected, head.count))} events… `}
        {head.isFiltered && `${number(head.rows)} fit${head.isSearching ? ', searching…' : ''}`}
      </p>
      {head.rows > 0 ? (
        <Timeline head={head} follow={follow} setFollow={setFollow} selected={selected} select={select} />
      ) : (
        <p class="quiet none">{head.isFiltered ? 'No event fits.' : 'Nothing has happened yet.'}</p>
      )}
      {selected !== undefined && <Detail job={head.id} seq={selected} close={() => select(undefined)} />}
    </section>
  );
}

function Kinds({ counts, chosen, toggle }: { counts: [string, number][]; chosen: string[]; toggle: (kind: string) => void }) {
  if (counts.length < 2) return null;
  return (
    <div class="chips" role="group" aria-label="Kinds of events">
      {counts.slice(0, 24).map(([kind, n]) => (
        <button key={kind} type="button" class="chip" aria-pressed={chosen.includes(kind)} onClick={() => toggle(kind)}>
          {nameOf(kind.replace('x-vendor.towline.', ''))} <span class="num">{number(n)}</span>
        </button>
      ))}
    </div>
  );
}

function Speak({ job }: { job: string }) {
  const [text, setText] = useState('');
  const [error, setError] = useState<string>();
  if (!runtime.value?.features.includes(INPUT)) return null;
  const send = (event: Event) => {
    event.preventDefault();
    if (!text.trim()) return;
    ask('say', { job, body: text }).then(
      () => {
        setText('');
        setError(undefined);
      },
      (refused: Told) => setError(`${refused.failure.code}: ${refused.message}`),
    );
  };
  return (
    <form class="speak" onSubmit={send}>
      <label for="message">Message</label>
      <input id="message" value={text} onInput={(event) => setText(event.currentTarget.value)} autocomplete="off" />
      <button type="submit" disabled={!text.trim()}>
        Send
      </button>
      <Alert error={error} />
    </form>
  );
}

function Children({ head }: { head: Head }) {
  if (head.children.length === 0) return null;
  return (
    <section class="card" aria-labelledby="children">
      <h2 id="children">Children</h2>
      <Tree jobs={head.children} depth={1} />
    </section>
  );
}

/** Children of children are asked for as they are shown. */
function Tree({ jobs, depth }: { jobs: Job[]; depth: number }) {
  return (
    <ul class="tree">
      {jobs.map((job) => (
        <li key={job.id}>
          <StatusBadge status={job.status} /> <a href={jobLink(job.id)}>{nameOf(job.agent)}</a>{' '}
          <span class="quiet num">{nameOf(job.id.slice(-6))}</span>
          {depth < 8 && <Below id={job.id} depth={depth + 1} />}
        </li>
      ))}
    </ul>
  );
}

function Below({ id, depth }: { id: string; depth: number }) {
  const jobs = useAsked(() => ask('children', { job: id }), [id, jobsChanged.value]);
  return jobs && jobs.length > 0 ? <Tree jobs={jobs} depth={depth} /> : null;
}

function Artifacts({ head }: { head: Head }) {
  const shown = useMemo(() => head.artifacts.slice(0, 100), [head.artifacts]);
  if (shown.length === 0) return null;
  return (
    <section class="card" aria-labelledby="artifacts">
      <h2 id="artifacts">Artifacts</h2>
      <ul class="plain">
        {shown.map((artifact) => (
          <li key={artifact.seq}>
            <code>{visibleLine(artifact.uri)}</code>{' '}
            <span class="quiet">
              {visibleLine(artifact.contentType)}
              {artifact.bytes !== undefined && `, ${bytes(artifact.bytes)}`}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
