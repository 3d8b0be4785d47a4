/** One event in full: a tool call with its result beside it, a diff as a diff, anything else as it is. */

import type { ComponentChildren } from 'preact';
import { ask } from '../app/link';
import { jobLink } from '../app/place';
import { parsed } from '../model/digest';
import { lines, diffsIn, type Diff } from '../model/diff';
import type { Entry } from '../model/log';
import { clock, date, duration, nameOf, visible, visibleLine } from '../text';
import { Copy, useAsked } from './bits';

/** What is longer is shown cut; the copy is whole. */
const LONGEST = 64 * 1024;

export function Detail({ job, seq, close }: { job: string; seq: number; close: () => void }) {
  const found = useAsked(() => ask('detail', { job, seq }), [job, seq]);
  if (!found || found.entry.seq !== seq) return null;
  const { entry, other } = found;
  return (
    <section class="detail card" aria-label={`Event ${seq}`}>
      <header>
        <h3>
          {nameOf(entry.kind)} <span class="quiet num">#{entry.seq}</span>
        </h3>
        <span class="quiet" title={date(entry.time)}>
          {clock(entry.time)}
        </span>
        <Copy text={entry.body} what="the event as JSON" />
        <button type="button" class="small" onClick={close}>
          Close
        </button>
      </header>
      <Content entry={entry} other={other} />
    </section>
  );
}

function Content({ entry, other }: { entry: Entry; other?: Entry }) {
  const body = parsed(entry.body);
  if (entry.kind === 'tool_call') return <ToolCall call={entry} result={other} />;
  if (entry.kind === 'tool_result') return other ? <ToolCall call={other} result={entry} /> : <Json value={body} />;
  if (entry.kind === 'log' && typeof body.message === 'string')
    return (
      <>
        <Text text={body.message} />
        {body.attributes !== undefined && <Json value={body.attributes} />}
      </>
    );
  if (entry.kind === 'thought' && typeof body.text === 'string') return <Text text={body.text} />;
  if (entry.kind === 'artifact_ref') return <Artifact body={body} />;
  if (entry.kind === 'delegate' && typeof body.child_job_id === 'string')
    return (
      <>
        <p>
          Child <a href={jobLink(body.child_job_id)}>{nameOf(body.child_job_id)}</a> of {nameOf(String(body.agent))}
        </p>
        <Json value={body} />
      </>
    );
  return <Json value={body} />;
}

function ToolCall({ call, result }: { call: Entry; result?: Entry }) {
  const asked = parsed(call.body);
  const answer = parsed(result?.body);
  const isRefused = answer.error !== undefined;
  return (
    <>
      <p>
        <strong>{visibleLine(String(asked.tool))}</strong>
        {result && <span class="quiet"> took {duration(result.time - call.time)}</span>}
      </p>
      <div class="sides">
        <section aria-label="Arguments">
          <h4>Arguments</h4>
          <Json value={asked.args} />
        </section>
        <section aria-label="Result" class={isRefused ? 'bad' : ''}>
          <h4>{isRefused ? 'Refused' : 'Result'}</h4>
          {result ? <Json value={isRefused ? answer.error : answer.result} /> : <p class="quiet">No result yet.</p>}
        </section>
      </div>
    </>
  );
}

function Artifact({ body }: { body: Record<string, unknown> }) {
  const uri = String(body.uri);
  const isWeb = /^https?:\/\//.test(uri);
  return (
    <>
      <p>
        {isWeb ? (
          <a href={uri} target="_blank" rel="noopener noreferrer nofollow">
            {visibleLine(uri)}
          </a>
        ) : (
          <code>{visibleLine(uri)}</code>
        )}
      </p>
      <Json value={body} />
    </>
  );
}

/** A value, with the diffs in it as diffs. */
export function Json({ value }: { value: unknown }) {
  if (value === undefined) return <p class="quiet">Nothing.</p>;
  const diffs = diffsIn(value);
  return (
    <>
      {diffs.map((diff, index) => (
        <DiffView key={index} diff={diff} />
      ))}
      {typeof value === 'string' ? diffs.length === 0 && <Text text={value} /> : <Text text={JSON.stringify(value, null, 2)} />}
    </>
  );
}

/** Text of an agent: never anything but text. */
export function Text({ text }: { text: string }): ComponentChildren {
  const isCut = text.length > LONGEST;
  return (
    <>
      <pre tabIndex={0}>{visible(isCut ? text.slice(0, LONGEST) : text)}</pre>
      {isCut && <p class="quiet">The first {LONGEST / 1024} KiB are shown.</p>}
    </>
  );
}

function DiffView({ diff }: { diff: Diff }) {
  const rows = lines(diff);
  return (
    <figure class="diff">
      {diff.path && <figcaption>{visibleLine(diff.path)}</figcaption>}
      <pre tabIndex={0}>
        {rows.map(([sign, text], index) => (
          <span key={index} class={sign === '+' ? 'added' : sign === '-' ? 'removed' : sign === '@' ? 'hunk' : ''}>
            {sign === '@' ? '' : sign}
            {visible(text)}
            {'\n'}
          </span>
        ))}
      </pre>
    </figure>
  );
}
