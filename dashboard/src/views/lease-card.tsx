import { clauses } from '../model/lease';
import { date, duration, visibleLine } from '../text';
import type { Head } from '../worker/protocol';
import { GaugeBar, useNow } from './bits';

/** What a job may do, until when, and what it has spent. */
export function LeaseCard({ head }: { head: Head }) {
  const now = useNow();
  const allowed = clauses(head.lease).filter((clause) => clause.namespace !== 'cost.budget');
  const left = head.expiresAt === undefined ? undefined : head.expiresAt - now;
  return (
    <section class="card" aria-labelledby="lease">
      <h2 id="lease">Lease</h2>
      {allowed.length === 0 && <p>It may use no file, network, tool, model or other agent.</p>}
      <dl class="lease">
        {allowed.map((clause) => (
          <div key={clause.namespace}>
            <dt title={clause.namespace}>{visibleLine(clause.words)}</dt>
            {clause.patterns.map((pattern) => (
              <dd key={pattern}>
                <code>{visibleLine(pattern)}</code>
              </dd>
            ))}
          </div>
        ))}
        {left !== undefined && (
          <div>
            <dt>Expires</dt>
            <dd>
              {date(head.expiresAt as number)} <span class="quiet">{left > 0 ? `in ${duration(left)}` : 'over'}</span>
            </dd>
          </div>
        )}
      </dl>
      {head.gauges.length > 0 && (
        <>
          <h3>Budget</h3>
          {head.gauges.map((gauge) => (
            <GaugeBar key={gauge.currency} gauge={gauge} />
          ))}
        </>
      )}
      {head.gauges.length === 0 && head.costs.length > 0 && (
        <>
          <h3>Spent</h3>
          {head.costs.map(({ currency, sum }) => (
            <p key={currency} class="num">
              {visibleLine(`${sum} ${currency}`)}
            </p>
          ))}
        </>
      )}
    </section>
  );
}
