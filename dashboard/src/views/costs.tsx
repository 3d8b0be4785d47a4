/** What jobs have spent: by agent, by principal where the runtime tells, and by day. */

import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { ask, jobsChanged } from '../app/link';
import { theme } from '../app/theme';
import { nameOf, number, visibleLine } from '../text';
import type { Sum } from '../worker/protocol';
import { Empty, useAsked } from './bits';

export function Costs() {
  const costs = useAsked(() => ask('costs', {}), [jobsChanged.value]);
  const [chosen, setChosen] = useState<string>();
  if (!costs) return <h1>Costs</h1>;
  const currency = chosen ?? costs.currencies[0];
  if (currency === undefined)
    return (
      <>
        <h1>Costs</h1>
        <Empty title="Nothing was spent">Jobs with a budget, and what they spent of it, are added up here.</Empty>
      </>
    );
  const of = (sums: Sum[]) => sums.filter((sum) => sum.currency === currency);
  return (
    <>
      <h1>Costs</h1>
      <p class="quiet">
        Of {number(costs.jobs)} jobs this page knows.{' '}
        {costs.currencies.length > 1 && (
          <select aria-label="Currency" value={currency} onChange={(event) => setChosen(event.currentTarget.value)}>
            {costs.currencies.map((name) => (
              <option key={name} value={name}>
                {nameOf(name)}
              </option>
            ))}
          </select>
        )}
      </p>
      <section class="card" aria-labelledby="by-day">
        <h2 id="by-day">By day, {visibleLine(currency)}</h2>
        <DayPlot sums={of(costs.by.day)} currency={currency} />
      </section>
      <div class="pair">
        <Bars title="By agent" what="Agent" sums={of(costs.by.agent)} />
        {costs.by.principal.length > 0 && <Bars title="By principal" what="Principal" sums={of(costs.by.principal)} />}
      </div>
    </>
  );
}

function Bars({ title, what, sums }: { title: string; what: string; sums: Sum[] }) {
  const most = Math.max(...sums.map((sum) => sum.rough), 0);
  return (
    <section class="card">
      <table class="bars">
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">{what}</th>
            <th scope="col" class="right">
              Spent
            </th>
            <th scope="col" class="right">
              Jobs
            </th>
          </tr>
        </thead>
        <tbody>
          {sums.map((sum) => (
            <tr key={sum.key}>
              <th scope="row">
                {nameOf(sum.key)}
                <span class="bar" aria-hidden="true">
                  <span style={{ width: `${most > 0 ? Math.max(0, (100 * sum.rough) / most) : 0}%` }} />
                </span>
              </th>
              <td class="num right">{sum.sum}</td>
              <td class="num right">{number(sum.jobs)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** A colour of the style sheet as a canvas takes it, in the theme that holds. */
function colour(near: HTMLElement, name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  near.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

const DAYS = 30;
const DAY_MS = 86_400_000;

/** The last days as columns; the same numbers stand in a table for those who cannot see them. */
function DayPlot({ sums, currency }: { sums: Sum[]; currency: string }) {
  const box = useRef<HTMLDivElement>(null);
  const today = Math.floor(Date.now() / DAY_MS);
  const days = Array.from({ length: DAYS }, (_, i) => (today - DAYS + 1 + i) * DAY_MS);
  const byDay = new Map(sums.map((sum) => [Date.parse(sum.key), sum]));
  const heights = days.map((day) => byDay.get(day)?.rough ?? 0);
  const drawn = heights.join();
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const axis = { stroke: colour(element, '--quiet'), grid: { stroke: colour(element, '--line'), width: 1 }, ticks: { show: false } };
    const bars = uPlot.paths.bars?.({ size: [0.7, 40] });
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: 200,
        legend: { show: false },
        cursor: { show: false },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
        scales: { x: { range: [(days[0] as number) / 1000 - 43_200, (days[DAYS - 1] as number) / 1000 + 43_200] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [{ ...axis, size: 28, values: (_, ticks) => ticks.map((s) => new Date(s * 1000).toISOString().slice(5, 10)) }, { ...axis, size: 60 }],
        series: [{}, { fill: colour(element, '--accent'), stroke: 'transparent', paths: bars, points: { show: false } }],
      },
      [days.map((day) => day / 1000), heights],
      element,
    );
    const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: 200 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      plot.destroy();
    };
  }, [drawn, theme.value]);
  const told = days.flatMap((day) => byDay.get(day) ?? []);
  return (
    <>
      <div ref={box} class="plot" aria-hidden="true" />
      <table class="hidden">
        <caption>Spent by day in {visibleLine(currency)}</caption>
        <tbody>
          {told.map((sum) => (
            <tr key={sum.key}>
              <th scope="row">{sum.key}</th>
              <td>{sum.sum}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
