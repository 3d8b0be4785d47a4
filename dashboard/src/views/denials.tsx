/** What jobs tried and were refused, and what would have let them. */

import { useState } from 'preact/hooks';
import { ask, denialsChanged, jobsChanged, questionsChanged } from '../app/link';
import { jobLink } from '../app/place';
import type { Denial } from '../model/lease';
import { date, nameOf, number, visibleLine } from '../text';
import { Copy, Empty, useAsked } from './bits';

export function Denials() {
  const [asked, setAsked] = useState(0);
  const [told, setTold] = useState(0);
  const found = useAsked(() => {
    const more = asked > told;
    setTold(asked);
    return ask('denials', { more });
  }, [denialsChanged.value, jobsChanged.value, questionsChanged.value, asked]);
  return (
    <>
      <h1>Denials</h1>
      {found && (
        <p class="quiet">
          From the logs of {number(found.scanned)} jobs, newest first
          {found.skipped > 0 && `; ${number(found.skipped)} with very long logs are left out, open them to look`}
          {found.isScanning ? ', reading… ' : '. '}
          <button type="button" class="small" onClick={() => setAsked(asked + 1)}>
            Look further back
          </button>
        </p>
      )}
      {found && found.denials.length > 0 && <DenialRows denials={found.denials} />}
      {found && found.denials.length === 0 && !found.isScanning && (
        <Empty title="Nothing was refused">When a lease or a budget stops an operation, it is listed here with the flag that would allow it.</Empty>
      )}
    </>
  );
}

export function DenialRows({ denials }: { denials: (Denial & { agent: string })[] }) {
  return (
    <ul class="denials">
      {denials.map((denial) => (
        <li key={`${denial.jobId} ${denial.seq}`} class="card" data-denial={denial.code}>
          <p>
            <span class="badge error">{visibleLine(denial.code)}</span>{' '}
            {denial.operation ? (
              <code>{visibleLine(`${denial.operation.namespace} ${denial.operation.value}`)}</code>
            ) : (
              visibleLine(denial.message)
            )}
          </p>
          {denial.operation && <p class="quiet">{visibleLine(denial.message)}</p>}
          {denial.flag && (
            <p class="flag">
              Would be allowed by <code>{visibleLine(denial.flag)}</code> <Copy text={denial.flag} what="the flag" />
            </p>
          )}
          <p class="quiet">
            {nameOf(denial.agent)} · <a href={jobLink(denial.jobId)}>{nameOf(denial.jobId)}</a> · {date(denial.time)}
          </p>
        </li>
      ))}
    </ul>
  );
}
