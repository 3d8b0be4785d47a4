import { useEffect, useRef, useState } from 'preact/hooks';
import { runtime } from '../app/link';
import { nameOf, visibleLine } from '../text';
import { Empty } from './bits';
import { RunForm } from './run-form';

/** The agents of the runtime, and a job to start with one of them. */
export function RuntimePage() {
  const told = runtime.value;
  const [agent, setAgent] = useState<string>();
  const form = useRef<HTMLElement>(null);
  // On a phone it is below all agents.
  useEffect(() => form.current?.querySelector('textarea')?.focus(), [agent]);
  if (!told) return <p class="quiet loading">Connecting…</p>;
  return (
    <>
      <h1>Agents</h1>
      {told.agents.length === 0 && <Empty title="No agents">This runtime hosts none for you.</Empty>}
      <div class="pair">
        <table class="agents">
          <caption class="hidden">Agents</caption>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">
                <span class="hidden">Start</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {told.agents.map((one) => (
              <tr key={one.name}>
                <th scope="row">
                  {nameOf(one.name)}
                  {one.versions.length > 0 && <span class="quiet"> {one.versions.map(nameOf).join(', ')}</span>}
                  {one.description && <p class="quiet">{visibleLine(one.description)}</p>}
                </th>
                <td class="right">
                  <button type="button" class="small" onClick={() => setAgent(one.name)} aria-label={`Start ${nameOf(one.name)}`}>
                    Start…
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {agent !== undefined && (
          <section class="card" aria-label="New job" ref={form}>
            <h2>New job</h2>
            <RunForm key={agent} button="Run" first={{ agent, input: '', lease: {} }} />
          </section>
        )}
      </div>
      <p class="quiet small">
        {visibleLine(`${told.name} ${told.version}`)} offers {told.features.map(visibleLine).join(', ')}.
      </p>
    </>
  );
}
